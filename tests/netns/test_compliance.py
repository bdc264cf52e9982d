"""What RFC 8906 asks of a server, and a little more, asked with dig inside a sandbox (section numbers are of that RFC)."""

import re

import pytest

from tests.support.lab import Lab

ZONE, NAME = "berth.internal", "web"


@pytest.fixture(scope="module")
def lab(lab):
    lab.berth("network", "create", "net")
    lab.berth("run", "-d", "--name", NAME, "--network", "net", "--", "sleep", "infinity")
    return lab


def dig(lab: Lab, *arguments: str) -> str:
    return lab.in_sandbox(NAME, "dig", "+tries=1", "+time=15", *arguments, check=False)


def status(said: str) -> str:
    found = re.search(r"status: (\w+)", said)
    assert found, said
    return found[1]


def flags(said: str) -> set[str]:
    return set(re.search(r";; flags: ([\w ]*);", said)[1].split())


def answers(said: str) -> int:
    return int(re.search(r"ANSWER: (\d+)", said)[1])


@pytest.mark.parametrize("target", [ZONE, NAME])
@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_unknown_type(lab, target, way):
    """8.1.1"""
    said = dig(lab, "+noedns", "+noad", way, "type1000", target)
    assert status(said) == "NOERROR"
    assert answers(said) == 0
    assert "aa" in flags(said)
    assert "SOA" in said


def test_header_only(lab):
    """8.1.2"""
    assert status(dig(lab, "+noedns", "+noad", "+header-only", NAME)) == "FORMERR"


@pytest.mark.parametrize("opcode", ["1", "2", "4", "5", "6", "15"])
@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_unknown_opcode(lab, opcode, way):
    """8.1.3"""
    said = dig(lab, "+noedns", "+noad", f"+opcode={opcode}", "+norec", "+header-only", way)
    assert status(said) == "NOTIMP"
    assert "opcode: QUERY" not in said
    assert "aa" not in flags(said)


def test_recursion_flag_is_echoed(lab):
    """8.1.4"""
    assert "rd" in flags(dig(lab, "+noedns", NAME))
    assert "rd" not in flags(dig(lab, "+noedns", "+norec", NAME))


@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_plain_edns(lab, way):
    """8.2.1, 8.2.9"""
    said = dig(lab, "+nocookie", "+edns=0", "+noad", way, "soa", ZONE)
    assert status(said) == "NOERROR"
    assert answers(said) == 1
    assert "EDNS: version: 0" in said
    assert "aa" in flags(said)


@pytest.mark.parametrize("more", [(), ("+ednsopt=100",), ("+ednsflags=0x0040",)])
def test_unknown_edns_version(lab, more):
    """8.2.2, 8.2.5, 8.2.6"""
    said = dig(lab, "+nocookie", "+edns=1", "+noednsneg", "+noad", *more, "soa", ZONE)
    assert status(said) == "BADVERS"
    assert "EDNS: version: 0" in said
    assert answers(said) == 0
    assert "OPT=100" not in said
    assert "MBZ" not in said


@pytest.mark.parametrize("target", [ZONE, NAME, "www.example.test"])
def test_unknown_edns_options_are_passed_over(lab, target):
    """8.2.3"""
    said = dig(lab, "+nocookie", "+edns=0", "+noad", "+ednsopt=100:0102", target)
    assert status(said) == "NOERROR"
    assert "EDNS: version: 0" in said
    assert "OPT=100" not in said


@pytest.mark.parametrize("option", ["+cookie", "+nsid", "+subnet=192.0.2.0/24", "+padding=128", "+keepalive"])
@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_known_edns_options_do_no_harm(lab, option, way):
    said = dig(lab, option, way, NAME)
    assert (status(said), answers(said)) == ("NOERROR", 1)


@pytest.mark.parametrize("target", [ZONE, NAME])
def test_unknown_flags_are_not_echoed(lab, target):
    """8.2.4"""
    said = dig(lab, "+nocookie", "+edns=0", "+noad", "+ednsflags=0x0040", target)
    assert status(said) == "NOERROR"
    assert "MBZ" not in said
    said = dig(lab, "+noedns", "+zflag", target)
    assert status(said) == "NOERROR"
    assert "MBZ" not in said


@pytest.mark.parametrize("target", [ZONE, NAME, "www.example.test"])
def test_dnssec_flag_is_echoed(lab, target):
    """8.2.7"""
    said = dig(lab, "+nocookie", "+edns=0", "+noad", "+dnssec", target)
    assert status(said) == "NOERROR"
    assert re.search(r"EDNS: version: 0, flags:[^;]* do", said)


def test_size_of_the_client_is_honoured(lab):
    """8.2.8"""
    said = dig(lab, "+nocookie", "+edns=0", "+noad", "+bufsize=512", "+ignore", "TXT", "big.example.test")
    assert "tc" in flags(said)
    assert "EDNS: version: 0" in said


def test_cd_is_echoed_and_ad_is_not_made_up(lab):
    said = dig(lab, "+adflag", "+cdflag", NAME)
    assert "cd" in flags(said)
    assert "ad" not in flags(said)


@pytest.mark.parametrize("qclass", ["CH", "HS", "CLASS1000"])
def test_other_classes_are_refused(lab, qclass):
    assert status(dig(lab, "-c", qclass, "-t", "TXT", "version.bind")) == "REFUSED"


@pytest.mark.parametrize("transfer", ["AXFR", "IXFR=1"])
def test_transfers_are_refused(lab, transfer):
    assert "REFUSED" in dig(lab, "+tcp", ZONE, transfer) or "Transfer failed" in dig(lab, "+tcp", ZONE, transfer)


def test_any_gets_one_rrset(lab):
    said = dig(lab, "+notcp", "ANY", NAME)
    assert (status(said), answers(said)) == ("NOERROR", 1)
