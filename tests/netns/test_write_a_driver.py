"""The driver of docs/write-a-driver.md, word for word as it stands there, under a real daemon."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.lab import Lab

PAGE = Path(__file__).parents[2] / "docs" / "write-a-driver.md"
DAEMON = "/mnt/work/berth_switch.py"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def driver_of_the_page() -> str:
    (text,) = re.findall(r"^<!-- driver -->\n```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return text


def start_daemon(lab: Lab) -> None:
    lab.start_daemon(program=f"{sys.executable} {DAEMON} daemon")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.write(DAEMON, driver_of_the_page())
        start_daemon(made)
        yield made


def reaches(lab: Lab, name: str, target: str) -> bool:
    return lab.berth("exec", name, "ping", "-c1", "-W1", target, check=False).returncode == 0


def test_sandboxes_reach_each_other_and_nothing_else(lab):
    before = lab.kernel_state()
    lab.berth(
        "network", "create", "-d", "switch", "-o", "device=lab0", "--ipv6", "--subnet", "10.77.0.0/24", "--subnet", "fd77::/64", "lab"
    )
    for name in ("web", "client"):
        lab.berth("run", "-d", "--name", name, "--network", "lab", "--", "sleep", "300")
    assert reaches(lab, "client", "web")
    assert reaches(lab, "client", lab.inspect("web")["addresses"][1])
    assert lab.in_sandbox("client", "ip", "route", "show", "default") == ""
    assert not lab.out("ip", "-o", "addr", "show", "lab0")
    assert lab.run("ping", "-c1", "-W1", lab.inspect("web")["addresses"][0], check=False).returncode != 0
    shown = json.loads(lab.berth("network", "inspect", "lab").stdout)[0]
    assert (shown["driver"], shown["scope"], shown["link"], shown["internal"]) == ("switch", "local", "lab0", True)
    lab.berth("rm", "web", "client")
    lab.berth("network", "rm", "lab")
    lab.wait_for(lambda: lab.kernel_state() == before)


def test_its_refusals_and_its_dry_run(lab):
    def refused(*options: str) -> str:
        done = lab.berth("network", "create", "-d", "switch", *options, "new", check=False)
        assert done.returncode != 0
        return done.stderr

    assert "the switch driver has no such option; did you mean device?" in refused("-o", "devices=x")
    assert "link up0 exists already" in refused("-o", "device=up0")
    assert "option device" in refused("-o", "device=a/b")
    assert "switch" in lab.berth("network", "create", "-d", "nobody", "new", check=False).stderr
    planned = lab.berth("network", "create", "-d", "switch", "-o", "device=lab1", "--dry-run", "new").stdout
    assert "link lab1 type bridge" in planned
    assert "lab1" not in lab.out("ip", "-o", "link")


@pytest.mark.slow
def test_it_outlives_a_daemon_that_does_not_know_it(lab):
    lab.berth("network", "create", "-d", "switch", "-o", "device=lab0", "kept")
    lab.berth("run", "-d", "--name", "first", "--network", "kept", "--", "sleep", "300")
    lab.stop_daemon()
    Lab.start_daemon(lab)
    assert "network kept is set aside: driver switch is not available" in lab.berth("status").stdout
    lab.stop_daemon()
    start_daemon(lab)
    lab.berth("run", "-d", "--name", "second", "--network", "kept", "--", "sleep", "300")
    assert reaches(lab, "second", "first")
    lab.berth("rm", "first", "second")
    lab.berth("network", "rm", "kept")


def test_its_unit_test_of_the_page_passes(lab):
    (text,) = (block for block in blocks("python") if "from berth_switch import" in block)
    lab.run(sys.executable, "-c", f"import sys; sys.path.insert(0, '/mnt/work')\n{text}")
