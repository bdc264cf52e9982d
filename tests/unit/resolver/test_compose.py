import dataclasses

import pytest

from resolver.cli.client import Refused
from resolver.cli.compose import parse, project_name
from resolver.cli.compose.interpolate import BadVariable, interpolate, parse_env
from resolver.cli.compose.project import ComposeError, Service, ServiceNetwork, field_of
from resolver.cli.compose.yaml12 import YamlError, load
from resolver.cli.duration import seconds_of
from resolver.cli.sandbox_options import OPTIONS
from resolver.cli.up.project_file import load_project


def project(text, **more):
    return parse(text, "c.yaml", directory="/srv/My Shop", environment={}, **more)


def problems(text):
    with pytest.raises(ComposeError) as caught:
        project(text)
    return str(caught.value)


def test_yaml_is_version_1_2():
    made = load("a: 22:22\nb: no\nc: on\nd: 0o17\ne: 017\nf: true\ng: ~\nh: 1.5\ni: 1_000\nj: '80'\n")
    assert dict(made) == {"a": "22:22", "b": "no", "c": "on", "d": 15, "e": 17, "f": True, "g": None, "h": 1.5, "i": "1_000", "j": "80"}


def test_anchors_and_merges_and_lines():
    made = load("x-a: &a\n  k: 1\n  l: 2\nb:\n  <<: *a\n  k: 3\n")
    assert dict(made["b"]) == {"k": 3, "l": 2}
    assert made["b"].lines == {"k": 6, "l": 3}


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: [", "? [1]\n: 2\n", "a:\n  <<: 5\n"])
def test_bad_yaml_names_the_line(text):
    with pytest.raises(YamlError, match="line"):
        load(text)


VARIABLES = {"A": "1", "E": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$A-${A}", "1-1"), ("${X:-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""), ("${A:+y}", "y"), ("${X:+y}", ""), ("$$A", "$A"),
     ("${X:-${A}}", "1"), ("${A:?no}", "1"), ("$X", "")],
)  # fmt: skip
def test_interpolation(text, wanted):
    assert interpolate(text, VARIABLES, lambda _: None) == wanted


@pytest.mark.parametrize("text", ["${X:?must}", "${X?must}", "${", "$1", "${A!}", "${}"])
def test_bad_interpolation(text):
    with pytest.raises(BadVariable):
        interpolate(text, VARIABLES, lambda _: None)


def test_env_file():
    text = "# c\nA=1\nexport B = two # c\nC='x # y'\nD=\"q\"\nbad\n"
    assert parse_env(text) == {"A": "1", "B": "two", "C": "x # y", "D": "q"}


def test_project_name_is_composes():
    assert project_name(None, {}, None, "/srv/My Shop") == "myshop"
    assert project_name(None, {"COMPOSE_PROJECT_NAME": "Env"}, "file", "/x") == "env"
    assert project_name("Given", {}, "file", "/x") == "given"
    assert project_name(None, {}, "file", "/x") == "file"


FULL = """
services:
  web:
    command: ["server", "-p", "80"]
    networks:
      back: {priority: 1}
      front:
        aliases: [www]
        ipv4_address: 10.5.0.9
        gw_priority: 7
        priority: 100
    ports:
      - 22:22
      - "127.0.0.1:8080:80/udp"
      - {target: 443, published: "8443", host_ip: "::1", protocol: tcp, mode: host}
      - {target: 81, name: admin, app_protocol: kubernetes.io/h2c}
      - {target: 82, published: 8082, app_protocol: http}
    extra_hosts: {gate: host-gateway, many: [10.0.0.1, 10.0.0.2]}
    dns: 1.1.1.1
    deploy: {replicas: 3}
    environment: {A: 1, B: null, C: true}
    depends_on: {db: {condition: service_started}}
    stop_grace_period: 1m5s
    healthcheck: {test: none}
  db:
    image: postgres
    command: ignored
  tool:
    command: x
    profiles: [debug]
networks:
  front:
    driver_opts: {com.docker.network.bridge.enable_icc: "false"}
    ipam: {config: [{subnet: 10.5.0.0/24, gateway: 10.5.0.1, aux_addresses: {a: 10.5.0.3}}, {subnet: "fd05::/64"}]}
  back: {internal: true, name: shared}
  old: {external: true}
"""


