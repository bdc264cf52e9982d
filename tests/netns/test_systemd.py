"""berth under a real systemd, booted in a container: the recipes for services, and berth.service itself, over reboots."""

import pytest

from tests.support import recipes
from tests.support.lab import Lab
from tests.support.machine import Machine

WEB = "[Service]\nExecStart=busybox httpd -f -p 80\n[Install]\nWantedBy=multi-user.target\n"
APP = "[Unit]\nAfter=berth.service\n" + WEB.replace(
    "[Service]", "[Service]\nPrivateNetwork=yes\nBindReadOnlyPaths=-/run/berth/by-name/app/resolv.conf:/etc/resolv.conf"
)


@pytest.fixture(scope="module")
def machine():
    """A machine where berth runs as a service, with the services web and app."""
    recipes.need("systemd-nspawn", "systemctl", "busybox", "curl")
    with Lab() as lab:
        recipes.mount_cgroups(lab)
        made = Machine(lab)
        made.write("/etc/systemd/system/web.service", WEB)
        made.write("/etc/systemd/system/app.service", APP)
        try:
            made.boot()
            # As docs/operations.md has it.
            made.run("berth service install; systemctl enable --now berth", timeout=120)
            yield made
        finally:
            made.remove()


def answers(machine, port):
    machine.lab.wait_for(lambda: machine.run(f"curl -s -o /dev/null http://127.0.0.1:{port}/", check=False).returncode == 0)


def resolves(machine, unit, name, address):
    """Wait until *name* is *address* in the mounts and the namespace of the main process of *unit*."""
    inside = f"nsenter --target $(systemctl show -P MainPID {unit}) --mount --net"
    machine.lab.wait_for(lambda: machine.out(f"{inside} getent hosts {name} | cut -d' ' -f1", check=False) == address)


def address(machine, name):
    return machine.out(f"berth inspect -f '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' {name}")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_services_in_sandboxes(machine):
    machine.run(f"set -e; systemctl enable web.service app.service 2>/dev/null; {recipes.commands('systemd dropin')}", timeout=120)
    machine.run(f"set -e; {recipes.commands('systemd follow').split(chr(10), 1)[1]}", timeout=120)
    addresses = {name: address(machine, name) for name in ("web", "app")}

    def all_works():
        for name, other, port in (("web", "app", 8080), ("app", "web", 8081)):
            answers(machine, port)
            resolves(machine, f"{name}.service", f"{other}.front", addresses[other])
            assert address(machine, name) == addresses[name]

    all_works()
    machine.run("systemctl restart web app")
    all_works()
    machine.run("systemctl restart berth", timeout=120)
    all_works()
    machine.run("systemctl kill -s KILL web app; systemctl reset-failed web app; systemctl start web app")
    all_works()
    machine.run("systemctl kill -s KILL --kill-who=main berth")
    machine.lab.wait_for(lambda: "2 sandboxes" in machine.out("berth status", check=False))
    all_works()
    # A power cut: everything comes back by itself.
    machine.end()
    machine.boot()
    all_works()
    machine.run("set -e; systemctl stop web app; berth systemd-dropin --remove web; berth rm web; berth detach app")
    assert machine.out("ls -d /etc/systemd/system/web.service.d; ls /run/netns /run/berth/sandboxes", check=False).split() == [
        "/run/berth/sandboxes:",
        "/run/netns:",
    ]
    machine.run("berth network rm front; systemctl disable --now berth 2>/dev/null; berth service uninstall", timeout=120)
    assert machine.run("systemctl cat berth", check=False).returncode != 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_machines_that_machined_knows(machine):
    recipes.need("machinectl")
    machine.run(recipes.IMAGE.replace("/run/image", "/var/lib/machines/box"))
    machine.run("berth service install; systemctl start berth", timeout=120)
    machine.run(f"set -e; {recipes.commands('nspawn follow')}", timeout=120)
    answers(machine, 8082)
    first = address(machine, "box")
    machine.run("machinectl terminate box; while systemctl is-active -q box; do sleep 0.1; done; systemctl reset-failed box || true")
    machine.lab.wait_for(lambda: "waiting" in machine.out("berth ps"))
    machine.run(f"set -e; {recipes.commands('nspawn follow').split(chr(10), 2)[2]}", timeout=120)
    answers(machine, 8082)
    assert address(machine, "box") == first
    machine.run("machinectl terminate box; berth detach box; berth network rm front; berth service uninstall", timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_drop_ins_are_as_systemd_has_them(machine):
    for unit, name in (("web", "web"), ("web@.service", "web-%i"), ("web@a.service", "web-a")):
        machine.run(
            f"rm -rf /tmp/units; mkdir /tmp/units; printf '[Service]\\nExecStart=/bin/true\\n' > /tmp/units/{unit.removesuffix('.service')}.service"
        )
        said = machine.out(f"berth systemd-dropin --directory /tmp/units {unit}")
        assert f"NetworkNamespacePath=/run/netns/berth-{name}\n" in said
        instance = unit.removesuffix(".service").replace("@", "@a" if unit == "web@.service" else "@")
        verified = machine.run(f"SYSTEMD_UNIT_PATH=/tmp/units: systemd-analyze verify {instance}.service", check=False)
        assert (verified.returncode, verified.stderr) == (0, "")
