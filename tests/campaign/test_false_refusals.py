"""Ten thousand connections of clients that egress rules allow, and the same through twenty restarts of the daemon: none is refused.

`CONNECTIONS`, `RESTARTS`: other numbers.
"""

import os

import pytest

from tests.support import sites_lab
from tests.support.real_clients import CLIENTS

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3 * 3600)]
CONNECTIONS, RESTARTS = int(os.environ.get("CONNECTIONS", "10000")), int(os.environ.get("RESTARTS", "20"))
OF_CLIENTS = {"curl": 25, "git": 5, "pip": 3, "apt": 5, "node": 25, "npm": 2, "Java": 25, "Go": 25}
"""At sites of each kind."""


@pytest.fixture(scope="module")
def lab():
    with sites_lab.sites_lab() as made:
        yield made
        refused = [one for one in sites_lab.refusals(made) if one["kind"] == "connection"]
        print(f"refused connections: {len(refused)}")
        assert refused == []


@pytest.mark.parametrize("restarts", [0, RESTARTS])
def test_quick_connections(lab, restarts):
    outcome = sites_lab.restart_during(lab, sites_lab.start_quick(lab, CONNECTIONS), restarts, CONNECTIONS)
    print(f"{restarts} restarts: {outcome}")
    assert outcome == {"ok": CONNECTIONS}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_clients(lab, client):
    if why := sites_lab.missing(client):
        pytest.skip(why)
    made = {kind: sites_lab.run_client(lab, client, kind, OF_CLIENTS[client.name], 1800) for kind in client.kinds}
    print(f"{client.name}: {sum(made.values())} connections: {made}")