def test_everything_people_have():
    made = project(FULL)
    web = next(service for service in made.services if service.name == "web")
    assert [service.name for service in made.services] == ["db", "web"]
    assert [network.network for network in web.networks] == ["front", "back"]
    assert (web.networks[0].aliases, web.networks[0].ipv4_address, web.networks[0].gw_priority) == (("www",), "10.5.0.9", 7)
    assert web.ports == ("22:22", "127.0.0.1:8080:80/udp", "[::1]:8443:443/tcp", "admin,h2c=81/tcp", "http=8082:82/tcp")
    assert web.extra_hosts == ("gate:host-gateway", "many:10.0.0.1", "many:10.0.0.2")
    assert (web.replicas, web.stop_grace, web.dns) == (3, 65.0, ("1.1.1.1",))
    assert web.environment == {"A": "1", "B": None, "C": "true"}
    db = made.services[0]
    assert (db.has_image, db.command, db.networks[0].network) == (True, (), "default")
    networks = {network.key: network for network in made.networks}
    assert set(networks) == {"front", "back", "default"}
    assert (networks["front"].name, networks["back"].name) == ("myshop_front", "shared")
    assert networks["front"].body["ipv6"] is True
    assert networks["front"].body["subnets"] == ["10.5.0.0/24", "fd05::/64"]
    assert made.notes == ("ignored, not about networking: healthcheck",)


def test_profiles():
    assert len(project(FULL, profiles=("debug",)).services) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services:\n  a:\n    command: x\n    netwroks: [b]\n", "c.yaml:4: services.a.netwroks is not known; did you mean networks?"),
        (
            "services:\n  a:\n    command: x\n    networks:\n      b:\n        ipv4: 1\nnetworks: {b: }\n",
            "c.yaml:6: services.a.networks.b.ipv4 is not known",
        ),
        ("services:\n  a:\n    command: x\n    networks: [b]\n", "c.yaml:2: services.a uses network b, which is not in networks"),
        ("services:\n  a: {command: x}\nnetworks:\n  b:\n    subnet: 1\n", "c.yaml:5: networks.b.subnet is not known"),
        ("services:\n  a: {command: x, depends_on: [b]}\n", "depends on b, which is not a service"),
        ("services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [a]}\n", "depends on itself"),
        ("services:\n  a: {}\n", "has neither command nor image"),
        ("services:\n  a: {command: x, network_mode: nat}\n", "network_mode nat is not one of bridge, host, none"),
        ("services:\n  a: {command: x, network_mode: 'service:'}\n", "is not one of bridge, host, none"),
        ("services:\n  a: {command: x, network_mode: host, networks: [n]}\nnetworks: {n: {}}\n", "exclude each other"),
        ("services:\n  a: {command: x, network_mode: 'service:b'}\n", "depends on b, which is not a service"),
        ("services:\n  a: {command: x, scale: two}\n", "scale must be a whole number"),
        ("services:\n  a: {command: x, stop_grace_period: soon}\n", "must be a duration"),
        ("services: {}\n", "no service to start"),
        ("service:\n", "c.yaml:1: service is not known; did you mean services?"),
        ("services:\n  a: [x]\n", "services.a must be a mapping"),
        ("services:\n  a: {command: x, links: [b]}\n", "links b, which is not a service"),
    ],
)
def test_refusals_name_line_and_key(text, said):
    assert said in problems(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "c.yaml:1:"),
        ("services:\n  a: {command: x, hostname: [b]}\n", "hostname must be a single value"),
        ("services:\n  a: {command: x, dns: [[b]]}\n", "dns must be a list of strings"),
        ('services:\n  a: {command: "x \'y"}\n', "command: No closing quotation"),
        ("services:\n  a: {command: x, x-forward: maybe}\n", "x-forward must be true or false, not 'maybe'"),
        ("services:\n  a: {command: x, container_name: b, scale: 2}\n", "container_name allows one replica only"),
        ("services:\n  a: {command: x, ports: 80}\n", "services.a.ports must be a list"),
        ("services:\n  a: {command: x, ports: [{published: 80}]}\n", "an entry has no target"),
        (
            "services:\n  a: {command: x}\nnetworks:\n  default:\n    ipam:\n      options: {a: b}\n",
            "c.yaml:6: networks.default.ipam.options: the default IPAM driver has no options",
        ),
    ],
)
def test_values_that_are_wrong(text, said):
    assert said in problems(text)


