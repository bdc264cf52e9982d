"""What egress rules cost: names, connections, bulk, packets, changes, memory; beside dnsmasq with nftset and tinyproxy.

    python -m benchmarks.egress [PART...]     # parts: names connections packets many

All in one lab: sandboxes with and without rules on one network, servers outside. Each pair is measured in turns, so that what else the
machine does meets both. `SANDBOXES` in the environment: how many there are in the last part (1,000).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peers import SBIN
from benchmarks.report import chosen, machine, table, write
from tests.support.client_hellos import hello
from tests.support.lab import OUTSIDE_ADDRESS, Lab

HERE = Path(__file__).resolve().parent
SERVER = "192.0.2.1"
RULES_EACH = 100
TURNS = int(os.environ.get("TURNS", "5"))
_OUTSIDE = HERE / "egress_outside.py"
_CLIENT = HERE / "egress_client.py"
_FREE, _CONFINED = "free", "confined"
_PATH = f"{os.environ['PATH']}:{SBIN}"


def rules(number: int = RULES_EACH) -> list[str]:
    """Return rules like those of a build: names, wildcards, prefixes."""
    made = ["ok.test", "*.wild.test", "ok.test:9000", f"{SERVER}:5001-5002", f"{SERVER}:9999/udp"]
    made += [f"n{at}.example.org" for at in range((number - len(made)) // 2)]
    return made + [f"10.{100 + at // 200}.{at % 200}.0/24:443" for at in range(number - len(made))]


def ready(lab: Lab) -> None:
    lab.shell(f"ip addr add {SERVER}/32 dev lo", where="outside")
    outside = lab.start(sys.executable, str(_OUTSIDE), where="outside")
    assert outside.stdout is not None
    assert outside.stdout.readline() == "listening\n"
    lab.start_daemon()
    lab.berth("network", "create", "-o", "name=br-a", "a")
    add(lab, _FREE, None)
    add(lab, _CONFINED, rules())


def add(lab: Lab, name: str, egress: list[str] | None, network: str = "a") -> None:
    status, body = lab.api(
        "POST", "/v1/sandboxes", {"name": name, "networks": [{"network": network}], **({} if egress is None else {"egress": egress})}
    )
    assert status < 300, body


def client(lab: Lab, who: str, *arguments: str, where: str = "") -> list[float]:
    """Run the client in a sandbox; return what it measured."""
    done = lab.run(sys.executable, str(_CLIENT), *arguments, where=where or f"berth-{who}", timeout=600)
    return json.loads(done.stdout)


def pair(lab: Lab, *arguments: str, turns: int = TURNS) -> dict[str, list[float]]:
    """Measure without and with rules in turns."""
    found: dict[str, list[float]] = {_FREE: [], _CONFINED: []}
    for _ in range(turns):
        for who, samples in found.items():
            samples += client(lab, who, *arguments)
    return found


def told(*figures: object) -> None:
    """Print what is known already: a part takes minutes, and may be ended."""
    print(*figures, file=sys.stderr, flush=True)


def row(what: str, found: dict[str, list[float]], unit: str, scale: float = 1.0, others: dict[str, list[float]] | None = None) -> list[str]:
    free, confined = (statistics.median(found[who]) * scale for who in (_FREE, _CONFINED))
    beside = ", ".join(f"{name} {statistics.median(samples) * scale:.3g}" for name, samples in (others or {}).items())
    return [what, f"{free:.4g} {unit}", f"{confined:.4g} {unit}", f"{confined / free:.3f}", beside or "-"]


# --- names ----------------------------------------------------------------------------------------------------------


def dnsmasq(lab: Lab, gateway: str) -> bool:
    """Start what people use otherwise, at another port of the gateway: names that are put into a set of nftables."""
    if shutil.which("dnsmasq", path=_PATH) is None:
        return False
    lab.shell("nft 'add table inet d; add set inet d a4 { type ipv4_addr; flags timeout; timeout 5m; }'")
    lab.start(
        "dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--cache-size=10000", "--port=5353",
        f"--server=/ok.test/wild.test/{OUTSIDE_ADDRESS}", "--address=/#/", "--nftset=/ok.test/wild.test/4#inet#d#a4",
        f"--listen-address={gateway}", "--bind-interfaces", "--min-cache-ttl=60",
    )  # fmt: skip
    return True


def names(lab: Lab) -> tuple[list[list[str]], dict]:
    gateway = lab.shell("ip route show default | cut -d' ' -f3", where="berth-free").strip()
    has_dnsmasq = dnsmasq(lab, gateway)
    lab.berth("network", "create", "own")
    raw, rows = {}, []
    new = iter(range(1_000_000))
    for what, kind, count in (
        ("a local name", "free", 2000),
        ("an allowed name, repeated", "ok.test", 2000),
        ("a new name", "new", 500 // TURNS),
    ):
        found: dict[str, list[float]] = {_FREE: [], _CONFINED: []}
        beside: dict[str, list[float]] = {}
        for _ in range(TURNS):
            for who in found:
                # The view of one with rules has no name of a network: it asks for what it has, its own.
                name = {"free": f"{who}.", "new": f"t{next(new)}-%d.wild.test."}.get(kind, f"{kind}.")
                name = "localhost." if kind == "free" else name
                found[who] += client(lab, who, "ask", "127.0.0.11", "53", name, str(count))
            if has_dnsmasq and kind != "free":
                name = f"d{next(new)}-%d.wild.test." if kind == "new" else f"{kind}."
                beside.setdefault("dnsmasq", []).extend(client(lab, _FREE, "ask", gateway, "5353", name, str(count)))
        raw[what] = {**found, **beside}
        rows.append(row(what, found, "us", 1e6, beside))
    return rows, raw


# --- connections ----------------------------------------------------------------------------------------------------


def tinyproxy(lab: Lab, gateway: str) -> bool:
    if shutil.which("tinyproxy", path=_PATH) is None:
        return False
    lab.write("/run/filter", r"^ok\.test$" + "\n")
    lab.write(
        "/run/tinyproxy.conf",
        f'Port 8888\nListen {gateway}\nTimeout 600\nMaxClients 200\nFilter "/run/filter"\nFilterDefaultDeny Yes\nFilterExtended On\n'
        "ConnectPort 443\nConnectPort 9000\nLogLevel Critical\n",
    )
    lab.shell(f"echo '{SERVER} ok.test' >> /etc/hosts")
    lab.start("tinyproxy", "-d", "-c", "/run/tinyproxy.conf")
    lab.wait_for(lambda: ":8888" in lab.shell("ss -Hlnt"))
    return True


def connections(lab: Lab) -> tuple[list[list[str]], dict]:
    gateway = lab.shell("ip route show default | cut -d' ' -f3", where="berth-free").strip()
    has_proxy = tinyproxy(lab, gateway)
    client(lab, _CONFINED, "ask", "127.0.0.11", "53", "ok.test.", "1")
    lab.write("/run/hello", hello(b"ok.test").hex())
    raw, rows = {}, []
    for what, port, mode in (
        ("a connection of TLS, first answer", "443", "hello"),
        ("a request of HTTP on a new connection", "80", "http"),
        ("bulk to the sandbox, TLS", "443", "down"),
        ("bulk from the sandbox, TLS", "443", "up"),
        ("bulk to the sandbox, HTTP", "80", "http-down"),
    ):
        found: dict[str, list[float]] = {_FREE: [], _CONFINED: []}
        beside: dict[str, list[float]] = {}
        for _ in range(TURNS):
            for who in found:
                found[who] += client(lab, who, mode, SERVER, port, "200", "-", "/run/hello")
            if has_proxy and not mode.startswith("http"):
                beside.setdefault("tinyproxy", []).extend(client(lab, _FREE, mode, gateway, "8888", "200", f"ok.test:{port}", "/run/hello"))
        raw[what] = {**found, **beside}
        is_bulk = mode.removeprefix("http-") in ("up", "down")
        rows.append(row(what, found, "Gbit/s" if is_bulk else "ms", 1.0 if is_bulk else 1e3, beside))
    return rows, raw


# --- packets --------------------------------------------------------------------------------------------------------


def packets(lab: Lab) -> tuple[list[list[str]], dict]:
    """UDP in an allowed flow: the sender's time for each packet, which is forwarded to the server's socket within it."""
    subprocess.run(["cc", "-O2", "-o", "/tmp/berth-egress-flood", str(HERE / "egress_flood.c")], check=True)
    rows, raw = [], {}

    def flood(who: str) -> float:
        return float(lab.run("/tmp/berth-egress-flood", SERVER, "9999", "400000", where=f"berth-{who}", timeout=300).stdout)

    def measured(what: str) -> None:
        found: dict[str, list[float]] = {_FREE: [], _CONFINED: []}
        for _ in range(TURNS):
            for who, samples in found.items():
                samples.append(flood(who))
        raw[what] = found
        rows.append(row(what, found, "ns"))

    for who in (_FREE, _CONFINED):
        flood(who)
    measured("a packet, 1 sandbox with 100 rules")
    for number in range(int(os.environ.get("SANDBOXES", "1000"))):
        add(lab, f"s{number}", rules())
    measured(f"a packet, {os.environ.get('SANDBOXES', '1000')} more sandboxes with 100 rules")
    return rows, raw


# --- many sandboxes -------------------------------------------------------------------------------------------------


def daemon_figures(lab: Lab) -> tuple[float, float]:
    """Return (resident MiB, CPU seconds) of the daemon."""
    assert lab.daemon is not None
    status = Path(f"/proc/{lab.daemon.pid}/status").read_text()
    times = Path(f"/proc/{lab.daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024, (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def slab(lab: Lab) -> float:
    """Return the kernel's slab memory in MiB."""
    return int(Path("/proc/meminfo").read_text().split("Slab:")[1].split()[0]) / 1024


