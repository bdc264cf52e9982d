"""What operations cost does not grow with what there is: no line of ours is run more often beside sixty others than beside two."""

from ipaddress import ip_network

import pytest

from netcore import limits
from netcore.controller.settings import Settings
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from tests.support.fakes import world
from tests.support.lines import Lines, growth

SETTINGS = Settings(run_directory="/run/berth", pools4=((ip_network("10.0.0.0/8"), 24),), pools6=((ip_network("fd00::/48"), 64),))
FEW, MANY = 2, 60
OPERATIONS = {
    "create network": lambda made: made.networks.create(NetworkRequest(name="x", ipv6=True)),
    "create network with a subnet": lambda made: made.networks.create(NetworkRequest(name="y", subnets=("192.168.9.0/24",))),
    "create macvlan": lambda made: made.networks.create(NetworkRequest(name="m", driver="macvlan")),
    "create sandbox": lambda made: made.sandboxes.create(SandboxRequest(name="a", networks=(EndpointRequest(network="x"),))),
    "connect": lambda made: made.sandboxes.connect("a", EndpointRequest(network="y")),
    "connect to a large one": lambda made: made.sandboxes.connect("a", EndpointRequest(network="large")),
    "disconnect": lambda made: made.sandboxes.disconnect("a", "y"),
    "disconnect from a large one": lambda made: made.sandboxes.disconnect("a", "large"),
    "remove sandbox": lambda made: made.sandboxes.remove("a"),
    "remove macvlan": lambda made: made.networks.remove("m"),
    "remove network": lambda made: made.networks.remove("x"),
    "remove network with a subnet": lambda made: made.networks.remove("y"),
}


async def lines_of_operations(networks, sandboxes):
    """Return operation → the lines that it runs beside that many networks and sandboxes."""
    lines, found = Lines(), {}
    with lines.in_new_threads():
        async with world(SETTINGS) as made:
            controller = made.controller
            # Going through all objects for those that go with a link is the fake's own.
            made.executor._do = lambda _: None
            await controller.networks.create(NetworkRequest(name="large", subnets=("10.255.0.0/16",), ipv6=True))
            for number in range(networks):
                await controller.networks.create(NetworkRequest(name=f"n{number}", ipv6=bool(number % 2)))
            for number in range(sandboxes):
                request = SandboxRequest(
                    name=f"s{number}", networks=tuple(EndpointRequest(network=name) for name in ("large", f"n{number % networks}"))
                )
                await controller.sandboxes.create(request)
            for _ in range(2):
                # The first round fills caches.
                for name, operation in OPERATIONS.items():
                    with lines.counting() as run:
                        await operation(controller)
                    # The end of a removal is recorded when nobody waits for it.
                    await made.records.writes.settle()
                    found[name] = run
    return found


@pytest.mark.parametrize(("networks", "sandboxes"), [(MANY, FEW), (FEW, MANY)])
async def test_operations_cost_the_same_beside_many_others(networks, sandboxes, monkeypatch):
    # Not in the middle of the next operation.
    monkeypatch.setattr(limits, "RECORD_REMOVALS_AFTER", 3600.0)
    few, many = await lines_of_operations(FEW, FEW), await lines_of_operations(networks, sandboxes)
    assert growth(few, many) == {}
