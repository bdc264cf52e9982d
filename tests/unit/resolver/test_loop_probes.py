from itertools import count

import dns.message

from resolver import limits
from resolver.engine.loop_probes import LoopProbes
from resolver.engine.upstream import Upstream
from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire.name import from_text


def made():
    numbers = count(1)
    return LoopProbes(from_text("_loop.berth.internal"), lambda: b"label%d" % next(numbers))


def test_query_that_comes_back_shows_the_upstream_that_sent_it():
    probes, a, b = made(), UpstreamHealth(Upstream("10.0.0.1")), UpstreamHealth(Upstream("10.0.0.2"))
    messages = [probes.make(a), probes.make(b)]
    asked = [dns.message.from_wire(b"\0\0" + message).question[0].name.to_text() for message in messages]
    assert asked == ["label1._loop.berth.internal.", "label2._loop.berth.internal."]
    assert a.loop_checked
    assert probes.on_query(from_text(asked[1]), 5.0) is b
    assert (b.state(5.0), b.looping_until, b.loop_checked) == ("looping", 5.0 + limits.LOOP, False)
    assert a.state(5.0) == "ok"
    # It tells once.
    assert probes.on_query(from_text(asked[1]), 6.0) is None


def test_names_that_nobody_was_asked_for_say_nothing():
    probes = made()
    probes.make(UpstreamHealth(Upstream("10.0.0.1")))
    assert probes.on_query(from_text("guessed._loop.berth.internal"), 1.0) is None


def test_only_the_last_probe_of_an_upstream_counts():
    probes, a = made(), UpstreamHealth(Upstream("10.0.0.1"))
    probes.make(a)
    probes.make(a)
    assert probes.on_query(from_text("label1._loop.berth.internal"), 1.0) is None
    assert probes.on_query(from_text("label2._loop.berth.internal"), 1.0) is a


def test_probes_of_upstreams_that_are_gone_are_forgotten():
    probes, a = made(), UpstreamHealth(Upstream("10.0.0.1"))
    probes.make(a)
    probes.keep([])
    assert probes.on_query(from_text("label1._loop.berth.internal"), 1.0) is None


def test_labels_can_not_be_guessed():
    probes = LoopProbes()
    messages = {probes.make(UpstreamHealth(Upstream("10.0.0.1"))) for _ in range(50)}
    assert len(messages) == 50
