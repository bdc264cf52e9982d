import pytest

from netcore.errors import InvalidRequest
from netcore.parse import names


def test_good_names_come_back_as_they_are():
    assert names.check_object_name("network", "my_net.1-a") == "my_net.1-a"
    assert names.check_dns_name("service", "web.example.") == "web.example."
    assert names.check_hostname("host") == "host"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must begin with a letter or digit"),
        ("-x", "must begin with a letter or digit"),
        ("a b", "contain only letters, digits"),
        ("a..b", "each part between dots must have a character"),
        ("a" * 201, "1 to 200 characters"),
    ],
)
def test_bad_object_names(name, reason):
    with pytest.raises(InvalidRequest, match=f"invalid network name: .*{reason}"):
        names.check_object_name("network", name)


def test_an_object_may_have_a_name_that_dns_can_not_have():
    assert names.check_object_name("sandbox", "a" * 64) == "a" * 64
    assert not names.fits_in_dns("a" * 64)
    assert not names.fits_in_dns(f"b.{'a' * 64}")
    assert names.fits_in_dns(f"{'b' * 63}.{'a' * 63}")


@pytest.mark.parametrize(("name", "reason"), [("", "1 to 253 characters"), ("bücher", "xn-- form"), ("a b", "printable ASCII")])
def test_bad_dns_names(name, reason):
    with pytest.raises(InvalidRequest, match=f"invalid network-alias: .*{reason}"):
        names.check_dns_name("network-alias", name)


def test_a_hostname_is_bounded_by_the_kernel():
    with pytest.raises(InvalidRequest, match=r"too long \(maximum 64 bytes\)"):
        names.check_hostname("x" * 65)


def test_mac_addresses():
    assert names.check_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    for text, reason in (("02:42", "not of the form"), ("01:42:ac:11:00:02", "multicast"), ("00:00:00:00:00:00", "all zeros")):
        with pytest.raises(InvalidRequest, match=reason):
            names.check_mac(text)
