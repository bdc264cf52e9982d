import dns.message

from resolver.dns_client import Client
from resolver.engine.view import AttachedZone, View
from resolver.reply_cache import Reply
from resolver.wire.name import from_text
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Record, Zone

WEB = Record(from_text("web"), bytes([10, 0, 0, 2]), "e")


def made(**aliases):
    zone = PublishedZone(Zone("n", from_text("front"), 5))
    attached = AttachedZone(zone, {from_text(alias): from_text(target) for alias, target in aliases.items()})
    client = Client(View(attached=(attached,)))
    zone.watchers.add(client)
    return zone, client


def remember(client, name):
    client.replies.put(dns.message.make_query(name, "A").to_wire(), len(from_text(name)), Reply([bytes(40)]))


def test_changed_name_is_forgotten():
    zone, client = made()
    zone.change((), [WEB])
    for name in ("web", "other"):
        remember(client, name)
    zone.change((), [WEB])
    assert len(client.replies.by_octets) == 1


def test_private_alias_may_lead_to_any_name():
    zone, client = made(store="db")
    remember(client, "other")
    zone.change((), [WEB])
    assert not client.replies.by_octets


def test_another_view_forgets_all():
    _, client = made()
    remember(client, "web")
    view = View()
    client.show(view)
    assert client.view is view
    assert not client.replies.by_octets


def test_it_begins_with_nothing():
    _, client = made()
    assert (client.queries, client.in_flight, len(client.replies.by_octets)) == (0, 0, 0)
