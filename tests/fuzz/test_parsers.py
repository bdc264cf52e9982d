"""Every parser of octets that others control, with good octets that were damaged at random, by a seed."""

import json
import os
import random
import time
from typing import Any

import pytest

from tests.fuzz.parsers import Parser, parsers

FEW, SOME = 40, 1000
"""Inputs to each parser by default, and among the slow tests."""
LONGEST = 4096


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 70_000, 1 << 64, "", " ", "x" * 300, "\n", "\0", "\ud800", "ü", "..", "10.1.0.2", "::1/128", "10.1.0.0/16", [], {}, [[]], {"a": 1}, ["x"],
)  # fmt: skip


def reshaped(content: Any, chance: random.Random) -> Any:
    """Return a JSON value that has another one somewhere, lacks one, or has one twice."""
    keys = list(content) if isinstance(content, dict) else list(range(len(content))) if isinstance(content, list) else []
    if not keys or chance.random() < 0.2:
        return chance.choice(ODD)
    key = chance.choice(keys)
    made = content.copy()
    match chance.randrange(4):
        case 0:
            del made[key]
        case 1 if isinstance(made, list):
            made.append(made[key])
        case 1:
            made[chance.choice(keys)] = made[key]
        case _:
            made[key] = reshaped(made[key], chance)
    return made


def damaged(parser: Parser, chance: random.Random) -> bytes:
    """Return octets that are good ones with a few changes, or words one after the other."""
    if parser.words and chance.random() < 0.1:
        return b"".join(chance.choice(parser.words) for _ in range(chance.randrange(1, 30)))
    octets = bytearray(chance.choice(parser.seeds))
    if octets[:1] == b"{" and chance.random() < 0.5:
        content = json.loads(octets)
        for _ in range(chance.choice((1, 1, 2, 3))):
            content = reshaped(content, chance)
        return json.dumps(content).encode()
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        at, end = sorted((chance.randint(0, len(octets)), chance.randint(0, len(octets))))
        match chance.randrange(8):
            case 0 if octets:
                octets[at % len(octets)] = chance.randrange(256)
            case 1:
                octets[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 2:
                del octets[at:end]
            case 3:
                octets[at:at] = octets[at:end]
            case 4:
                other = chance.choice(parser.seeds)
                octets[at:] = other[chance.randint(0, len(other)) :]
            case 5 if parser.words:
                octets[at:end] = chance.choice(parser.words)
            case 6 if parser.words:
                octets[at:at] = chance.choice(parser.words)
            case 7 if parser.words:
                # The same word again and again: nesting, lists, numbers without end.
                octets[at:at] = chance.choice(parser.words) * chance.choice((2, 20, 2000))
    return bytes(octets[:LONGEST])


def tried(seed: str, most: int, seconds: float | None = None) -> dict[str, int]:
    """Return how many inputs each parser was given: *most*, or as many as take *seconds*."""
    counts = {}
    with parsers() as all_parsers:
        for name, parser in all_parsers.items():
            chance, end, count = random.Random(f"{seed} {name}"), time.monotonic() + (seconds or 0), 0
            while count < most if seconds is None else time.monotonic() < end:
                octets = parser.seeds[count] if count < len(parser.seeds) else damaged(parser, chance)
                count += 1
                try:
                    parser.run(octets)
                except Exception as error:
                    error.add_note(f"{name}, input {count} of seed {seed!r}: {octets!r}")
                    raise
            counts[name] = count
            print(name, count, flush=True)
    return counts


def test_a_few_inputs_to_every_parser():
    assert min(tried("few", FEW).values()) == FEW


@pytest.mark.slow
def test_some_inputs_to_every_parser():
    assert min(tried("some", SOME).values()) == SOME


@pytest.mark.campaign
@pytest.mark.timeout(24 * 3600)
def test_many_inputs_to_every_parser():
    seed = os.environ.get("SEED", str(time.time_ns()))
    counts = tried(seed, 0, float(os.environ.get("SECONDS", "600")))
    print(json.dumps({"seed": seed, "all": sum(counts.values()), **counts}))
    assert min(counts.values()) > 0
