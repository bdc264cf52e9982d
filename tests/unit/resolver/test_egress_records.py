"""What sandboxes have used: recorded, bounded, and read by the next daemon."""

import asyncio
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from netcore import limits
from netcore.egress import read
from netcore.egress.layer import Layer
from netcore.egress.openings import Openings
from netcore.egress.policy import Policy
from netcore.egress.surroundings import Surroundings
from netcore.errors import InvalidRequest, NotFound
from netcore.kernel.refused_packets import RefusedPacket
from resolver.cli.client import Refused
from resolver.cli.egress_files import save_list, with_files
from resolver.daemon.egress_records import EgressRecords

STATE = SimpleNamespace(sandboxes={"s": SimpleNamespace(name="job")})


def openings(*rules):
    made = Openings(Policy("job", [Layer(read.rules(rules), "")], Surroundings()), 300)
    made.note_names("ok.test", [ip_address("192.0.2.1")])
    return made


def packet(port, address="192.0.2.1"):
    return RefusedPacket(ip_address("10.0.0.2"), ip_address(address), "tcp", port, is_learned=True)


async def test_the_next_daemon_reads_what_this_one_has_recorded(tmp_path):
    records = EgressRecords(tmp_path / "learned", STATE)
    assert records.rules("job") == []
    for port in (443, 80, 443):
        records.put("s", openings("learn"), packet(port))
    records.put("s", openings("learn"), packet(22, "192.0.2.2"))
    records.put("s", openings("all"), packet(25))
    records.put("gone", openings("learn"), packet(26))
    assert not (tmp_path / "learned").exists(), "many connections are one change of the file"
    records.close()
    again = EgressRecords(tmp_path / "learned", SimpleNamespace(sandboxes={}))
    assert again.rules("job") == ["192.0.2.2:22", "ok.test:443", "ok.test:80"]
    with pytest.raises(NotFound):
        again.rules("other")


async def test_what_is_recorded_can_be_forgotten(tmp_path):
    records = EgressRecords(tmp_path / "learned", STATE)
    records.put("s", openings("learn"), packet(443))
    assert records.forget("job") == ["ok.test:443"]
    assert records.rules("job") == []
    records.put("s", openings("learn"), packet(80))
    records.close()
    again = EgressRecords(tmp_path / "learned", SimpleNamespace(sandboxes={}))
    assert again.forget("job") == ["ok.test:80"]
    with pytest.raises(NotFound):
        again.forget("job")
    assert not [*(tmp_path / "learned").iterdir()]


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", ".hidden", ""])
def test_nothing_but_records_is_read(tmp_path, name):
    (tmp_path / "secret").write_text("words\n")
    (tmp_path / "learned").mkdir()
    (tmp_path / "learned" / ".hidden").write_text("words\n")
    records = EgressRecords(tmp_path / "learned", STATE)
    for read_or_forget in (records.rules, records.forget):
        with pytest.raises(InvalidRequest, match="sandbox name"):
            read_or_forget(name)
    assert (tmp_path / "secret").exists()


async def test_what_is_recorded_is_written_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("resolver.daemon.egress_records.EGRESS_RECORD_PAUSE", 0.0)
    records = EgressRecords(tmp_path / "learned", STATE)
    records.put("s", openings("learn"), packet(443))
    async with asyncio.timeout(30):
        while not (tmp_path / "learned" / "job").exists():
            await asyncio.sleep(0)
    records.close()


async def test_records_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EGRESS_RULES", 3)
    monkeypatch.setattr(limits, "EGRESS_RECORDS", 2)
    sandboxes = {name: SimpleNamespace(name=name) for name in "abc"}
    records = EgressRecords(tmp_path / "learned", SimpleNamespace(sandboxes=sandboxes))
    for name in sandboxes:
        for port in range(1, 6):
            records.put(name, openings("learn"), packet(100 + port))
        records.close()
    assert len(records.rules("c")) == 3
    assert len([*(tmp_path / "learned").iterdir()]) == 2


async def test_a_state_that_cant_be_written_loses_the_record_alone(tmp_path):
    (tmp_path / "learned").write_text("")
    records = EgressRecords(tmp_path / "learned", STATE)
    records.put("s", openings("learn"), packet(443))
    records.close()
    assert records.rules("job") == ["ok.test:443"]


def test_a_list_is_saved_for_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = save_list("ci", ["a.test:443", "network:b:80"], "what job has needed")
    assert path == str(tmp_path / "berth/egress/ci")
    assert with_files(["@ci"]) == ["a.test:443", "network:b:80"]
    save_list("ci", ["c.test"], "again")
    assert with_files(["@ci"]) == ["c.test"]
    for wrong in ("../x", "", ".x", "a/b", "ü"):
        with pytest.raises(Refused, match="its name has letters"):
            save_list(wrong, [], "")
