"""Which automatic network a request needs, and that it is made once."""

import asyncio

import pytest

from netcore.model import NetworkRequest
from resolver.daemon.automatic_networks import DEFAULT_NETWORK, AutomaticNetworks, is_automatic
from tests.support.networks import bridge_network

BRIDGE = NetworkRequest(name="bridge", predefined=True)


@pytest.mark.parametrize(
    ("references", "on_default", "needed"),
    [
        ([], True, DEFAULT_NETWORK), ([], False, None), (["front"], True, None), (["default"], True, DEFAULT_NETWORK), (["default"], False, None),
        (["bridge"], True, BRIDGE), (["front", "bridge"], False, BRIDGE), (["host"], True, None),
    ],
)  # fmt: skip
async def test_need(references, on_default, needed):
    assert AutomaticNetworks({}.get, BRIDGE).needed(references, on_default=on_default) == needed


def test_default_that_exists_needs_nothing():
    existing = AutomaticNetworks({"default": bridge_network("default")}.get, BRIDGE)
    assert existing.needed(["default"], on_default=True) is None
    assert existing.needed(["default", "bridge"], on_default=True) == BRIDGE


async def test_made_once_for_all_who_need_it_at_the_same_time():
    networks, created = {}, []

    async def create(request):
        created.append(request.name)
        await asyncio.sleep(0)
        networks[request.name] = bridge_network(request.name, labels=request.labels)
        return networks[request.name]

    automatic_networks = AutomaticNetworks(networks.get, BRIDGE)
    assert automatic_networks.find(BRIDGE) is None
    made = await asyncio.gather(*(automatic_networks.ensure(DEFAULT_NETWORK, create) for _ in range(5)))
    assert created == ["default"]
    assert {network.id for network in made} == {"default"}
    assert automatic_networks.find(DEFAULT_NETWORK) is networks["default"]


def test_network_default_of_a_user_is_not_automatic():
    assert is_automatic(bridge_network("default", labels=DEFAULT_NETWORK.labels))
    assert not is_automatic(bridge_network("default"))
