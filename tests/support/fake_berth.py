"""In the place of `berth run` and `berth exec`, for tests of the client without a daemon: runs what it is given, without a sandbox.

`FAKE_BERTH_LOG` names a file to which its arguments are added. As `berth exec` does, it hands TERM on, and a KILL leaves its command behind.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def main() -> int:
    verb, *arguments = sys.argv[1:]
    with Path(os.environ["FAKE_BERTH_LOG"]).open("a") as file:
        file.write(json.dumps([verb, *arguments]) + "\n")
    if "--name=refused" in arguments:
        print("berth: network nowhere: no such network", file=sys.stderr)
        return 125
    words = arguments[arguments.index("--") + 1 :]
    command = words if verb == "run" else words[1:]
    options = arguments[: arguments.index("--")]
    variables = dict(option[len("--env=") :].split("=", 1) for option in options if option.startswith("--env="))
    directory = next((option.partition("=")[2] for option in options if verb == "exec" and option.startswith("--workdir=")), None)
    own = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, own)
    child = subprocess.Popen(
        command, env={**os.environ, **variables}, cwd=directory, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, own)
    )

    def hand_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, own)
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
