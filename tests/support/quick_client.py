"""Many connections to sites, quickly: `quick_client.py CA NUMBER NAME..`, a line of JSON: how often which outcome.

Each looks its name up by the C library, connects to what was answered as it comes (the next address if one is dead), and asks by TLS or by
HTTP; every tenth keeps an answer for a while before it connects, as programs with a cache of their own do. `ok` is the outcome that there
should be alone.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import threading
from collections import Counter

HANDS = 8
_PATIENCE = 60.0
_CONNECT = 1.5
"""Until the next address is tried: some are silent."""


def fetch(name: str, context: ssl.SSLContext | None, answers: list[tuple[str, int]]) -> str:
    """Return `ok`, or what went wrong."""
    failed = ""
    for address, port in answers:
        try:
            with socket.create_connection((address, port), _CONNECT) as sock:
                sock.settimeout(_PATIENCE)
                try:
                    if context is None:
                        return ask(sock, name)
                    with context.wrap_socket(sock, server_hostname=name) as tls:
                        return ask(tls, name)
                except OSError as error:
                    return f"{name} at {address}: {error}"
        except OSError as error:
            failed = f"{name} at {address}: no connection: {error}"
    return failed or f"{name}: no address"


def ask(sock: socket.socket, name: str) -> str:
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while octets := sock.recv(4096):
        answer += octets
    return "ok" if answer.startswith(b"HTTP/1.1 200") and answer.endswith(f"{name}\n".encode()) else f"{name}: {answer[:200]!r}"


def look_up(name: str, port: int, chance: random.Random) -> list[tuple[str, int]]:
    found = [entry[4][:2] for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
    chance.shuffle(found)
    # One of the other family is never far.
    chosen = found[:4] + [next((one for one in found if (":" in str(one[0])) is six), found[0]) for six in (False, True)]
    return [(str(address), int(number)) for address, number in dict.fromkeys(chosen)]


def main(ca: str, number: str, *names: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    outcomes: Counter[str] = Counter()
    work, lock = iter(range(int(number))), threading.Lock()

    def run(hand: int) -> None:
        chance = random.Random(hand)
        kept: list[tuple[str, bool, list[tuple[str, int]]]] = []
        while True:
            with lock:
                item = next(work, None)
            if item is None:
                return
            name, secure = names[item % len(names)], chance.random() < 0.8
            try:
                answers = look_up(name, 443 if secure else 80, chance)
                if chance.random() < 0.1:
                    kept.append((name, secure, answers))
                    name, secure, answers = kept.pop(0) if len(kept) > 20 else (name, secure, answers)
                outcome = fetch(name, context if secure else None, answers)
            except OSError as error:
                outcome = f"{name}: {error}"
            with lock:
                outcomes[outcome] += 1
                if sum(outcomes.values()) % 100 == 0:
                    print(json.dumps({"so far": sum(outcomes.values())}), flush=True)

    hands = [threading.Thread(target=run, args=(hand,)) for hand in range(HANDS)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
