"""`berth host-dns`: which name server is found, what it is told, and that nothing is left of it afterwards."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from resolver.cli.changed import Changed
from resolver.cli.commands import host_dns
from resolver.cli.host_dns.apply import Files, runnable
from resolver.cli.host_dns.detect import detect
from resolver.cli.host_dns.setups import SETUPS, Server, Unusable
from resolver.edited_block import BEGIN, END, edit, has_block, with_block, without_block
from tests.support.fake_daemon import FakeDaemon

SERVER = Server("127.0.0.153", 53, "berth.internal")


# --- lines in a file of somebody else -----------------------------------------------------------------------------

TEXTS = st.one_of(st.none(), st.binary(max_size=40), st.lists(st.sampled_from([b"a", b"", b"# x", END]), max_size=4).map(b"\n".join))
LINES = st.lists(st.sampled_from(["127.0.0.1 x", "", "y"]), max_size=3)


@given(TEXTS, LINES, LINES, st.booleans())
def test_a_file_is_as_it_was_to_the_last_octet(text, first, then, at_start):
    once = with_block(text, first, at_start=at_start)
    again = with_block(once, then, at_start=at_start)
    assert has_block(once)
    assert again.count(BEGIN) == 1
    assert without_block(once) == without_block(again) == text
    if text is not None:
        assert without_block(text) == text


def test_lines_that_others_add_stay():
    text = with_block(b"mine", ["ours"]) + b"later\n"
    assert text.decode().splitlines()[0::4] == ["mine", "later"]
    assert without_block(text) == b"minelater\n" or without_block(text) == b"mine\nlater\n"
    assert without_block(with_block(None, ["ours"]) + b"later\n") == b"later\n"


def test_half_a_block_is_left_alone():
    text = b"x\n" + BEGIN + b"\nours\n"
    assert without_block(text) == text


def test_a_file_stays_the_same_file(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost")
    path.chmod(0o640)
    before = path.stat()
    assert edit(str(path), lambda text: with_block(text, ["x" * 100]))
    assert not edit(str(path), lambda text: text)
    assert edit(str(path), without_block)
    after = path.stat()
    assert (path.read_bytes(), after.st_ino, after.st_mode) == (b"127.0.0.1 localhost", before.st_ino, before.st_mode)


# --- which name server there is -----------------------------------------------------------------------------------


class Host:
    """The files of a host below a directory."""

    def __init__(self, root):
        self.root = root
        self.files = Files(str(root))

    def has(self, **texts):
        for name, text in texts.items():
            path = self.root / PATHS[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def link(self, name, target):
        path = self.root / PATHS[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return self

    def found(self):
        return detect(self.files.read, self.files.link_of, self.files.list_directory)

    def everything(self):
        """Every path with its content, mode and, of a file, its inode."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path)] = content, stat.S_IMODE(status.st_mode), status.st_ino
        return found


PATHS = {
    "resolv_conf": "etc/resolv.conf", "unbound": "etc/unbound/unbound.conf", "dnsmasq": "etc/dnsmasq.conf", "dnsmasq_default": "etc/default/dnsmasq",
    "nm": "etc/NetworkManager/NetworkManager.conf", "nm_more": "etc/NetworkManager/conf.d/dns.conf", "openresolv": "etc/resolvconf.conf",
    "head": "etc/resolvconf/resolv.conf.d/head", "hosts": "etc/hosts", "resolved": "etc/systemd/resolved.conf",
}  # fmt: skip


