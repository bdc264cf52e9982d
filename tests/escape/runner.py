"""Makes attempts, inside a namespace: `python -m tests.escape.runner [restless | flows]`.

Input: a line of JSON with who it is and what is around, then a line for each attempt, and an empty one at the end of a batch. Output: a
line of JSON for each that was made, and `{"batch": ..}` behind all of a batch.

`restless` makes the attempts of one batch again and again, whatever becomes of the links, until its input ends. A line `{"first": NUMBER}`
gives them numbers, and may come again; whenever it gets an empty line, it says how many rounds it has made.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.escape import old_flows, packets, questions
from tests.escape.attempts import Here, Made, kinds

HANDS, FEW = 8, 4
"""Attempts at once; of somebody restless."""
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


def read_batch() -> list[tuple[int, str, dict[str, Any]]]:
    """Return the attempts of the next batch; none at the end of the input."""
    batch = []
    for line in sys.stdin:
        if not line.strip():
            break
        number, kind, arguments = json.loads(line)
        batch.append((number, kind, arguments))
    return batch


def restless(start: dict[str, Any]) -> None:
    """Nothing of it waits for an answer for long: there may be nobody yet, or nobody now, who answers."""
    packets.PATIENCE = questions.PATIENCE = 0.1
    batch, rounds, ended = read_batch(), [0] * FEW, threading.Event()
    firsts = [json.loads(sys.stdin.readline())["first"]]
    print(json.dumps({"ready": start["who"]}), flush=True)

    def go_on(hand: int) -> None:
        while not ended.is_set():
            for number, kind, arguments in batch[hand::FEW]:
                said = make(Here(start["who"], firsts[-1] + number, start["around"]), kind, arguments, ask=lambda _: None)
                if "error" in said:
                    say(said)
            rounds[hand] += 1
            # Others want to run too.
            ended.wait(0.02)

    hands = [threading.Thread(target=go_on, args=(hand,), daemon=True) for hand in range(FEW)]
    for hand in hands:
        hand.start()
    for line in sys.stdin:
        if line.strip():
            firsts.append(json.loads(line)["first"])
        else:
            say({"rounds": min(rounds)})
    ended.set()
    for hand in hands:
        hand.join()
    say({"rounds": min(rounds)})


def main() -> None:
    start = json.loads(sys.stdin.readline())
    if sys.argv[1:] == ["restless"]:
        restless(start)
        return
    if sys.argv[1:] == ["flows"]:
        old_flows.hold(start)
        return
    who, around = start["who"], start["around"]
    ask = questions.open_name if start["asks"] else (lambda _: None)
    pool = ThreadPoolExecutor(HANDS)
    print(json.dumps({"ready": who}), flush=True)
    while batch := read_batch():
        alone = [one for one in batch if _KINDS[one[1]].exclusive]
        shared = [one for one in batch if not _KINDS[one[1]].exclusive]
        for said in pool.map(lambda one: make(Here(who, one[0], around), one[1], one[2], ask=ask), shared):
            say(said)
        for number, kind, arguments in alone:
            say(make(Here(who, number, around), kind, arguments, ask=ask))
        say({"batch": len(batch)})


if __name__ == "__main__":
    main()
