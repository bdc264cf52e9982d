"""A lab with sites outside and a sandbox that may reach them, and clients in it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.support import quick_client, real_clients, sites
from tests.support.lab import Lab
from tests.support.real_clients import Client

CA = "/run/ca.pem"
_RULES = "*.site.test"
_numbers = count()
ALL_KINDS = tuple(sites.KINDS)

_CERTIFICATES = """
set -e
cd /run
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=Lab CA' -addext basicConstraints=critical,CA:TRUE 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout site.key -out site.csr -subj /CN=site.test 2>/dev/null
printf 'subjectAltName=%s\n' "$NAMES" > site.ext
openssl x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out site.pem -days 30 -extfile site.ext 2>/dev/null
"""


@contextmanager
def sites_lab() -> Iterator[Lab]:
    with Lab() as lab:
        names = ",".join(f"DNS:*.{kind}.site.test" for kind in sites.KINDS)
        lab.shell(f"NAMES='{names}'; {_CERTIFICATES}")
        lab.shell(f"mkdir -p /run/site /run/clients; cd /run/site; PYTHON={sys.executable}; {real_clients.FILES}")
        lab.shell(sites.SETUP, where="outside")
        lab.start_listening("sites.py", "/run/site", "/run/site.pem", "/run/site.key", where="outside")
        lab.start_daemon()
        lab.berth("network", "create", "--ipv6", "sites")
        lab.berth("run", "-d", "--name", "job", "--network", "sites", "--egress", _RULES, "--", "sleep", "infinity")
        yield lab


def names(kinds: tuple[str, ...], each: int = 2) -> list[str]:
    return [f"s{number}.{kind}.site.test" for number in range(each) for kind in kinds]


def start_quick(lab: Lab, number: int, kinds: tuple[str, ...] = ALL_KINDS) -> subprocess.Popen[str]:
    """Start *number* connections."""
    return lab.start(sys.executable, "-m", "resolver", "exec", "job", sys.executable, quick_client.__file__, CA, str(number), *names(kinds))


def outcome(process: subprocess.Popen[str]) -> dict[str, int]:
    """Return how often which outcome came, once all are made."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    found: dict[str, int] = json.loads(lines[-1])
    return found


def restart_during(lab: Lab, process: subprocess.Popen[str], restarts: int, number: int) -> dict[str, int]:
    """End the daemon and start it again *restarts* times while *process* makes *number* connections; return how often which outcome came."""
    assert process.stdout is not None
    done = 0
    for line in process.stdout:
        found: dict[str, int] = json.loads(line)
        if "so far" not in found:
            assert done == restarts, f"only {done} restarts"
            return found
        while done < restarts and found["so far"] * (restarts + 1) > number * (done + 1):
            lab.stop_daemon(signal.SIGKILL if done % 2 == 0 else signal.SIGTERM)
            lab.start_daemon()
            done += 1
    raise AssertionError("the client has ended without an outcome")


def missing(client: Client) -> str:
    """Return why *client* can't be tried here, "" if it can."""
    lacks = [program for program in client.needs if shutil.which(program) is None]
    return f"{', '.join(lacks)} not installed: apt-get install --no-install-recommends {client.package}" if lacks else ""


def run_client(lab: Lab, client: Client, kind: str, number: int, patience: float = 300.0) -> int:
    """Have *client* ask sites of *kind* for *number* times, and return how many connections it says it made."""
    directory = f"/run/clients/{next(_numbers)}"
    # What is set for clients outside of the lab would count for more than what they are told here.
    unset = "unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO http_proxy https_proxy HTTP_PROXY HTTPS_PROXY"
    environment = f"set -e; {unset}; mkdir -p {directory}; cd {directory}; export NAME={kind}.site.test COUNT={number} CA={CA} PYTHON={sys.executable}"
    done = lab.berth("exec", "job", "sh", "-c", f"{environment}\n{client.script}", check=False, timeout=patience)
    assert done.returncode == 0, f"{client.name}, {kind}: {done.returncode}\n{done.stdout}{done.stderr}"
    return int(done.stdout.split("connections ")[1].split()[0])


def refusals(lab: Lab) -> list[dict[str, object]]:
    """Return what berth has refused to the sandbox."""
    found: list[dict[str, object]] = json.loads(lab.berth("egress", "log", "--sandbox", "job", "--format", "json").stdout)
    return found
