"""A day of a laptop: boot without network, DHCP, VPN, roaming, suspend, a cable. Sandboxes reach the internet whenever the host does.

Three sandboxes look names up and fetch each second, as the host does itself. `python -m tests.netns.test_laptop` prints how
long after the host each of them worked again.
"""

import sys
import time

import pytest

from tests.support.laptop import CAFE, HOME, PUBLIC_SERVER, laptop

SANDBOXES = {"plain": [], "own": ["--dns", PUBLIC_SERVER], "stream": ["--dns", f"tcp://{PUBLIC_SERVER}"]}
KINDS = ("name", "fetch", "fetch6", "flow", "flow6")
PATIENCE = 90.0
SECOND = 1.0


class Day:
    """Goes through the phases. *results*: (phase, sandbox, kind) → (seconds after the host, failed until then, failed afterwards)."""

    def __init__(self, made):
        self.made = made
        self.results = {}
        self.errors = []

    def phase(self, name, change):
        """Do *change*, wait until the host and then the sandboxes are well for some seconds, and note how it went."""
        change()
        begun = time.monotonic()
        works = {}
        for kind in KINDS:
            self.made.lab.wait_for(lambda kind=kind: self._first("host", kind, begun), PATIENCE)
            works[kind] = self._first("host", kind, begun).start
        for where in SANDBOXES:
            for kind in KINDS:
                self.made.lab.wait_for(lambda where=where, kind=kind: self._is_well(where, kind, works[kind]), PATIENCE)
        until = time.monotonic()
        for where in SANDBOXES:
            attempts = self.made.attempts(where)
            for kind in KINDS:
                mine = sorted((one for one in attempts if one.kind == kind and works[kind] <= one.start < until), key=lambda one: one.start)
                first = next(one for one in mine if one.ok)
                failed = [one for one in mine if not one.ok]
                before = [one for one in failed if one.start < first.start]
                self.errors += [f"{name} {where} {kind} {one.start - works[kind]:.1f}: {one.error}" for one in failed]
                self.results[name, where, kind] = (first.start + first.took - works[kind], len(before), len(failed) - len(before))

    def outage(self, change, count=10):
        """Do *change*, and wait until *count* seconds of attempts have failed everywhere."""
        change()
        begun = time.monotonic()
        for where in SANDBOXES:
            for kind in KINDS:
                self.made.lab.wait_for(lambda where=where, kind=kind: self._failed(where, kind, begun) >= count, PATIENCE)

    def _of(self, where, kind, since):
        return [one for one in self.made.attempts(where) if one.kind == kind and one.start >= since]

    def _first(self, where, kind, since):
        return next((one for one in self._of(where, kind, since) if one.ok), None)

    def _is_well(self, where, kind, since):
        """Return whether the last five attempts were well."""
        attempts = self._of(where, kind, since)
        return len(attempts) >= 6 and all(one.ok for one in attempts[-5:])

    def _failed(self, where, kind, since):
        return sum(not one.ok for one in self._of(where, kind, since))


def go_through(made):
    day = Day(made)
    lab = made.lab
    lab.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    lab.start_daemon()
    lab.berth("network", "create", "--ipv6", "apps")
    for name, options in SANDBOXES.items():
        lab.berth("run", "-d", "--name", name, "--network", "apps", *options, "--", "sleep", "infinity")
        made.probe(name, SECOND)
    made.probe("host", SECOND / 4)
    day.outage(lambda: None, 3)

    def dhcp():
        made.in_range("home")
        made.enter(HOME)

    def roam():
        made.leave()
        made.in_range("cafe")
        made.enter(CAFE)
        lab.shell("echo nameserver 10.8.0.1 > /run/network/resolv.conf")
        made.vpn_server_by(CAFE)

    def suspend():
        made.leave()
        lab.shell("ip link set wlan0 down")

    def resume():
        made.in_range("home")
        made.enter(HOME, 51)

    day.phase("DHCP", dhcp)
    day.phase("VPN up", lambda: made.vpn_up(HOME))
    day.phase("roam below the VPN", roam)
    day.phase("VPN down", lambda: made.vpn_down(CAFE))
    day.outage(suspend)
    day.phase("resume elsewhere", resume)
    day.phase("cable", made.plug_in)
    day.phase("cable pulled", lambda: made.pull_out(HOME))
    day.outage(made.router_fails)
    day.phase("router is back", made.router_is_back)
    return day


def table(day):
    """Return the results as lines of text: for each phase and kind, the slowest sandbox."""
    for phase in dict.fromkeys(phase for phase, _, _ in day.results):
        yield f"{phase:20} " + "  ".join(
            f"{where} {kind} {late:.1f}s/{before}/{after}"
            for (of, where, kind), (late, before, after) in day.results.items()
            if of == phase
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sandboxes_reach_the_internet_whenever_the_host_does():
    with laptop() as made:
        day = go_through(made)
        assert not [line for line in made.lab.berth("status").stdout.splitlines() if "warning" in line.lower()]
    # Once it worked it goes on working; and until then, after the host works, two attempts at most (of one a second) fail, and two more
    # on a busy machine: whatever is noticed only when it is looked at again fails for tens of seconds.
    assert {key: value for key, value in day.results.items() if value[2]} == {}, day.errors
    assert {key: value for key, value in day.results.items() if value[1] > 4} == {}, day.errors


if __name__ == "__main__":
    with laptop() as laptop_made:
        result = go_through(laptop_made)
    sys.stdout.write("\n".join([*table(result), *result.errors]) + "\n")
