"""A host with very many sandboxes: all are there and have their names, also after the daemon's end and start; every operation works."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from tests.support.admin_client import AdminClient, descriptors, resident_octets
from tests.support.lab import Lab

ON_A_NETWORK = 1000
"""A bridge has at most 1,023 ports."""
HANDS = 8
ASKED = 25
"""So many of them are asked for by name, spread over all."""


class Crowd:
    def __init__(self, lab: Lab, client: AdminClient, size: int) -> None:
        self.lab, self.client, self.size = lab, client, size
        self.took: dict[str, float] = {}
        self.networks = [f"net{number}" for number in range((size + ON_A_NETWORK - 1) // ON_A_NETWORK)]
        for number, name in enumerate((*self.networks, "spare")):
            client.call("POST", "/v1/networks", {"name": name, "subnets": [f"10.{100 + number}.0.0/16"]})

    @contextmanager
    def timed(self, what: str):
        start = time.monotonic()
        yield
        self.took[what] = round(time.monotonic() - start, 3)
        print(f"{what}: {self.took[what]:.3f} s", flush=True)

    def by_all_hands(self, work) -> None:
        """Call *work* (client, number) for each sandbox, several at once."""

        def some(first: int) -> None:
            with closing(AdminClient(self.lab)) as client:
                for number in range(first, self.size, HANDS):
                    work(client, number)

        with ThreadPoolExecutor(HANDS) as workers:
            list(workers.map(some, range(HANDS)))

    def make(self) -> None:
        with self.timed(f"{self.size} sandboxes made"):
            self.by_all_hands(
                lambda client, number: client.call(
                    "POST", "/v1/sandboxes", {"name": f"s{number}", "networks": [{"network": self.networks[number // ON_A_NETWORK]}]}
                )
            )

    def check(self) -> None:
        """All are there, each once, and what is asked for by name has its own address."""
        listed = self.client.call("GET", "/v1/sandboxes")
        assert sorted(one["name"] for one in listed) == sorted(f"s{number}" for number in range(self.size))
        addresses = {one["name"]: one["addresses"][0] for one in listed}
        assert len(set(addresses.values())) == self.size
        assert self.client.call("GET", "/v1/doctor") == []
        assert int(self.lab.shell("ls /run/netns | grep -c ^berth-")) == self.size
        assert int(self.lab.shell("ip -o link show type veth | grep -c 'master br-'")) == self.size
        assert int(self.lab.shell("ls /run/berth/sandboxes | wc -l")) == self.size
        for number in range(0, self.size, max(1, self.size // ASKED)):
            # The last one of its network is asked from the first one of it.
            first = number // ON_A_NETWORK * ON_A_NETWORK
            found = self.lab.shell(f"ip netns exec berth-s{first} dig +short +timeout=30 @127.0.0.11 s{number}")
            assert found == addresses[f"s{number}"]

    def restart(self, number: signal.Signals) -> None:
        self.client.close()
        with self.timed(f"ended by {number.name}"):
            self.lab.stop_daemon(number)
        with self.timed(f"ready again after {number.name}"):
            self.lab.start_daemon(wait=False)
            self.lab.wait_for(self.answers, timeout=600)
        self.check()

    def answers(self) -> bool:
        try:
            return self.client.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def every_operation(self) -> None:
        """Do everything once, beside all the others."""
        last = self.size - 1
        for what, method, path, body in (
            ("network create", "POST", "/v1/networks", {"name": "one-more", "ipv6": True}),
            ("network rm", "DELETE", "/v1/networks/one-more", None),
            ("network ls", "GET", "/v1/networks", None),
            ("connect", "POST", "/v1/networks/spare/connect", {"sandbox": f"s{last}", "aliases": ["last"]}),
            (
                "sandbox create with a port",
                "POST",
                "/v1/sandboxes",
                {"name": "x", "networks": [{"network": "spare"}], "publish": ["8080:80"]},
            ),
            ("disconnect", "POST", "/v1/networks/spare/disconnect", {"sandbox": f"s{last}"}),
            ("rename", "PATCH", "/v1/sandboxes/x", {"name": "y"}),
            ("inspect", "GET", "/v1/sandboxes/y", None),
            ("resolve", "POST", "/v1/resolve", {"name": f"s{last}", "sandbox": f"s{last}"}),
            ("sandbox rm", "DELETE", "/v1/sandboxes/y", None),
            ("ps", "GET", "/v1/sandboxes", None),
            ("status", "GET", "/v1/status", None),
            ("doctor", "GET", "/v1/doctor", None),
            ("metrics", "GET", "/metrics", None),
            ("network prune", "POST", "/v1/networks/prune", {"labels": ["none=such"]}),
        ):
            with self.timed(what):
                self.client.call(method, path, body)

    def remove(self) -> None:
        with self.timed(f"{self.size} sandboxes removed"):
            self.by_all_hands(lambda client, number: client.call("DELETE", f"/v1/sandboxes/s{number}"))
        for name in self.networks:
            self.client.call("DELETE", f"/v1/networks/{name}")
        # Links are deleted behind the reply; all that wait are gone with this one.
        self.client.call("DELETE", "/v1/networks/spare?wait=gone")
        assert self.client.call("GET", "/v1/sandboxes") == []
        assert self.lab.shell("ls /run/netns | grep ^berth-; ip -o link show type bridge; ls /run/berth/sandboxes", check=False) == ""


def crowd(size: int) -> dict[str, object]:
    with Lab() as lab, closing(AdminClient(lab, timeout=600)) as client:
        lab.start_daemon()
        many = Crowd(lab, client, size)
        many.make()
        many.check()
        many.every_operation()
        many.restart(signal.SIGTERM)
        many.restart(signal.SIGKILL)
        many.every_operation()
        facts = {"memory": resident_octets(lab.daemon.pid), "descriptors": descriptors(lab.daemon.pid)}
        many.check()
        many.remove()
        return {"sandboxes": size, "load": os.getloadavg()[0], **facts, **many.took}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_sandboxes():
    crowd(50)


@pytest.mark.campaign
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("size", [int(size) for size in os.environ.get("SIZES", "1000,4000").split(",")])
def test_very_many_sandboxes(size):
    print(json.dumps(crowd(size)))
