"""Which flows are deleted by the kernel's filter, and which are looked for one by one."""

from ipaddress import ip_address

from netcore import limits
from netcore.desired.flows import Flows, PortMove
from netcore.errors import KernelError
from netcore.kernel import conntrack, flow_filter
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


def moved(*ports):
    """Flows of ports (family, protocol, port) that lead somewhere now, and led nowhere before."""
    return Flows(ports=frozenset(PortMove(family, protocol, None, port, None, (FOUR, 8080)) for family, protocol, port in ports))


def flushed(flows, honoured, **options):
    netlink = Netlink(**options)
    conntrack.flush(netlink, None, flows, honoured)
    return len(netlink.sent), netlink.dumped


def test_an_address_takes_two_requests_and_no_dump():
    assert flushed(Flows(addresses=frozenset({FOUR})), EVERYTHING) == (2, [])
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), EVERYTHING) == (4, [])


def test_a_port_takes_one_look_by_the_kernels_filter():
    assert flushed(moved((4, "tcp", 80), (4, "tcp", 80)), EVERYTHING) == (0, [2])
    assert sorted(flushed(moved((4, "tcp", 80), (6, "udp", 53)), EVERYTHING)[1]) == [2, 10]
    ports = {(4, "tcp", 80): [PortMove(4, "tcp", None, 80, None, (FOUR, 8080))]}
    (request,) = conntrack.looks(ports, EVERYTHING)
    assert request.body == flow_filter.to_port(4, "tcp", 80, untranslated=True).body
    led = PortMove(4, "tcp", None, 80, (FOUR, 8080), None)
    (request,) = conntrack.looks({(4, "tcp", 80): [*ports[4, "tcp", 80], led]}, EVERYTHING)
    assert request.body == flow_filter.to_port(4, "tcp", 80, untranslated=False).body


def test_what_the_kernel_does_not_honour_is_looked_for_in_its_family_alone():
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), WITHOUT_IPV6_ADDRESSES) == (2, [10])
    assert flushed(Flows(addresses=frozenset({FOUR, SIX})), frozenset()) == (0, [2, 10])
    (request,) = conntrack.looks({(6, "tcp", 80): []}, frozenset())
    assert request.body == flow_filter.all_flows(6).body


def test_ports_of_sctp_are_looked_for():
    """The filter does not look at them, so all flows that are not translated are looked at."""
    requests = conntrack.looks({(4, "sctp", 80): [], (4, "tcp", 80): []}, EVERYTHING)
    assert [request.body for request in requests] == [
        flow_filter.to_port(4, "tcp", 80, untranslated=True).body, flow_filter.all_flows(4, untranslated=True).body
    ]  # fmt: skip


def test_many_flows_are_looked_for_once():
    ports = [(4, "tcp", port) for port in range(limits.FLOW_FILTERS + 1)]
    assert flushed(moved(*ports), EVERYTHING) == (0, [2])
    led = [*moved(*ports).ports, PortMove(4, "tcp", None, 80, (FOUR, 80), None)]
    by_port = {(4, "tcp", move.port): [move] for move in led}
    assert [request.body for request in conntrack.looks(by_port, EVERYTHING)] == [flow_filter.all_flows(4).body]
    assert len(flushed(moved(*ports[1:]), EVERYTHING)[1]) == limits.FLOW_FILTERS


def test_a_filter_that_is_refused_means_a_look_at_all():
    assert flushed(Flows(addresses=frozenset({FOUR})), EVERYTHING, refuses=True) == (2, [2])
