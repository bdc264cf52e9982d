"""Sysctls: only what differs is written, what was there before comes back, and a refusal says what helps."""

import builtins
import errno

import pytest

from netcore.errors import KernelError, Unavailable
from netcore.kernel import sysctl

FORWARDING = "net/ipv4/conf/up0/forwarding"


@pytest.fixture
def host(monkeypatch):
    """What /proc/sys has; *written*: what was given a value; *refusal*: of each opening for writing."""

    class Host:
        def __init__(self):
            self.values = {FORWARDING: "0", "net/ipv6/conf/eth0/disable_ipv6": "0", "net/ipv4/ip_forward": "1"}
            self.written, self.by_netlink, self.refusal = [], [], None

    host = Host()

    class File:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, octets):
            host.written.append((self.path, octets.decode()))
            host.values[self.path] = octets.decode()

        def read(self, _):
            return host.values[self.path].encode() + b"\n"

    def open_file(name, mode, buffering):
        path = name.removeprefix("/proc/sys/")
        if path not in host.values:
            raise FileNotFoundError(errno.ENOENT, "no file")
        if host.refusal is not None and "+" in mode:
            raise OSError(host.refusal, "refused")
        return File(path)

    class Socket:
        def __init__(self, _):
            pass

        __enter__, __exit__ = File.__enter__, File.__exit__
        path = None

        def run(self, requests):
            host.by_netlink.append(requests[0].target)
            return [None]

    monkeypatch.setattr(builtins, "open", open_file)
    monkeypatch.setattr(sysctl, "NetlinkSocket", Socket)
    yield host
    monkeypatch.undo()


def test_only_what_differs_is_written(host):
    sysctl.write(FORWARDING, "0")
    assert host.written == []
    sysctl.write(FORWARDING, "1")
    assert host.written == [(FORWARDING, "1")]
    assert sysctl.read_all([FORWARDING, "net/none"]) == {FORWARDING: "1"}


def test_absent_file(host):
    sysctl.write("net/none", "1", optional=True)
    with pytest.raises(KernelError, match="the kernel has no such sysctl"):
        sysctl.write("net/none", "1")


@pytest.mark.parametrize(("now", "after"), [("1", "0"), ("2", "2")])
def test_original_comes_back_unless_somebody_changed_it(host, now, after):
    host.values[FORWARDING] = now
    sysctl.restore(FORWARDING, "1", "0")
    assert host.values[FORWARDING] == after
    sysctl.restore("net/none", "1", "0")


def test_read_only_files_that_are_right_are_no_error(host):
    host.refusal = errno.EROFS
    sysctl.write(FORWARDING, "0")
    sysctl.write("net/ipv4/ip_forward", "1")
    assert host.by_netlink == []


def test_read_only_ipv4_settings_of_links_are_set_by_netlink(host):
    host.refusal = errno.EROFS
    sysctl.write(FORWARDING, "1")
    assert host.by_netlink == ["up0"]


def test_read_only_file_that_is_wrong_is_refused_with_a_remedy(host):
    host.refusal = errno.EROFS
    with pytest.raises(Unavailable, match=r"net/ipv4/ip_forward is 1, not 0; make it writable with `mount -o remount,rw /proc/sys`"):
        sysctl.write("net/ipv4/ip_forward", "0")
    with pytest.raises(Unavailable, match=r"for links that berth makes: net/ipv6/conf/default/disable_ipv6"):
        sysctl.write("net/ipv6/conf/eth0/disable_ipv6", "1")
    sysctl.write("net/ipv6/conf/eth0/disable_ipv6", "1", dispensable=True)
    assert host.values["net/ipv6/conf/eth0/disable_ipv6"] == "0"


def test_other_refusals_are_the_kernels(host):
    host.refusal = errno.EINVAL
    with pytest.raises(KernelError, match="EINVAL"):
        sysctl.write(FORWARDING, "1")
