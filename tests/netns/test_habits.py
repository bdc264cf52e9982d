"""docs/habits.md: each row is typed, in one lab, and gives what the page says. What has no sense here is a unit test."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.habits import rows, typed
from tests.support.lab import Lab

# A hundred processes, one after the other, since most rows need what another one has made.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COMPOSE = """\
name: shop
services:
  api: {command: sleep 600, scale: 2}
  db: {command: sleep 600, ports: ["15432:5432"]}
"""
ID, ADDRESS, EVENT = "[0-9a-f]{12}", r"\d+\.\d+\.\d+\.\d+", r"\d{4}-\d\d-\d\dT[^ ]+ "
LIST = r"SANDBOX ID +NAME +COMMAND +STATUS +AGE +NETWORKS +ADDRESSES +PORTS\n"
GIVES = {
    "docker run --rm -- echo hello": "hello",
    "echo hello | docker run -i --rm cat": "hello",
    "docker run -dit --name job --network front sleep 600": "job",
    "docker run --rm --user nobody --cap-drop ALL --read-only --tmpfs /mnt true": "",
    "docker run -d --name cache --network front -p 6379:6379 -e A=1 sleep 600": "cache",
    "docker ps": rf"{LIST}(?s:.*){ID} +cache +sleep 600 +running +\d+s +front +{ADDRESS} +0\.0\.0\.0:6379->6379/tcp\n(?s:.*)web.*",
    "docker ps -a": r"SANDBOX ID +NAME +COMMAND +STATUS +AGE(?s:.*)cache +sleep 600 +running(?s:.*)",
    "docker ps -q": rf"{ID}\n{ID}\n{ID}",
    "docker ps -aq --no-trunc": r"([0-9a-f]{64}\n?){3}",
    "docker ps -l": rf"{LIST}{ID} +cache.*",
    "docker ps --filter name=web": rf"{LIST}{ID} +web.*",
    "docker ps --filter publish=6379 --format '{{.Names}}'": "cache",
    r"docker ps --format 'table {{.Names}}\t{{.Ports}}'": r"NAMES +PORTS\n(?s:.*)cache +0\.0\.0\.0:6379->6379/tcp\n(?s:.*)",
    "docker ps --format json": r'\[(?s:.*)"name": "web"(?s:.*)\]',
    "docker ps --format '{{json .}}'": r'(\{"ID":"[0-9a-f]{12}","Names":.*\}\n?){3}',
    "docker container ls": rf"{LIST}(?s:.*)",
    "docker exec web hostname": ID,
    "docker exec -i web cat": "",
    "docker exec -u nobody web id -un": "nobody",
    "docker exec -d web sleep 60": "",
    "docker exec -e A=1 -w /tmp web sh -c 'echo $A $PWD'": "1 /tmp",
    "docker container exec web true": "",
    "docker inspect web": r'\[(?s:.*)"name": "web"(?s:.*)\]',
    "docker inspect -f '{{.State.Pid}}' web": r"\d+",
    "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web": r"10\.5\.0\.2",
    """docker inspect -f '{{index .Config.Labels "team"}}' web""": "",
    "docker inspect front": r'\[(?s:.*)"name": "front"(?s:.*)\]',
    "docker port cache": r"6379/tcp -> 0\.0\.0\.0:6379(\n6379/tcp -> \[::\]:6379)?",
    "docker port cache 6379/tcp": r"0\.0\.0\.0:6379(\n\[::\]:6379)?",
    "docker top web": r"UID +PID +PPID +TIME +CMD\nroot(?s:.*) sleep 600(?s:.*)",
    "docker top web -ef": r"UID +PID +PPID +C +STIME +TTY +TIME CMD\n(?s:.*) sleep 600(?s:.*)",
    "docker stats --no-stream": r"SANDBOX ID +NAME +NETWORK +RECEIVED +SENT(?s:.*)\n[0-9a-f]{12} +web +front +[\d.]+k?B +[\d.]+k?B +\d+ / \d+ +\d+ +\d",
    "docker rename cache store": "",
    "docker kill -s TERM job": "job",
    "docker wait job": "143",
    "docker ps -a --filter status=exited --format '{{.Names}}: {{.Status}}'": r"job: Exited \(143\) (Less than a second|\d+ seconds?) ago",
    "docker start job": "job",
    "docker restart -t 1 job": "job",
    "docker stop job": "job",
    "docker rm job": "job",
    "docker run -d --name said --network front sh -c 'echo one; echo two'": "said",
    "docker wait said": "0",
    "docker logs said": "one\ntwo",
    "docker logs --tail 1 said": "two",
    "docker logs -f --timestamps said": r"\S+Z one\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z two",
    "docker start -a said": "one\ntwo",
    "docker run --restart on-failure:1 --network front -- sh -c 'echo tried; test -e /tmp'": "tried",
    "docker container prune -f": "said",
    "docker run -d --name steady --restart unless-stopped --network front sleep 600": "steady",
    "docker stop -t 1 steady": "steady",
    "docker rm -f store": "store",
    "docker rm -f nobody": "",
    "docker container rm -f nobody": "",
    "docker network create back": "[0-9a-f]{64}",
    "docker network ls": r"NETWORK ID +NAME +DRIVER +SCOPE +SUBNETS(?s:.*)front +bridge +local +10\.5\.0\.0/24(?s:.*)",
    "docker network list": r"NETWORK ID(?s:.*)",
    "docker network ls -q": rf"({ID}\n?)+",
    "docker network ls --filter driver=bridge --format '{{.Name}}'": r"back\n(?s:.*)front",
    "docker network inspect front": r'\[(?s:.*)"name": "front"(?s:.*)\]',
    "docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' front": r"10\.5\.0\.0/24",
    "docker network inspect -f '{{range .Containers}}{{.IPv4Address}}{{end}}' front": r"10\.5\.0\.2/24",
    "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' steady": "unless-stopped",
    "docker network connect back steady": "",
    "docker start steady": "steady",
    "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' steady": rf"{ADDRESS} 10\.5\.0\.\d+ ?",
    "docker rm -f steady": "steady",
    "docker network connect --alias www back web": "",
    "docker network disconnect -f back web": "",
    "docker network remove back": "back",
    "docker network rm -f back": "",
    "docker network prune -f": "(default|)",
    "docker system prune -af --volumes": "",
    "docker events --since 1h --until 0s --filter event=destroy": rf"(?s:.*){EVENT}sandbox remove said id={ID} cause=pruned exit_code=0(?s:.*)",
    "docker version": r"command +berth \S+\ndaemon +berth \S+, pid \d+",
    "docker -v": r"berth, version \S+",
    "docker info": r"berth \S+, pid \d+, up (?s:.*)",
    "docker info --format '{{.ServerVersion}} {{.Containers}}'": r"\d+\.\d+\.\d+ \d+",
    "docker help network": "Usage: berth network COMMAND(?s:.*)",
    "docker compose up -d": r"NAME +NETWORK(?s:.*)shop-api-2(?s:.*)15432->5432/tcp",
    "docker compose ls": r"NAME +STATUS +NETWORKS\nshop +running\(3\) +shop_default",
    "docker compose ps": rf"{LIST}{ID} +shop-api-1(?s:.*)shop-api-2(?s:.*)shop-db-1(?s:.*)",
    "docker compose ps --services": "api\ndb",
    "docker compose -p shop ps -q db": ID,
    "docker compose exec -T api hostname": ID,
    "docker compose exec --index 2 api true": "",
    "docker compose port db 5432": r"0\.0\.0\.0:15432(\n\[::\]:15432)?",
    "docker compose top": r"shop-api-1\nUID(?s:.*)shop-db-1\nUID(?s:.*)",
    "docker compose stats --no-stream": r"SANDBOX ID(?s:.*)shop-db-1(?s:.*)",
    "docker compose logs --tail 5 db": "",
    "docker compose stop api": "shop-api-1\nshop-api-2",
    "docker compose start api": "shop-api-1\nshop-api-2",
    "docker compose restart db": "shop-db-1",
    "docker compose kill -s TERM db": "shop-db-1",
    "docker compose wait db": "143",
    "docker compose ps -a --format '{{.Names}}: {{.State}}'": "shop-api-1: running\nshop-api-2: running\nshop-db-1: exited",
    "docker compose rm -f": "shop-db-1",
    "docker compose run --rm db echo hello": "hello",
    "docker compose --ansi never --progress quiet up -d --build --quiet-pull": r"NAME +NETWORK(?s:.*)shop-db-1(?s:.*)",
    "docker compose logs --no-color --no-log-prefix --index 2 api": "",
    "docker compose scale api=3": r"NAME +NETWORK(?s:.*)shop-api-3(?s:.*)",
    "docker compose ps --format '{{.Name}} {{.Service}} {{.State}} {{.ExitCode}}'": (
        "shop-api-1 api running 0\nshop-api-2 api running 0\nshop-api-3 api running 0\nshop-db-1 db running 0"
    ),
    "docker compose config --services": "api\ndb|db\napi",
    "docker compose down db": "db of project shop is down: removed 1 sandbox and 0 networks",
    "docker compose down -v --rmi local": "project shop is down: removed 3 sandboxes and 1 network",
    "docker compose ps -q": "",
}
"""What is typed → what is printed, as a pattern. In the order of the page, as each row may need what another one made."""


@pytest.fixture(scope="module")
def habits():
    """A lab with what the page takes for granted, and a directory with the Compose files in it."""
    with Lab() as made:
        made.start_daemon()
        made.shell(f"mkdir -p /mnt/shop /mnt/work/bin; printf '#!/bin/sh\\nexec {sys.executable} -m resolver \"$@\"\\n' > /mnt/work/bin/docker; "
                   "chmod +x /mnt/work/bin/docker; cp /mnt/work/bin/docker /mnt/work/bin/berth")  # fmt: skip
        made.write("/mnt/shop/compose.yaml", COMPOSE)
        made.write("/mnt/shop/bad.yaml", "services:\n  web:\n    command: [sleep\n")
        made.write("/mnt/shop/good.yaml", "services:\n  web:\n    command: sleep 1\n")
        made.write("/mnt/shop/key.yaml", "services:\n  web:\n    command: sleep 1\n    prots: [80]\n")
        made.berth("network", "create", "--subnet", "10.5.0.0/24", "front")
        made.berth("run", "-d", "--name", "web", "--network", "front", "-p", "8090:80", "--", "sleep", "600")
        yield made


def outcomes(lab, commands):
    """Type all *commands* in one go; return (exit code, standard output, standard error) of each."""
    script = "cd /mnt/shop; PATH=/mnt/work/bin:$PATH; "
    for at, command in enumerate(commands):
        script += f"({command}) >/mnt/work/{at}.out 2>/mnt/work/{at}.err </dev/null; echo $? >/mnt/work/{at}.code; "
    script += f"for at in $(seq 0 {len(commands) - 1}); do for kind in code out err; do cat /mnt/work/$at.$kind; printf '\\001'; done; done"
    parts = lab.run("sh", "-c", script, timeout=230).stdout.split("\x01")
    return [(int(parts[at]), parts[at + 1].rstrip("\n"), parts[at + 2].rstrip("\n")) for at in range(0, len(parts) - 1, 3)]


def test_what_is_typed_gives_what_the_page_says(habits):
    commands = [typed(row[0]) for row in rows("You type, you get")]
    assert len(commands) >= 60
    assert commands == list(GIVES)
    found = dict(zip(commands, outcomes(habits, commands), strict=True))
    assert not {command: got for command, got in found.items() if got[0] or not re.fullmatch(GIVES[command], got[1])}


def test_mistakes_are_answered_in_a_line_that_says_what_would_be_right(habits):
    found = rows("Mistakes")
    assert len(found) >= 25
    commands = []
    for cell, _ in found:
        command, _, circumstance = cell.partition("` ")
        match circumstance:
            case "without a daemon":
                commands.append(f"BERTH_RUN_DIR=/run/none {typed(command)}")
            case _:
                commands.append(typed(cell))
    for command, (_, says), (code, shown, said) in zip(commands, found, outcomes(habits, commands), strict=True):
        assert code != 0, command
        # `inspect` prints what it found, as docker does: an empty list.
        nothing = "[]" if shlex.split(command)[1] == "inspect" else ""
        assert (shown, said.count("\n")) == (nothing, 0), (command, said)
        pattern = ".*".join(re.escape(part) for part in typed(says).split("…"))
        assert re.fullmatch(f"berth: {pattern}", said.replace("`", "")), (shlex.split(command), said)


def test_the_picture_of_the_shop_is_what_graph_prints(habits):
    root = Path(__file__).parents[2]
    habits.shell(f"PATH=/mnt/work/bin:$PATH; docker network prune -f; docker compose -f {root}/examples/shop.yaml up -d", timeout=60)
    for form, page, language in (("text", "docs/compose.md", "text"), ("mermaid", "README.md", "mermaid")):
        shown = habits.berth("graph", "--project", "examples", "--format", form).stdout
        assert f"```{language}\n{shown}```" in (root / page).read_text(), shown
    habits.shell("PATH=/mnt/work/bin:$PATH; docker compose -p examples down")
