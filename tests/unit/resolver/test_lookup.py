"""`berth resolve` through the daemon's own look-up: the response and its explanation are of the same query."""

import time
from types import SimpleNamespace

import pytest

from netcore.errors import InvalidRequest
from resolver.daemon.lookup import Lookup
from resolver.engine.exchange import GiveUp
from tests.unit.resolver.test_service import World


@pytest.fixture
async def world():
    made = World()
    made.now = time.monotonic()
    registry = SimpleNamespace(client_of=lambda sandbox: sandbox, everything=lambda: made.view)
    made.lookup = Lookup(registry, made.service, SimpleNamespace(health=dict), None)
    forward = made.pool.forward

    def answer_at_once(*arguments):
        forward(*arguments)
        made.pool.answer(now=made.now)

    made.pool.forward = answer_at_once
    yield made
    await made.service.close()


@pytest.mark.parametrize("name", ["web.front", "web"])
async def test_network_that_answers_is_not_said_to_lack_the_name(world, name):
    view = await world.lookup.resolve(name, "A", world.client)
    assert [record.data for record in view.records] == ["10.1.0.2"]
    assert view.explanation == ["network front: web. is 10.1.0.2", "answered from network front with TTL 5"]
    assert view.source == "network front"


@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "said"),
    [
        ("x.front.berth.internal", "A", "NXDOMAIN", "NXDOMAIN, the name does not exist"),
        ("web.front", "TXT", "NOERROR", "NODATA, the name has no record of this type"),
    ],
)
async def test_what_is_not_there(world, name, rtype, rcode, said):
    view = await world.lookup.resolve(name, rtype, world.client)
    assert (view.records, view.rcode) == ([], rcode)
    assert view.explanation[-1].endswith(said)


async def test_external_name_and_what_the_cache_has_of_it(world):
    view = await world.lookup.resolve("a.test", "A", None)
    assert view.explanation[1:] == ["not ours: forwarded to 192.0.2.53", "192.0.2.53 answered", view.explanation[-1]]
    assert view.explanation[-1].endswith("s left, told 0 times")
    again = await world.lookup.resolve("a.test", "A", None)
    assert again.explanation[1] == "not ours: answered from the cache (upstreams: 192.0.2.53)"
    assert (await world.lookup.cached("test", 5))[0] == 1
    assert world.lookup.forget("test") == 1


async def test_pointer_takes_an_address(world):
    view = await world.lookup.resolve("10.1.0.2", "PTR", world.client)
    assert view.records[0].data == "web.front."


@pytest.mark.parametrize("rtype", ["A", "AAAA"])
async def test_address_is_looked_up_as_pointer(world, rtype):
    view = await world.lookup.resolve("10.1.0.2", rtype, world.client)
    assert (view.type, view.name, view.records[0].data) == ("PTR", "2.0.1.10.in-addr.arpa.", "web.front.")


async def test_failure_says_its_cause(world):
    def give_up(upstreams, message, question, results, now):
        results.on_result(GiveUp("192.0.2.53 did not answer"), now)

    world.pool.forward = give_up
    view = await world.lookup.resolve("a.test", "A", None)
    assert (view.rcode, view.reason) == ("SERVFAIL", "192.0.2.53 did not answer")
    # That there is no such name is no failure.
    assert (await world.lookup.resolve("x.front.berth.internal", "A", world.client)).reason is None


@pytest.mark.parametrize(("name", "rtype"), [("web", "NONSENSE"), ("a..b", "A"), ("no address", "PTR")])
async def test_what_can_not_be_asked_is_refused(world, name, rtype):
    with pytest.raises(InvalidRequest):
        await world.lookup.resolve(name, rtype, world.client)


@pytest.mark.parametrize(
    ("name", "rtype", "reason"),
    [
        ("a..b", "A", "'a..b' is no domain name: each part must be 1 to 63 ASCII characters"),
        ("web", "PTR", "'web' is no IP address and no name below arpa, as PTR needs"),
    ],
)
async def test_refusal_says_what_a_name_must_be(world, name, rtype, reason):
    with pytest.raises(InvalidRequest) as refused:
        await world.lookup.resolve(name, rtype, world.client)
    assert str(refused.value) == f"invalid name: {reason}"


async def test_sandbox_without_resolver_is_refused(world):
    world.lookup._registry.client_of = lambda sandbox: None
    with pytest.raises(InvalidRequest, match="no resolver"):
        await world.lookup.resolve("web", "A", world.client)
