"""How links are named, in the sandbox and on the host."""

import pytest

from netcore.errors import Conflict
from netcore.plan import link_names


def test_the_lowest_number_that_is_free_is_taken():
    assert link_names.in_sandbox("web", None, "eth", set()) == "eth0"
    assert link_names.in_sandbox("web", None, "eth", {"eth0", "eth2"}) == "eth1"
    assert link_names.in_sandbox("web", None, "net", {"eth0"}) == "net0"


def test_an_exact_name_is_taken_or_refused():
    assert link_names.in_sandbox("web", "lan0", "eth", {"eth0"}) == "lan0"
    with pytest.raises(Conflict, match="link lan0 exists in sandbox web already; choose another ifname"):
        link_names.in_sandbox("web", "lan0", "eth", {"lan0"})


def test_the_end_on_the_host_has_a_random_name_that_fits():
    assert link_names.on_host(lambda octets: "ab" * octets) == "vethabababa"
