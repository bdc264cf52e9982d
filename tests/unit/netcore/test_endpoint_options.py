import pytest

from netcore.drivers import link
from netcore.errors import InvalidRequest
from netcore.parse import endpoint_options

LABEL = "com.docker.network.endpoint.sysctls"


def settings(text):
    return endpoint_options.link_sysctls({LABEL: text})


def test_sysctls_of_a_link():
    assert settings("net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.ifname.gc_stale_time=60") == (
        ("net/ipv4/conf/{ifname}/log_martians", "1"),
        ("net/ipv6/neigh/{ifname}/gc_stale_time", "60"),
    )
    made = list(link.sysctl_objects("s", "eth0.7", settings("net.ipv4.conf.IFNAME.log_martians=1")))
    assert [(item.path, item.value) for item in made] == [("net/ipv4/conf/eth0.7/log_martians", "1")]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "net.ipv4.conf.eth0.log_martians=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.core.IFNAME.x.y=1",
        "kernel.x.IFNAME.y=1",
        "net.ipv4.conf.IFNAME.a/b=1",
    ],
)
def test_malformed_sysctls_are_named(text):
    with pytest.raises(InvalidRequest, match="unrecognised network interface sysctl"):
        settings(text)


def test_ipv6_that_is_switched_off_is_noticed():
    assert endpoint_options.turns_ipv6_off("eth0", settings("net.ipv6.conf.IFNAME.disable_ipv6=1"))
    assert not endpoint_options.turns_ipv6_off("eth0", settings("net.ipv6.conf.IFNAME.disable_ipv6=0"))
    assert not endpoint_options.turns_ipv6_off("eth0")


@pytest.mark.parametrize(
    ("given", "off"),
    [
        (("all=1",), True), (("default=1",), True), (("eth0=1",), True), (("eth1=1",), False), (("all=0",), False),
        (("all=1", "eth0=0"), False), (("all=0", "default=1"), True), (("lo=1",), False),
    ],
)  # fmt: skip
def test_sysctl_of_a_whole_sandbox_switches_ipv6_off_too(given, off):
    sandbox = endpoint_options.sandbox_sysctls([f"net.ipv6.conf.{text.replace('=', '.disable_ipv6=')}" for text in given])
    assert endpoint_options.turns_ipv6_off("eth0", sandbox=sandbox) is off


def test_loopback_is_no_new_link():
    assert endpoint_options.turns_ipv6_off("lo", sandbox=(("net/ipv6/conf/all/disable_ipv6", "1"),))
    assert not endpoint_options.turns_ipv6_off("lo", sandbox=(("net/ipv6/conf/default/disable_ipv6", "1"),))


def test_sysctl_that_names_the_link_counts_before_one_for_all():
    on = settings("net.ipv6.conf.IFNAME.disable_ipv6=0")
    assert not endpoint_options.turns_ipv6_off("eth0", on, (("net/ipv6/conf/all/disable_ipv6", "1"),))
    assert endpoint_options.turns_ipv6_off("eth0", on, (("net/ipv6/conf/eth0/disable_ipv6", "1"),))


def test_options_by_label_and_short_name():
    assert endpoint_options.canonical({"sysctls": "x"}) == endpoint_options.canonical({LABEL: "x"})
    with pytest.raises(InvalidRequest, match="did you mean sysctls"):
        endpoint_options.canonical({"sysctl": "x"})
    with pytest.raises(InvalidRequest, match="given twice"):
        endpoint_options.canonical({"sysctls": "x", LABEL: "x"})


def test_sysctls_of_a_sandbox():
    assert endpoint_options.sandbox_sysctls(["net.ipv4.ip_forward=1"]) == (("net/ipv4/ip_forward", "1"),)
    for text in ("kernel.panic=1", "net.ipv4.ip_forward", "net/ipv4/x=1", "net...x=1", "net.ipv4.../x=1"):
        with pytest.raises(InvalidRequest, match=r"net\.KEY=VALUE"):
            endpoint_options.sandbox_sysctls([text])


def test_options_that_are_not_ours_are_a_plugins():
    given = {"sysctls": "x", "zone": "1"}
    assert endpoint_options.canonical(given, for_plugin=True) == {LABEL: "x", "zone": "1"}
    assert endpoint_options.plugin_options(endpoint_options.canonical(given, for_plugin=True)) == {"zone": "1"}
    with pytest.raises(InvalidRequest, match="driver-opt zone: an endpoint has no such option"):
        endpoint_options.canonical(given)


def test_every_option_says_what_it_means():
    assert [option.name for option in endpoint_options.OPTIONS if option.described()] == ["sysctls", "ifname"]
