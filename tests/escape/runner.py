"""Makes attempts, inside a namespace: `python -m tests.escape.runner`.

Input: a line of JSON with who it is and what is around, then a line for each attempt, and an empty one at the end of a batch. Output: a
line of JSON for each that was made, and `{"batch": ..}` behind all of a batch.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.escape import questions
from tests.escape.attempts import Here, Made, kinds

HANDS = 8
_KINDS = kinds()
_NEEDS_NAME = ("named", "segments", "request", "hello", "seed", "quotes", "other", "via")
"""Words in what an attempt says of itself by which it needs the addresses of the allowed name."""
_lock = threading.Lock()


def make(here: Here, kind: str, arguments: dict[str, Any], *, ask: Callable[[Here], None] = questions.open_name) -> dict[str, Any]:
    """Make one attempt and return what became of it."""
    said: dict[str, Any] = {"number": here.number}
    try:
        if any(word in arguments or word in arguments.values() for word in _NEEDS_NAME):
            ask(here)
        made = _KINDS[kind].make(here, arguments) or Made()
        said |= {"permitted": [octets.hex() for octets in made.permitted], "opens": made.opens, "reached": made.reached}
    except OSError as error:
        # The namespace itself refuses it: no such address, no such route.
        said["refused"] = f"{type(error).__name__}: {error}"
    except Exception:
        said["error"] = traceback.format_exc()
    return said


def say(said: dict[str, Any]) -> None:
    with _lock:
        print(json.dumps(said), flush=True)


def main() -> None:
    start = json.loads(sys.stdin.readline())
    who, around = start["who"], start["around"]
    ask = questions.open_name if start["asks"] else (lambda _: None)
    pool = ThreadPoolExecutor(HANDS)
    print(json.dumps({"ready": who}), flush=True)
    batch: list[tuple[int, str, dict[str, Any]]] = []
    for line in sys.stdin:
        if line.strip():
            batch.append(tuple(json.loads(line)))
            continue
        alone = [one for one in batch if _KINDS[one[1]].exclusive]
        shared = [one for one in batch if not _KINDS[one[1]].exclusive]
        for said in pool.map(lambda one: make(Here(who, one[0], around), one[1], one[2], ask=ask), shared):
            say(said)
        for number, kind, arguments in alone:
            say(make(Here(who, number, around), kind, arguments, ask=ask))
        say({"batch": len(batch)})
        batch = []


if __name__ == "__main__":
    main()