@pytest.fixture
def host(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return Host(root)


LOCAL = "search lan\nnameserver 127.0.0.1\n"


def test_the_name_server_is_found_by_resolv_conf(host):
    assert host.has(resolv_conf=LOCAL, dnsmasq="").found() == "dnsmasq"
    assert host.has(nm="[main]\ndns=default\n", nm_more="[main]\ndns = dnsmasq\n").found() == "networkmanager"
    assert host.has(nm_more="[main]\ndns=none\n").found() == "dnsmasq"
    assert host.has(resolv_conf="nameserver ::1\n").found() == "dnsmasq"
    with pytest.raises(Unusable, match="has Unbound and dnsmasq; say with --by"):
        host.has(unbound="").found()
    (host.root / PATHS["dnsmasq"]).unlink()
    assert host.found() == "unbound"
    assert host.has(resolv_conf="nameserver 127.0.0.53\n").found() == "resolved"
    with pytest.raises(Unusable, match=r"asks 192.0.2.1 directly, and has no name server of its own .* --hosts"):
        host.has(resolv_conf="nameserver 192.0.2.1\nnameserver x\n").found()
    assert host.has(openresolv="").found() == "openresolv"


@pytest.mark.parametrize(
    ("target", "found"),
    [("../run/systemd/resolve/stub-resolv.conf", "resolved"), ("/run/systemd/resolve/resolv.conf", "resolved"), ("/etc/resolvconf/run/resolv.conf", "resolvconf")],
)  # fmt: skip
def test_the_name_server_is_found_by_where_resolv_conf_leads(host, target, found):
    host.has(head="# Dynamic\n").link("resolv_conf", target)
    assert host.found() == found


def test_a_host_without_any_is_told_what_else_would_do(host):
    with pytest.raises(Unusable, match=r"has no name server in /etc/resolv.conf.*--hosts"):
        host.found()
    with pytest.raises(Unusable, match=r"none that berth knows.*--by"):
        host.has(resolv_conf=LOCAL).found()


# --- what is written ----------------------------------------------------------------------------------------------


def shown(host, kind, server=SERVER):
    return {
        change.path: getattr(change, "text", None) or "\n".join(change.lines) for change in SETUPS[kind](server, host.files.read).changes
    }


def test_each_kind_is_told_in_its_own_words(host):
    odd = Server("127.0.0.153", 5353, "lab.example")
    assert shown(host, "resolved", odd) == {
        "/etc/systemd/resolved.conf.d/berth.conf": "[Resolve]\nDNS=127.0.0.153:5353\nDomains=~lab.example\n",
        "/etc/dnssec-trust-anchors.d/berth.negative": "lab.example\n",
    }
    assert list(shown(host, "resolved")) == ["/etc/systemd/resolved.conf.d/berth.conf"]
    assert shown(host, "networkmanager")["/etc/NetworkManager/dnsmasq.d/berth.conf"].splitlines()[0] == "server=/berth.internal/127.0.0.153"
    assert "server=/lab.example/127.0.0.153#5353" in shown(host, "dnsmasq", odd)["/etc/dnsmasq.conf"]
    host.has(dnsmasq_default="CONFIG_DIR=/etc/dnsmasq.d,.dpkg-dist\n")
    assert list(shown(host, "dnsmasq")) == ["/etc/dnsmasq.d/berth.conf"]
    assert "stub-addr: 127.0.0.153@5353" in shown(host, "unbound", odd)["/etc/unbound/unbound.conf"]
    host.has(unbound='include-toplevel: "/etc/unbound/unbound.conf.d/*.conf"\n')
    assert list(shown(host, "unbound")) == ["/etc/unbound/unbound.conf.d/berth.conf"]
    assert shown(host, "openresolv") == {"/etc/resolvconf.conf": 'name_servers="127.0.0.153 $name_servers"\nresolv_conf_local_only=NO'}
    assert shown(host, "resolvconf") == {"/etc/resolvconf/resolv.conf.d/head": "nameserver 127.0.0.153"}
    for kind in ("resolvconf", "openresolv"):
        with pytest.raises(Unusable, match="no port"):
            shown(host, kind, odd)
    with pytest.raises(Unusable, match=r"asks 192.0.2.1 for every name"):
        shown(host.has(resolved="[Resolve]\n#DNS=1.1.1.1\nDNS=192.0.2.1\n"), "resolved")


def test_what_can_be_run_is_run(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name != "absent")
    monkeypatch.setattr("resolver.cli.host_dns.apply._RUNNING_SYSTEMD", "/nonexistent")
    assert runnable([("absent", "x"), ("systemctl", "x"), ("resolvconf", "-u")]) == [("resolvconf", "-u")]
    assert runnable([("systemctl", "x")]) == []


@pytest.fixture
def berth(host, tmp_path, monkeypatch):
    (tmp_path / "berth.toml").write_text('host_listen = "127.0.0.153:53"\n')
    monkeypatch.setenv("BERTH_CONFIG", str(tmp_path / "berth.toml"))
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))

    def run(command, *words):
        done = CliRunner().invoke(getattr(host_dns, command), [*words, "--root", str(host.root)], standalone_mode=False)
        if done.exception is not None:
            return 1, done.stdout, str(done.exception)
        return done.return_value or 0, done.stdout, done.stderr

    return run


