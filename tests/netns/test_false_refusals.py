"""Egress rules refuse nothing that they allow: clients that people use, and sites whose addresses never stay the same.

`tests/campaign/test_false_refusals.py` makes ten thousand connections of it.
"""

import os
import random

import pytest

from tests.support import sites_lab
from tests.support.real_clients import CLIENTS

SEED = os.environ.get("SEED", "clients")
CONNECTIONS = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab():
    with sites_lab.sites_lab() as made:
        yield made
        assert [one for one in sites_lab.refusals(made) if one["kind"] == "connection"] == []


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_clients_reach_what_they_may(lab, client):
    if why := sites_lab.missing(client):
        pytest.skip(why)
    for kind in random.Random(f"{SEED} {client.name}").sample(client.kinds, 2):
        assert sites_lab.run_client(lab, client, kind, 2) >= 2


def test_no_connection_is_refused(lab):
    assert sites_lab.outcome(sites_lab.start_quick(lab, CONNECTIONS)) == {"ok": CONNECTIONS}


def test_no_connection_is_refused_while_the_daemon_is_killed(lab):
    process = sites_lab.start_quick(lab, CONNECTIONS)
    assert sites_lab.restart_during(lab, process, 1, CONNECTIONS) == {"ok": CONNECTIONS}
