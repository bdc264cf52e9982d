"""How many queries of one client may wait, alone and in a crowd."""

from resolver import limits
from resolver.dns_client import Client
from resolver.engine.view import View
from resolver.quota import Quota


def test_one_client_has_a_bound_of_its_own(monkeypatch):
    monkeypatch.setattr(limits, "IN_FLIGHT_PER_CLIENT", 3)
    quota, client = Quota(), Client(View())
    assert [quota.take(client) for _ in range(4)] == [True, True, True, False]
    assert quota.take(Client(View()))


def test_quota_is_equal_in_a_crowd(monkeypatch):
    monkeypatch.setattr(limits, "IN_FLIGHT", 20)
    quota, greedy, modest = Quota(), Client(View()), Client(View())
    assert sum(quota.take(greedy) for _ in range(50)) == 10
    assert sum(quota.take(modest) for _ in range(50)) == 6
    quota.give_back(greedy)
    assert (greedy.in_flight, modest.in_flight, quota.in_flight) == (9, 6, 15)
    for _ in range(6):
        quota.give_back(modest)
    assert quota.take(modest)
    while quota.in_flight < 20:
        quota.take(Client(View()))
    assert not quota.take(Client(View()))