def _wait_for_more(lab: Lab, logged: int) -> None:
    """Return when more changes of egress are logged than *logged*."""
    lab.wait_for(lambda: lab.shell("cat /run/daemon.log").count("changed=egress") > logged, timeout=120)


def many(lab: Lab) -> tuple[list[list[str]], dict]:
    count = int(os.environ.get("SANDBOXES", "1000"))
    raw: dict = {"sandboxes": count}
    rows: list[list[str]] = []
    # A bridge takes no more.
    lab.berth("network", "create", "b")
    for kind, egress in (("without rules", None), ("with 100 rules", rules())):
        before, kernel = daemon_figures(lab), slab(lab)
        begun = time.monotonic()
        for number in range(count):
            add(lab, f"{'f' if egress is None else 'c'}{number}", egress, "a" if egress is None else "b")
        seconds = time.monotonic() - begun
        after = daemon_figures(lab)
        time.sleep(10)
        idle = daemon_figures(lab)
        raw[kind] = {
            "each MiB": (after[0] - before[0]) / count, "each kernel MiB": (slab(lab) - kernel) / count, "seconds": seconds,
            "cpu each": (after[1] - before[1]) / count, "idle cpu share": (idle[1] - after[1]) / 10,
        }  # fmt: skip
        each = raw[kind]
        rows.append([
            f"{count} sandboxes {kind}", f"{each['each MiB'] * 1024:.0f} KiB daemon each", f"{each['each kernel MiB'] * 1024:.0f} KiB kernel each",
            f"{1000 * each['cpu each']:.1f} ms CPU each to make", f"{100 * each['idle cpu share']:.1f} % of a core idle",
        ])  # fmt: skip
        told(rows[-1], each)
    single = []
    for number in range(20):
        begun = time.monotonic()
        status, _ = lab.api("PATCH", f"/v1/sandboxes/c{number}", {"egress": {"add": [f"new{number}.example"]}})
        single.append(time.monotonic() - begun)
        assert status == 200
    raw["one change"] = single
    told("one change", statistics.median(single))
    whole = []
    for at in range(3):
        lab.write(
            "/run/c.toml", f'[egress]\nceiling = ["public", "all", "*.test", "10.0.0.0/8", "192.0.2.0/24", "host", "203.0.113.{at}"]\n'
        )
        logged = lab.shell("cat /run/daemon.log").count("changed=egress")
        begun, cpu = time.monotonic(), daemon_figures(lab)[1]
        assert lab.daemon is not None
        lab.daemon.send_signal(signal.SIGHUP)
        _wait_for_more(lab, logged)
        whole.append(time.monotonic() - begun)
        told("all changed", whole[-1], "CPU of the daemon", daemon_figures(lab)[1] - cpu)
    raw["all changed"] = whole
    rows.append(["a change of the rules of one (with curl)", f"{1000 * statistics.median(single):.1f} ms", "-", "-", "-"])
    rows.append([f"a change of the ceiling of {count}", f"{min(whole):.2f} to {max(whole):.2f} s", "-", "-", "-"])
    return rows, raw


PARTS = {"names": names, "connections": connections, "packets": packets, "many": many}


def main() -> None:
    result: dict = {"machine": machine()}
    for part in chosen(PARTS, sys.argv[1:]):
        with Lab() as lab:
            lab.environment["PATH"] += f":{SBIN}"
            ready(lab)
            if part == "many":
                lab.stop_daemon()
                lab.write("/run/c.toml", "")
                lab.start_daemon("--config", "/run/c.toml")
            rows, raw = PARTS[part](lab)
        result[part] = raw
        columns = ["What", "Without rules", "With rules", "Ratio", "Beside"] if part != "many" else ["What", "", "", "", ""]
        print(f"\n## {part}\n\n{table(columns, rows)}", flush=True)
    print(write("egress", result))


if __name__ == "__main__":
    main()
