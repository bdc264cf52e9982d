"""`berth daemon`, and beside it a socket that answers each connection with how many objects of berth's own types there are, as JSON."""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
from collections import Counter

from resolver import cli

COUNTS = "/run/counts.sock"


def counts() -> Counter[str]:
    gc.collect()
    kinds = (type(one) for one in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if kind.__module__.partition(".")[0] in ("netcore", "resolver")
    )


def answer() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(COUNTS)
        listener.listen()
        while True:
            asked, _ = listener.accept()
            with asked:
                asked.sendall(json.dumps(counts()).encode())


threading.Thread(target=answer, daemon=True).start()
sys.argv = ["berth", "daemon", *sys.argv[1:]]
sys.exit(cli.main())
