import pytest

from resolver.cli.compose import parse, project_name
from resolver.cli.compose.interpolate import BadVariable, interpolate, parse_env
from resolver.cli.compose.project import ComposeError
from resolver.cli.compose.yaml12 import YamlError, load


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
    web = next(item for item in made.services if item.name == "web")
    assert [item.name for item in made.services] == ["db", "web"]
    assert [item.network for item in web.networks] == ["front", "back"]
    assert (web.networks[0].aliases, web.networks[0].ipv4_address, web.networks[0].gw_priority) == (("www",), "10.5.0.9", 7)
    assert web.ports == ("22:22", "127.0.0.1:8080:80/udp", "[::1]:8443:443/tcp")
    assert web.extra_hosts == ("gate:host-gateway", "many:10.0.0.1", "many:10.0.0.2")
    assert (web.replicas, web.stop_grace, web.dns) == (3, 65.0, ("1.1.1.1",))
    assert web.environment == {"A": "1", "B": None, "C": "true"}
    db = made.services[0]
    assert (db.has_image, db.command, db.networks[0].network) == (True, (), "default")
    networks = {item.key: item for item in made.networks}
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


def test_all_problems_come_at_once():
    assert len(problems("services:\n  a: {command: x, scale: two, networks: [b]}\n  c: {}\n").splitlines()) == 3
