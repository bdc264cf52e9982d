"""For which name a connection was opened: kept over the end of a daemon, and bounded."""

from ipaddress import ip_address

from netcore.look.opened_flows import ADDRESS_ALONE, RECORD_LENGTH, OpenedFlows, number_of
from netcore.look.steps import FlowKey


def key(port, client="10.0.0.2", server="192.0.2.1"):
    return FlowKey(ip_address(client), port, ip_address(server), 443)


def test_the_next_daemon_knows_what_this_one_has_opened(tmp_path):
    path = str(tmp_path / "opened")
    opened = OpenedFlows(path, 4)
    opened.opened(key(1), "a.test")
    opened.opened(key(2, "fd00::2", "2001:db8::1"), "b.test")
    opened.opened(key(3), "")
    opened.opened(key(1), "c.test")
    for number in range(7):
        # Round the whole file.
        opened.opened(key(1), "d.test" if number % 2 else "c.test")
        opened.opened(key(2, "fd00::2", "2001:db8::1"), "b.test")
        opened.opened(key(3), "")
    opened.close()
    again = OpenedFlows(path, 4)
    assert again.number(key(1)) == number_of("c.test")
    assert again.number(key(2, "fd00::2", "2001:db8::1")) == number_of("b.test")
    assert again.number(key(3)) == ADDRESS_ALONE
    assert again.number(key(4)) is None
    again.opened(key(3), None)
    assert again.number(key(3)) is None
    again.close()


def test_the_oldest_are_forgotten_and_damaged_records_are_none(tmp_path):
    path = tmp_path / "opened"
    opened = OpenedFlows(str(path), 3)
    for port in range(1, 6):
        opened.opened(key(port), "a.test")
    assert [opened.number(key(port)) is not None for port in range(1, 6)] == [False, False, True, True, True]
    opened.close()
    octets = bytearray(path.read_bytes())
    assert len(octets) == 3 * RECORD_LENGTH
    octets[5] ^= 1
    path.write_bytes(octets)
    again = OpenedFlows(str(path), 3)
    assert sum(again.number(key(port)) is not None for port in range(1, 6)) == 2
    again.close()
