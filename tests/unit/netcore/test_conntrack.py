"""Which flows are deleted by the kernel's filter, and which are looked for one by one."""

from ipaddress import ip_address

from netcore import limits
from netcore.desired.flows import Flows
from netcore.errors import KernelError
from netcore.kernel import conntrack
from netcore.kernel.flow_filter import Part

FOUR, SIX = ip_address("10.0.0.2"), ip_address("fd00::2")
EVERYTHING = frozenset((family, part) for family in (4, 6) for part in Part)
WITHOUT_IPV6_ADDRESSES = EVERYTHING - {(6, Part.ADDRESS)}


class Netlink:
    """Counts requests and dumps; *refuses*: every request that deletes by filter."""

    def __init__(self, *, refuses=False):
        self.refuses = refuses
        self.sent = []
        self.dumped = []

    def run(self, requests):
        self.sent += requests
        return [KernelError(request.operation, request.target, 95) if self.refuses else None for request in requests]

    def dump(self, request):
        self.dumped.append(request.body[0])
        return []


def flushed(flows, honoured, **options):
    netlink = Netlink(**options)
    conntrack.flush(netlink, flows, honoured)
    return len(netlink.sent), netlink.dumped


def test_an_address_takes_two_requests_and_no_dump():
    assert flushed(Flows(addresses=frozenset({FOUR})), EVERYTHING) == (2, [])
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), EVERYTHING) == (4, [])


def test_a_port_takes_one_request():
    assert flushed(Flows(ports=frozenset({(4, "tcp", 80), (6, "udp", 53)})), EVERYTHING) == (2, [])


def test_what_the_kernel_does_not_honour_is_looked_for_in_its_family_alone():
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), WITHOUT_IPV6_ADDRESSES) == (2, [10])
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), frozenset()) == (0, [2, 10])


def test_ports_of_sctp_are_looked_for():
    """The filter does not look at them, so all of SCTP would go."""
    assert flushed(Flows(ports=frozenset({(4, "sctp", 80), (4, "tcp", 80)})), EVERYTHING) == (1, [2])


def test_many_flows_are_looked_for_once():
    ports = frozenset((4, "tcp", port) for port in range(limits.FLOW_FILTERS + 1))
    assert flushed(Flows(ports=ports), EVERYTHING) == (0, [2])


def test_a_filter_that_is_refused_means_a_look_at_all():
    flows = Flows(addresses=frozenset({FOUR}), ports=frozenset({(6, "tcp", 80)}))
    assert flushed(flows, EVERYTHING, refuses=True) == (3, [2, 10])
