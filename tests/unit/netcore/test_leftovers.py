"""What an operation that was cut short may have left: which endpoints go, in which order links are mended."""

from netcore.desired.diff import Step
from netcore.desired.objects import Address, Bridge, LinkUp, Macvlan, Veth
from netcore.plan.leftovers import repair_steps, unfinished
from tests.unit.netcore.test_apply import MAC, ip_interface

BRIDGE = Bridge(name="br0", mac=MAC, mtu=1500, tag="berth:n")
VETH = Veth(host_ifname="veth1", sandbox_id="s", ifname="eth0", mac=MAC, mtu=1500, bridge="br0")
ADDRESS = Address(sandbox_id="s", ifname="eth0", interface=ip_interface("10.0.0.2/24"))
UP = LinkUp(sandbox_id="s", ifname="eth0")
OTHER = Macvlan(sandbox_id="s", ifname="eth1", parent="lan0", mode="bridge", mac=MAC, mtu=1500)
OTHERS = Address(sandbox_id="s", ifname="eth1", interface=ip_interface("10.1.0.2/24"))
EVERYTHING = (BRIDGE, VETH, ADDRESS, UP, OTHER, OTHERS)


def test_what_is_there_needs_no_step():
    assert repair_steps(EVERYTHING, EVERYTHING) == ()


def test_what_is_not_as_it_should_be_is_put_right_and_nothing_else():
    assert repair_steps((BRIDGE, ADDRESS, UP, OTHER, OTHERS), EVERYTHING) == (Step(VETH, VETH),)
    assert repair_steps((VETH, ADDRESS, UP, OTHER, OTHERS), EVERYTHING) == (Step(BRIDGE, BRIDGE),)
    assert repair_steps((BRIDGE, OTHER, OTHERS), EVERYTHING) == (Step(VETH, VETH), Step(ADDRESS, ADDRESS), Step(UP, UP))


class Endpoint:
    def __init__(self, network_id, ifname="eth0", host_ifname="veth1"):
        self.network_id, self.ifname, self.host_ifname = network_id, ifname, host_ifname


def test_only_endpoints_on_known_networks_that_do_not_stay_must_go_and_each_once():
    stays, goes, again, elsewhere = Endpoint("a"), Endpoint("b", "eth1", "veth2"), Endpoint("b", "eth1", "veth2"), Endpoint("c")
    assert unfinished((stays,), (stays, goes, again, elsewhere), {"a", "b"}) == (again,)