FORMS = """
services:
  web:
    command: serve
    mac_address: 02:42:00:00:00:09
    networks: [front, back]
    env_file: [a.env, {path: b.env, required: false}]
    environment: [A=1, B]
    sysctls: {net.core.somaxconn: 128}
    x-forward: "true"
    links: [db]
    ports: [{target: 53, protocol: udp}, {target: 80, published: 8080}]
    labels: [a=b]
    extra_hosts: ["gate:10.0.0.1"]
    depends_on: [db]
  db:
    command: [run, --now]
    env_file: c.env
    mac_address: 02:42:00:00:00:08
    networks:
      back: {x-routes: {10.9.0.0/16: 10.0.0.7}, driver_opts: {sysctls: x}, interface_name: lan0, link_local_ips: [169.254.0.9]}
  side: {command: x, network_mode: "service:db"}
  alone: {command: x, mac_address: 02:42:00:00:00:07}
networks:
  front: {driver: macvlan, x-routes: [10.8.0.0/16=10.0.0.8], ipam: {driver: infoblox, options: {pool: a}, config: [{ip_range: 10.0.0.0/28}]}}
  back: {external: {name: theirs}}
"""


def test_other_forms_of_values():
    made = project(FORMS)
    services = {service.name: service for service in made.services}
    web, db, side, alone = (services[name] for name in ("web", "db", "side", "alone"))
    assert [(network.network, network.mac_address) for network in web.networks] == [("front", "02:42:00:00:00:09"), ("back", None)]
    assert (web.env_file, db.env_file) == ((("a.env", True), ("b.env", False)), (("c.env", True),))
    assert (web.environment, web.labels, web.extra_hosts) == ({"A": "1", "B": None}, {"a": "b"}, ("gate:10.0.0.1",))
    assert (web.sysctls, web.forward, web.links) == (("net.core.somaxconn=128",), True, ("db",))
    assert web.ports == ("53/udp", "8080:80/tcp")
    assert db.command == ("run", "--now")
    (back,) = db.networks
    assert (back.routes, back.interface_name, back.link_local_ips) == (("10.9.0.0/16=10.0.0.7",), "lan0", ("169.254.0.9",))
    assert (back.driver_opts, back.mac_address) == ({"sysctls": "x"}, "02:42:00:00:00:08")
    assert (side.networks, side.network_mode, side.depends_on) == ((), "service:db", ("db",))
    assert alone.networks[0].mac_address == "02:42:00:00:00:07"
    front, back, _ = made.networks
    assert (front.body["driver"], front.body["routes"], front.body["ip_ranges"]) == ("macvlan", ("10.8.0.0/16=10.0.0.8",), ["10.0.0.0/28"])
    assert (front.body["ipam_driver"], front.body["ipam_options"]) == ("infoblox", {"pool": "a"})
    assert (back.name, back.external) == ("theirs", True)
    assert made.notes == ()


def test_every_option_with_a_compose_key_has_a_field():
    for option in OPTIONS:
        if option.compose:
            owner = ServiceNetwork if option.compose.startswith("networks.") else Service
            assert field_of(option) in {field.name for field in dataclasses.fields(owner)}, option.compose


def test_a_document_may_be_empty():
    assert load("") is None
    assert "no service to start" in problems("")


def test_deep_nesting_is_refused():
    with pytest.raises(YamlError, match="deeper than 64"):
        load("a: " + "[" * 70 + "]" * 70)


def test_merges_of_several_mappings():
    made = load("a: &a {k: 1}\nb: &b {l: 2}\nc:\n  <<: [*a, *b]\n")
    assert dict(made["c"]) == {"k": 1, "l": 2}


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600.0), ("1m30s", 90.0), ("1.5s", 1.5), ("", None), ("10", None), ("s", None), ("1s1m", None)]
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


def test_unset_variables_are_reported():
    unset = []
    assert interpolate("$X${Y}${Y+x}", {}, unset.append) == ""
    assert unset == ["X", "Y"]


def test_all_problems_come_at_once():
    assert len(problems("services:\n  a: {command: x, scale: two, networks: [b]}\n  c: {}\n").splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: \x1e", 2, "character U+001E is not allowed"),
        ("[" * 5000, 1, "nested deeper than 64 levels"),
        ("a: 1\nb: " + "9" * 5000, 2, "a number of 5000 digits is too long"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcde", "bcdef", strict=True)),
         1, "more than 100000 values, those that aliases repeat included"),
    ],
    ids=["control character", "brackets", "number", "aliases of aliases"],
)  # fmt: skip
def test_text_that_no_file_should_be_is_refused_with_its_line(text, line, reason):
    with pytest.raises(YamlError) as caught:
        load(text)
    assert (caught.value.line, caught.value.reason) == (line, reason)


def test_files_that_are_no_text_are_refused(tmp_path):
    for name in ("compose.yaml", ".env"):
        (tmp_path / "compose.yaml").write_text("services: {a: {command: x}}")
        (tmp_path / name).write_bytes(b"a: \xff")
        with pytest.raises(Refused, match=rf"{name}: not UTF-8: octet 0xff at 3"):
            load_project(str(tmp_path / "compose.yaml"), None, ())