def test_files_of_the_host_are_roots(host, berth, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for command in ("enable", "disable"):
        done = CliRunner().invoke(getattr(host_dns, command), [], standalone_mode=False)
        assert str(done.exception).startswith("the files of this host are root's: use sudo")
    HOSTS["dnsmasq"](host)
    assert berth("enable", "--dry-run")[0] == 0


HOSTS = {
    "resolved": lambda host: host.link("resolv_conf", "/run/systemd/resolve/stub-resolv.conf"),
    "networkmanager": lambda host: host.has(resolv_conf=LOCAL, nm="[main]\ndns=dnsmasq"),
    "dnsmasq": lambda host: host.has(resolv_conf=LOCAL, dnsmasq="no-resolv"),
    "dnsmasq with a directory": lambda host: host.has(resolv_conf=LOCAL, dnsmasq="conf-dir=/etc/dnsmasq.d/,*.conf\n"),
    "unbound": lambda host: host.has(resolv_conf=LOCAL, unbound='include: "/etc/unbound/conf.d/*.conf"\n'),
    "unbound in one file": lambda host: host.has(resolv_conf=LOCAL, unbound="server:\n    interface: 127.0.0.1\n"),
    "openresolv": lambda host: host.has(resolv_conf="nameserver 192.0.2.1", openresolv="resolv_conf=/etc/resolv.conf"),
    "resolvconf": lambda host: host.has(head="# Dynamic resolv.conf\n").link("resolv_conf", "../run/resolvconf/resolv.conf"),
    "hosts": lambda host: host.has(hosts="127.0.0.1 localhost"),
    "hosts without a file": lambda host: host,
}


@pytest.mark.parametrize("kind", HOSTS)
def test_a_host_is_as_it_was_after_disable(host, berth, kind):
    (host.root / "etc").mkdir()
    HOSTS[kind](host)
    more = ("--hosts",) if kind.startswith("hosts") else ()
    before = host.everything()
    code, planned, _ = berth("enable", "--dry-run", *more)
    assert (code, host.everything()) == (0, before)
    code, made, said = berth("enable", *more)
    assert (code, made) == (0, planned)
    after = host.everything()
    assert after != before
    # What was printed is what is there.
    for line in made.splitlines():
        if line.startswith("  ") and "(" not in line:
            assert any(line[2:].encode() in content for content, _, _ in after.values() if isinstance(content, bytes)), line
    if not more:
        assert "has to read its configuration again" in said
    again = berth("enable", *more)
    assert (again[0], again[1], host.everything()) == (0, "", after)
    assert "is set up already" in again[2]
    assert berth("disable", "--dry-run")[1].startswith("take back /etc/")
    assert host.everything() == after
    assert berth("disable")[0] == 0
    assert host.everything() == before
    assert "nothing is set up" in berth("disable")[2]


def test_another_port_replaces_what_is_there(host, berth, tmp_path):
    HOSTS["dnsmasq"](host)
    before = host.everything()
    berth("enable")
    (tmp_path / "berth.toml").write_text('host_listen = "127.0.0.153:5353"\n')
    assert "#5353" in berth("enable")[1]
    assert (host.root / PATHS["dnsmasq"]).read_text().count("server=") == 1
    berth("disable")
    assert host.everything() == before


def test_directories_that_others_use_meanwhile_stay(host, berth):
    HOSTS["networkmanager"](host)
    berth("enable")
    other = host.root / "etc/NetworkManager/dnsmasq.d/other.conf"
    other.write_text("")
    berth("disable")
    assert other.exists()


def test_without_an_address_there_is_nothing_to_lead_to(host, berth, tmp_path):
    (tmp_path / "berth.toml").write_text("")
    HOSTS["dnsmasq"](host)
    code, _, said = berth("enable")
    assert (code, 'host_listen = "127.0.0.153:53"' in said, "--hosts" in said) == (1, True, True)
    assert berth("enable", "--hosts")[0] == 0
    code, told, _ = berth("status")
    assert (code, told.splitlines()[0]) == (0, "/etc/hosts: set up by /etc/hosts")
    assert "exclude each other" in berth("enable", "--hosts", "--by", "dnsmasq")[2]


def test_status_of_a_host_where_nothing_is_set_up(host, berth):
    code, told, _ = berth("status")
    assert code == 1
    assert told.splitlines()[0] == "nothing is set up; `berth host-dns enable` does it"


def test_refusal_of_the_system_is_one_line(host, berth):
    HOSTS["networkmanager"](host)
    (host.root / "etc/NetworkManager/dnsmasq.d").write_text("a file where a directory belongs")
    code, _, said = berth("enable")
    assert (code, said.startswith("/etc/NetworkManager/dnsmasq.d/berth.conf: ")) == (1, True)


def test_daemon_fills_the_hosts_file_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    files = Files("/")
    setup = SETUPS["hosts"](SERVER, lambda _: None)
    with FakeDaemon(Path(tmp_path)) as daemon:
        daemon.responses["POST /v1/host-names/write"] = {"done": "x", "warnings": []}
        host_dns._fill_hosts(files, setup, dry_run=False)
        assert daemon.requests == [("POST", "/v1/host-names/write", None)]


def test_a_command_that_fails_is_followed_by_the_next(monkeypatch):
    ran = []
    monkeypatch.setattr("resolver.cli.host_dns.apply.runnable", list)
    monkeypatch.setattr("resolver.cli.host_dns.apply.run", lambda words: ran.append(words[0]) or ("no control" if len(ran) < 3 else None))
    assert host_dns._have_it_read([("a",), ("b",), ("c",), ("d",)], "X", Changed("table"), is_elsewhere=False, dry_run=False) == 0
    assert ran == ["a", "b", "c"]
    monkeypatch.setattr("resolver.cli.host_dns.apply.run", lambda words: "no")
    assert host_dns._have_it_read([("a",)], "X", Changed("table"), is_elsewhere=False, dry_run=False) == 1
    assert host_dns._have_it_read([("a",)], "X", Changed("table"), is_elsewhere=True, dry_run=False) == 0
