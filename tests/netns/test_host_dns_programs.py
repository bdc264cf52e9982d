"""`berth host-dns` with real name servers that can't be installed beside the host's own: their packages are unpacked, by `.ci/run`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Failed, Lab
from tests.support.recipes import need

pytestmark = pytest.mark.slow
UNPACKED = Path("/opt/berth-test-programs")
"""A directory for each program, with the files of its packages."""
EVERYTHING = "find /etc | sort | sha256sum; find /etc -type f -exec sha256sum {} + | sort; readlink /etc/resolv.conf || true"
OVER_USR = """
mkdir -p /run/over && mount -t tmpfs over /run/over && mkdir /run/over/upper /run/over/work
mount -t overlay overlay -o lowerdir=/usr,upperdir=/run/over/upper,workdir=/run/over/work /usr
"""


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab with the daemon, sandbox web on network front, and the files of the program that the test is for."""
    program = UNPACKED / request.param
    if not program.is_dir():
        pytest.skip(f"{program} is not there; .ci/run unpacks it")
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.write("/run/berth.toml", 'host_listen = "127.0.0.153:53"\n')
        made.start_daemon("--config", "/run/berth.toml")
        made.berth("network", "create", "front")
        made.berth("run", "-d", "--name", "web", "--network", "front", "--", "sleep", "600")
        try:
            made.shell(OVER_USR)
        except Failed as error:
            pytest.skip(f"nothing can be laid over /usr: {error}"[:200])
        made.shell(
            f"cd {program}; rm -rf /etc/resolvconf /etc/resolv.conf; for each in bin sbin lib; do if test -d $each; then cp -a $each/. /usr/$each/; fi; done\n"
            "cp -a usr/. /usr/; if test -d etc; then cp -a etc/. /etc/; fi"
        )
        yield made


def finds(lab: Lab, name: str, *source: str) -> list[str]:
    return lab.run("getent", *source, "ahostsv4", name, check=False).stdout.split()[:1]


def web(lab: Lab) -> list[str]:
    return [lab.inspect("web")["endpoints"][0]["addresses"][0].partition("/")[0]]


@pytest.mark.parametrize("lab", ["openresolv", "resolvconf"], indirect=True, ids=str)
def test_names_of_others_are_found_beside_ours_in_resolv_conf(lab: Lab):
    lab.shell(
        "if test -d /etc/resolvconf/resolv.conf.d; then mkdir -p /run/resolvconf/interface; touch /run/resolvconf/enable-updates; "
        "ln -s ../run/resolvconf/resolv.conf /etc/resolv.conf; fi\n"
        f"echo 'nameserver {OUTSIDE_ADDRESS}' | resolvconf -a up0.test"
    )
    before = lab.shell(EVERYTHING)
    assert (finds(lab, "a.example.test"), finds(lab, "web.front.berth.internal")) == (["192.0.2.80"], [])
    lab.berth("host-dns", "enable", "--config", "/run/berth.toml")
    assert (finds(lab, "a.example.test"), finds(lab, "web.front.berth.internal")) == (["192.0.2.80"], web(lab))
    lab.berth("host-dns", "disable")
    assert lab.shell(EVERYTHING) == before
    assert (finds(lab, "a.example.test"), finds(lab, "web.front.berth.internal")) == (["192.0.2.80"], [])


@pytest.mark.parametrize("lab", ["systemd-resolved"], indirect=True, ids=str)
def test_systemd_resolved_and_nss_resolve_find_the_names(lab: Lab):
    lab.shell(
        "echo 'systemd-resolve:x:991:991::/:/usr/sbin/nologin' >> /etc/passwd; echo 'systemd-resolve:x:991:' >> /etc/group\n"
        "mkdir -p /run/systemd/resolve; chown 991:991 /run/systemd/resolve; ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf\n"
        "ip link set lo up"
    )
    before = lab.shell(EVERYTHING)
    made = lab.berth("host-dns", "enable", "--config", "/run/berth.toml", "--no-restart")
    assert "/etc/systemd/resolved.conf.d/berth.conf" in made.stdout
    server = lab.start("/usr/lib/systemd/systemd-resolved")
    # By nss-resolve, which asks it over its socket, and by the stub that resolv.conf leads to.
    lab.wait_for(lambda: finds(lab, "web.front.berth.internal", "-s", "resolve") == web(lab))
    lab.wait_for(lambda: finds(lab, "web.front.berth.internal", "-s", "dns") == web(lab))
    assert finds(lab, "nobody.front.berth.internal", "-s", "resolve") == []
    server.terminate()
    server.wait()
    lab.berth("host-dns", "disable", "--no-restart")
    assert lab.shell(EVERYTHING) == before


_NETWORK_MANAGER = """
# Where /sys can't be written it does without udev.
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/dbus /run/NetworkManager /var/lib/NetworkManager
printf '[main]\\nplugins=keyfile\\ndns=dnsmasq\\nauth-polkit=false\\n[keyfile]\\nunmanaged-devices=except:interface-name:up0\\n' > /etc/NetworkManager/NetworkManager.conf
dbus-daemon --system --fork
"""
_CONNECT = f"""
nmcli device set up0 managed yes
nmcli connection add type ethernet ifname up0 con-name up ipv4.method manual ipv4.addresses {HOST_ADDRESS}/24 ipv4.gateway {OUTSIDE_ADDRESS} ipv4.dns {OUTSIDE_ADDRESS}
nmcli connection up up
"""


@pytest.mark.parametrize("lab", ["networkmanager"], indirect=True, ids=str)
def test_dnsmasq_of_networkmanager_finds_the_names(lab: Lab):
    need("dbus-daemon", "dnsmasq")
    lab.shell(_NETWORK_MANAGER)
    lab.start("NetworkManager", "--no-daemon")
    lab.wait_for(lambda: lab.run("nmcli", "general", check=False).returncode == 0)
    lab.shell(_CONNECT)
    lab.wait_for(lambda: "nameserver 127.0.0.1" in lab.out("cat", "/etc/resolv.conf"))
    lab.wait_for(lambda: finds(lab, "a.example.test") == ["192.0.2.80"])
    before = lab.shell(EVERYTHING)
    assert finds(lab, "web.front.berth.internal") == []
    # It is found out, and told by the real nmcli.
    lab.berth("host-dns", "enable", "--config", "/run/berth.toml")
    lab.wait_for(lambda: finds(lab, "web.front.berth.internal") == web(lab))
    assert "/etc/NetworkManager/dnsmasq.d/berth.conf" in lab.berth("host-dns", "status", "--config", "/run/berth.toml").stdout
    # A new connection of the host changes nothing.
    lab.shell("nmcli connection down up; nmcli connection up up")
    lab.wait_for(lambda: (finds(lab, "a.example.test"), finds(lab, "web.front.berth.internal")) == (["192.0.2.80"], web(lab)))
    lab.berth("host-dns", "disable")
    lab.wait_for(lambda: (finds(lab, "a.example.test"), finds(lab, "web.front.berth.internal")) == (["192.0.2.80"], []))
    assert lab.shell(EVERYTHING) == before
