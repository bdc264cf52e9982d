"""A store that stops taking writes, at every write of every operation: all is as before, and the reason is said with status 503."""

from dataclasses import replace

import pytest

from netcore.errors import Unavailable
from netcore.model import EndpointRequest, NetworkRequest
from tests.support.fakes import world
from tests.unit.netcore.test_controller import furnished, on

OPERATIONS = {
    "network create": (2, lambda made: made.controller.networks.create(NetworkRequest(name="c", ipv6=True))),
    "network create by a plugin": (2, lambda made: made.controller.networks.create(NetworkRequest(name="q", driver="weave"))),
    "network rm": (1, lambda made: made.controller.networks.remove("b")),
    "network rm by a plugin": (1, lambda made: made.controller.networks.remove("p")),
    "run": (2, lambda made: made.controller.sandboxes.create(on("a", "b", publish=("9090:90/udp",)))),
    "attach": (2, lambda made: made.controller.sandboxes.create(on("a", netns="/run/netns/other"))),
    "run on a plugin's network": (3, lambda made: made.controller.sandboxes.create(on("p"))),
    "connect": (2, lambda made: made.controller.sandboxes.connect("s", EndpointRequest(network="b"))),
    "disconnect": (1, lambda made: made.controller.sandboxes.disconnect("s", "a")),
    "rm": (1, lambda made: made.controller.sandboxes.remove("s")),
    "rename": (1, lambda made: made.controller.sandboxes.change("s", lambda sandbox: replace(sandbox, name="new"))),
}


class Full:
    """From the write with number *at* on, the store takes *most* writes no more; None: no longer any."""

    def __init__(self, store):
        self.at, self.seen, self.most = None, 0, None
        self._commit = store.commit
        store.commit = self.commit

    async def commit(self, transaction):
        self.seen += 1
        if self.at is not None and self.seen > self.at and (self.most is None or self.seen <= self.at + self.most):
            raise Unavailable("the state in /var/lib/berth", "database or disk is full")
        return await self._commit(transaction)

    def arm(self, at, most=None):
        self.at, self.seen, self.most = at, 0, most


async def test_the_last_network_goes_although_the_store_is_full_then():
    async with world() as made:
        await made.controller.networks.create(NetworkRequest(name="a"))
        full = Full(made.store)
        full.arm(1)
        await made.controller.networks.remove("a")
        assert not made.controller.state.networks
        assert not made.controller.state.switched
        full.arm(None)
        await made.records.writes.settle()
        assert not (await made.picture())["store"]


@pytest.mark.parametrize("most", [None, 1], ids=["stays full", "once"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_write_that_fails_leaves_all_as_before(name, most):
    least, operation = OPERATIONS[name]
    async with world() as made:
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        full = Full(made.store)
        for at in range(20):
            before = await made.picture()
            full.arm(at, most)
            try:
                await operation(made)
            except Unavailable as error:
                assert error.status == 503
                assert "full" in str(error)
            else:
                break
            after = await made.picture()
            # What is left in the store of an operation that is undone goes with the next write that succeeds.
            full.arm(None)
            await made.records.writes.settle()
            after["store"] = (await made.picture())["store"]
            assert after == before, (at, {key for key in after if after[key] != before[key]})
        assert at >= least
        full.arm(None)
        await made.records.writes.settle()
        if name == "rm":
            assert not made.controller.state.sandboxes
            assert not [key for key in (await made.picture())["store"] if not key.startswith(("network/", "sysctl/"))]
        if name.startswith("network rm"):
            assert len([key for key in (await made.picture())["store"] if key.startswith("network/")]) == 2
