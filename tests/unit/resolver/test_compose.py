"""What a Compose project means to berth, and what is said of one that is wrong. That it is read as by Compose: test_compose_corpus."""

import dataclasses
import itertools
import random

import pytest

from resolver.cli.client import Refused
from resolver.cli.compose import ComposeError
from resolver.cli.compose.documents import MAX_VALUES, Budget, documents
from resolver.cli.compose.interpolate import variables_in
from resolver.cli.compose.project import Condition, Dependency, HealthCheck, Restart, RestartWhen, Service, ServiceNetwork, field_of
from resolver.cli.compose.specification import NETWORK, SERVICE
from resolver.cli.compose.words import words_of
from resolver.cli.sandbox_options import OPTIONS
from resolver.cli.up.project_file import Selection, load_project
from tests.support.compose_files import project, reading


def problems(text, **asked):
    with pytest.raises(ComposeError) as caught:
        project(text, **asked)
    return str(caught.value)


def value(text):
    (document,) = documents(text, "c.yaml", Budget())
    return document.value


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
      - {target: 22, published: 22}
    extra_hosts: {gate: host-gateway, many: [10.0.0.1, 10.0.0.2]}
    dns: 1.1.1.1
    deploy: {replicas: 3}
    environment: {A: 1, B: null, C: true}
    depends_on: {db: {condition: service_started}}
    stop_grace_period: 1m5s
    tty: true
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
    assert [service.name for service in made.services] == ["db", "web"]
    db, web = made.services
    assert [network.network for network in web.networks] == ["front", "back"]
    assert (web.networks[0].aliases, web.networks[0].ipv4_address, web.networks[0].gw_priority) == (("www",), "10.5.0.9", 7)
    # A port that is given in both forms is published once.
    assert web.ports == ("22:22/tcp", "127.0.0.1:8080:80/udp", "[::1]:8443:443/tcp", "admin,h2c=81/tcp", "http=8082:82/tcp")
    assert web.extra_hosts == ("gate:host-gateway", "many:10.0.0.1", "many:10.0.0.2")
    assert (web.replicas, web.stop_grace, web.dns) == (3, 65.0, ("1.1.1.1",))
    assert web.environment == {"A": "1", "B": None, "C": "true"}
    assert web.depends_on == (Dependency(service="db"),)
    assert (db.has_image, db.command, db.networks[0].network) == (True, (), "default")
    networks = {network.key: network for network in made.networks}
    assert set(networks) == {"front", "back", "default"}
    assert (networks["front"].name, networks["back"].name) == ("case_front", "shared")
    assert networks["front"].body["ipv6"] is True
    assert networks["front"].body["subnets"] == ["10.5.0.0/24", "fd05::/64"]
    assert networks["front"].body["auxiliary"] == {"a": "10.5.0.3"}
    assert made.notes == (
        "tty, stdin_open: what `up` starts has no terminal, and nothing to read (`berth compose run` has both): that of service web",
    )
    assert len(project(FULL, profiles=("debug",)).services) == 3


FORMS = """
services:
  web:
    command: serve
    mac_address: 02:42:00:00:00:09
    networks: [front, back]
    environment: [A=1, B]
    sysctls: {net.core.somaxconn: 128}
    x-forward: "true"
    links: [db]
    external_links: ["outside:there"]
    ports: [{target: 53, protocol: udp}, {target: 80, published: 8080}, "90-91:90-91"]
    labels: [a=b]
    extra_hosts: ["gate:10.0.0.1", "six=::1"]
  db:
    command: [run, --now]
    mac_address: 02:42:00:00:00:08
    networks:
      back: {x-routes: {10.9.0.0/16: 10.0.0.7}, driver_opts: {sysctls: x}, interface_name: lan0, link_local_ips: [169.254.0.9]}
  side: {command: x, network_mode: "service:db"}
  alone: {command: x, mac_address: 02:42:00:00:00:07}
networks:
  front: {driver: macvlan, x-routes: [10.8.0.0/16=10.0.0.8], x-records: [printer 60 A 10.0.0.77], ipam: {driver: infoblox, options: {pool: a}, config: [{ip_range: 10.0.0.0/28}]}}
  back: {external: {name: theirs}}
  default: {ipam: {options: {of: nobody}}}
"""


def test_other_forms_of_values():
    made = project(FORMS)
    services = {service.name: service for service in made.services}
    web, db, side, alone = (services[name] for name in ("web", "db", "side", "alone"))
    assert [(network.network, network.mac_address) for network in web.networks] == [("back", "02:42:00:00:00:09"), ("front", None)]
    assert (web.environment, web.labels) == ({"A": "1", "B": None}, {"a": "b"})
    assert (web.sysctls, web.forward, web.links, web.external_links) == (("net.core.somaxconn=128",), True, ("db",), ("outside:there",))
    assert (web.ports, web.extra_hosts) == (("53/udp", "8080:80/tcp", "90:90/tcp", "91:91/tcp"), ("gate:10.0.0.1", "six:::1"))
    assert db.command == ("run", "--now")
    (back,) = db.networks
    assert (back.routes, back.interface_name, back.link_local_ips) == (("10.9.0.0/16=10.0.0.7",), "lan0", ("169.254.0.9",))
    assert (back.driver_opts, back.mac_address) == ({"sysctls": "x"}, "02:42:00:00:00:08")
    assert (side.networks, side.network_mode, side.depends_on) == ((), "service:db", (Dependency(service="db", restart=True),))
    assert alone.networks[0].mac_address == "02:42:00:00:00:07"
    networks = {network.key: network for network in made.networks}
    front = networks["front"].body
    assert (front["driver"], front["routes"], front["ip_ranges"]) == ("macvlan", ("10.8.0.0/16=10.0.0.8",), ["10.0.0.0/28"])
    assert (front["ipam_driver"], front["ipam_options"]) == ("infoblox", {"pool": "a"})
    assert (networks["back"].name, networks["back"].external) == ("theirs", True)
    assert front["records"] == [{"name": "printer", "type": "A", "data": "10.0.0.77", "ttl": 60}]
    # Compose hands these to nobody when Docker's own allocator is asked.
    assert networks["default"].body["ipam_options"] == {}


WAITING = """
services:
  a:
    command: x
    restart: on-failure:5
    healthcheck: {test: [CMD, probe, --now], interval: 2s, timeout: 500ms, retries: 7, start_period: 1m, start_interval: 1s}
    depends_on:
      b: {condition: service_healthy, restart: true}
      c: {condition: service_completed_successfully, required: false}
      off: {condition: service_started, required: false}
  b: {command: x, restart: always, healthcheck: {test: probe || exit 1}}
  c: {command: x, deploy: {restart_policy: {condition: any, max_attempts: 3}}, healthcheck: {disable: true, test: x}}
  d: {command: x, restart: unless-stopped, healthcheck: {test: [NONE]}, links: ["a:store"], volumes_from: [b], pid: "service:c"}
  off: {command: x, profiles: [never]}
"""


def test_what_is_waited_for_and_started_again_is_in_the_values():
    a, b, c, d = sorted(project(WAITING).services, key=lambda service: service.name)
    assert a.depends_on == (
        Dependency(service="b", condition=Condition.HEALTHY, restart=True),
        Dependency(service="c", condition=Condition.COMPLETED, required=False),
    )
    assert a.restart == Restart(when=RestartWhen.ON_FAILURE, attempts=5)
    assert a.health == HealthCheck(
        command=("probe", "--now"), in_shell=False, interval=2.0, timeout=0.5, retries=7, start_period=60.0, start_interval=1.0
    )
    assert (b.restart, b.health) == (Restart(when=RestartWhen.ALWAYS), HealthCheck(command=("probe || exit 1",), in_shell=True))
    assert (c.restart, c.health) == (Restart(when=RestartWhen.ALWAYS, attempts=3), None)
    assert (d.restart.when, d.health) == (RestartWhen.UNLESS_STOPPED, None)
    assert {(dependency.service, dependency.restart) for dependency in d.depends_on} == {("a", True), ("b", False), ("c", True)}


def test_what_is_asked_for_and_not_given_is_said_line_by_line():
    text = """
services:
  a: {command: x, init: true, runtime: runsc, mem_limit: 1g, cpuset: "0", cap_drop: [ALL], user: "1000", read_only: true, restart: always, tty: true, depends_on: {b: {condition: service_healthy}, f: {condition: service_healthy}}}
  b: {command: x, pids_limit: 3, deploy: {resources: {limits: {cpus: "1", pids: 3}}}, cap_drop: [ALL], security_opt: [no-new-privileges:true], healthcheck: {test: x}, volumes: ["v:/v"], links: [c], ipc: host}
  c: {command: x, depends_on: {b: {condition: service_started, restart: false}}, restart: sometimes}
  e: {provider: {type: cloud}}
  f: {image: x, healthcheck: {test: x}, stdin_open: true, user: nobody}
volumes: {v: }
"""
    with_circle = text
    assert "depends on itself: b -> c -> b" in problems(with_circle)
    made = project(text.replace(", depends_on: {b: {condition: service_started, restart: false}}", ""))
    assert made.notes == (
        "runtime of service a is not honoured: commands are started by berth, on the host's kernel, by no other runtime",
        "ipc of service b is not honoured: each service has an IPC namespace of its own",
        "provider: nothing is run for it, start yourself what it stands for: that of service e",
        "volumes: only files and directories of the host are bound, there are no volumes with names: that of service b",
        "user, capabilities, files and bounds of processes are for who runs the image to see to: those of service f",
        "restart: not a word that Docker knows, which counts as no: that of service c",
        "tty, stdin_open: what `up` starts has no terminal, and nothing to read (`berth compose run` has both): that of service a",
        "healthcheck is for who runs the image, nothing else asks for the health: that of service f",
        "cpuset of service a: nothing is limited by that; mem_limit, cpus, pids_limit and ulimits are, and deploy.resources.limits",
        "what runs in a service with an image is somebody else's, so its health or its end is not waited for: that of service f",
        "ignored, not about networking: stdin_open, volumes",
    )
    assert [service.name for service in made.services] == ["c", "b", "f", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "services:\n  a:\n    command: x\n    netwroks: [b]\n",
            "compose.yaml:4: services.a.netwroks is not known; did you mean networks?",
        ),
        (
            "services:\n  a:\n    command: x\n    networks:\n      b:\n        ipv4: 1\nnetworks: {b: }\n",
            "compose.yaml:6: services.a.networks.b.ipv4 is not known",
        ),
        ("services:\n  a:\n    command: x\n    networks: [b]\n", "compose.yaml:4: services.a uses network b, which is not in networks"),
        ("services:\n  a: {command: x}\nnetworks:\n  b:\n    subnet: 1\n", "compose.yaml:5: networks.b.subnet is not known"),
        ("services:\n  a: {command: x, depends_on: [b]}\n", "depends on b, which is not a service"),
        ("services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [a]}\n", "depends on itself: a -> b -> a"),
        ("services:\n  a: {}\n", "has neither command nor image"),
        ("services:\n  a: {command: x, network_mode: host, networks: [n]}\nnetworks: {n: {}}\n", "exclude each other"),
        ("services:\n  a: {command: x, network_mode: 'service:b'}\n", "depends on b, which is not a service"),
        ("services:\n  a: {command: x, network_mode: 'service:b'}\n  b: {command: x, profiles: [p]}\n", "by its profiles: add --profile p"),
        ("services:\n  a: {command: x, scale: two}\n", "services.a.scale: 'two' is no whole number"),
        ("services:\n  a: {command: x, stop_grace_period: soon}\n", "is no duration like 10s or 1m30s"),
        ("services: {}\n", "no service to start"),
        ("services: {a: {command: x, profiles: [p]}}\n", "no service to start; is a --profile missing?"),
        ("service:\n", "compose.yaml:1: service is not known; did you mean services?"),
        ("services:\n  a: [x]\n", "compose.yaml:2: services.a must be a mapping"),
        ("services:\n  a: {command: x, links: [b]}\n", "depends on b, which is not a service"),
        ("a: [", "compose.yaml:2: no valid YAML"),
        ("services:\n  a: {command: x, hostname: [b]}\n", "services.a.hostname must be a text"),
        ('services:\n  a: {command: "x \'y"}\n', 'services.a.command: "x \'y" has a quote or bracket that is not closed'),
        ("services:\n  a: {command: x, x-forward: maybe}\n", "services.a: x-forward: 'maybe' is neither true nor false"),
        ("services:\n  a: {command: x, networks: {default: {x-routes: 5}}}\n", "services.a: x-routes must be a mapping"),
        ("services:\n  a: {command: x}\nnetworks:\n  default: {x-records: {a: b}}\n", "x-records must be a list of lines"),
        ("services:\n  a: {command: x}\nnetworks:\n  default: {x-records: [a A]}\n", "x-records 'a A': it should be 'NAME TYPE VALUE'"),
        ("services:\n  a: {command: x, container_name: bb, scale: 2}\n", "container_name allows one replica only"),
        ("services:\n  a: {command: x, ports: 80}\n", "services.a.ports must be a list, not 80"),
        ("services:\n  a: {command: x, ports: [{published: 80}]}\n", "an entry has no target"),
        ("services:\n  a: {command: x, ports: [70000]}\n", "65535"),
        ("a: &a {b: *a}\n", "alias *a is part of what it stands for"),
        ("", "no service to start"),
        ("a: 1\na: 2\n", "compose.yaml:2: key 'a' is given twice, first in line 1"),
        ("? [1]\n: 2\n", "a key must be a text"),
        ("a:\n  <<: 5\n", "<< takes a mapping"),
        (
            "services: {a: {command: x, environment: {A: 2020-01-01}}}",
            "services.a.environment.A: 2020-01-01 is a date to YAML: write it in quotes",
        ),
        ("web: {image: x, ports: [80]}", "web is not known at the top of a file; if it is a service, it belongs below `services:`"),
        ("include: [https://example.com/compose.yaml]\n", "only files of this host are read"),
    ],
)
def test_refusals_name_line_and_key(text, said):
    assert said in problems(text)


def test_a_tag_of_yaml_1_1_is_no_mistake():
    (service,) = project("services: {a: {command: x, environment: {A: !!binary aGk=}}}\n").services
    assert service.environment == {"A": "hi"}


def test_all_problems_of_a_kind_come_at_once():
    assert len(problems("services:\n  a: {command: x, ports: 80, dns: 5}\n  c: {prots: []}\n").splitlines()) == 3
    assert len(problems("services:\n  a: {command: x, networks: [b], depends_on: [z]}\n  c: {}\n").splitlines()) == 3


def test_each_problem_counts_once_among_those_that_are_told():
    networks = ", ".join(f"n{number}: {{prots: []}}" for number in range(30))
    told = problems(f"services:\n  a: {{networks: {{{networks}}}}}\n  b: {{networks: {{{networks}}}}}\n")
    assert len(told.splitlines()) == 50


def test_positions_are_those_of_the_file_that_says_it():
    files = {
        "compose.yaml": "services: {a: {command: x}}\n",
        "compose.override.yaml": "services:\n  a:\n    ports: 80\n",
        "base.yaml": "services:\n  b:\n    prots: []\n",
    }
    assert "compose.override.yaml:3: services.a.ports" in problems(files)
    files["compose.override.yaml"] = "services:\n  a:\n    extends: {file: base.yaml, service: b}\n"
    assert "base.yaml:3: services.b.prots is not known; did you mean ports?" in problems(files)


def test_warnings_are_given_once_for_each_matter():
    said = []
    reading("version: '3'\nservices: {a: {command: x$X, tty: yes}}\nnetworks: {default: {external: {name: n}}}\n", said.append)
    assert said == [
        "variable X is not set; it counts as empty",
        "'yes' is no boolean of YAML 1.2: write true",
        "compose.yaml: version is obsolete and ignored; remove it",
        "networks.default: external.name is deprecated: write name: n and external: true",
    ]


# --- size ---------------------------------------------------------------------------------------------------------


def test_three_thousand_services_in_any_order():
    names = [f"s{number}" for number in range(3000)]
    services = [
        f"  {name}: {{extends: e{name}, networks: [n], ports: ['80'], depends_on: [{after}]}}\n  e{name}: {{extends: e{after}, hostname: g}}"
        for name, after in itertools.pairwise(names)
    ]
    services.append(f"  {names[-1]}: {{image: last, hostname: h}}\n  e{names[-1]}: {{image: x, hostname: h}}")
    random.Random(5).shuffle(services)
    made = project("services:\n" + "\n".join(services) + "\nnetworks: {n: }")
    assert [service.name for service in made.services if not service.name.startswith("e")] == names[::-1]
    assert {service.hostname for service in made.services} == {"g", "h"}


def test_a_circle_of_three_thousand_is_found():
    text = "\n".join(f"  s{number}: {{image: x, depends_on: [s{(number + 1) % 3000}]}}" for number in range(3000))
    assert "depends on itself" in problems("services:\n" + text)


@pytest.mark.parametrize("shape", ["list", "mapping", "merge", "extends", "include", "ports"])
def test_what_grows_without_bound_is_refused(shape, monkeypatch):
    monkeypatch.setattr(Budget.__init__, "__defaults__", (5_000 if shape == "include" else 20_000,))
    names = [f"a{number}" for number in range(12)]
    files = {}
    match shape:
        case "list":
            lines = [f"x-{name}: &{name} [{','.join([f'*{before}'] * 10)}]" for before, name in itertools.pairwise(names)]
            files["compose.yaml"] = "\n".join([f"x-{names[0]}: &{names[0]} [x]", *lines])
        case "mapping":
            lines = [
                f"x-{name}: &{name} {{{','.join(f'k{i}: *{before}' for i in range(10))}}}" for before, name in itertools.pairwise(names)
            ]
            files["compose.yaml"] = "\n".join([f"x-{names[0]}: &{names[0]} {{k: x}}", *lines])
        case "merge":
            lines = [f"x-{name}: &{name} {{<<: [{','.join([f'*{before}'] * 10)}]}}" for before, name in itertools.pairwise(names)]
            files["compose.yaml"] = "\n".join([f"x-{names[0]}: &{names[0]} {{k: x}}", *lines])
        case "extends":
            lines = [f"  s{number}: {{extends: s{number + 1}, environment: [A{number}=1]}}" for number in range(400)]
            files["compose.yaml"] = "\n".join(["services:", *lines, "  s400: {image: x}"])
        case "ports":
            files["compose.yaml"] = "services: {a: {image: x, ports: ['1-5000:1-5000']}}"
        case "include":
            files = {f"{name}.yaml": f"include: [{after}.yaml, {{path: {after}.yaml}}]\n" for name, after in itertools.pairwise(names)}
            files = {
                **files,
                "compose.yaml": "include: [a0.yaml]\nservices: {a: {image: x}}\n",
                f"{names[-1]}.yaml": "services: {b: {image: x}}\n",
            }
    assert "values" in problems(files)


def test_many_variables_in_a_line_are_not_taken_for_nested_ones():
    (made,) = project("services: {a: {command: [x, '" + "${A:-y} " * 5000 + "']}}").services
    assert made.command == ("x", "y " * 5000)
    assert "defaults within defaults" in problems("services: {a: {command: [x, '" + "${A:-" * 100 + "}" * 100 + "']}}")


def test_the_limit_leaves_room_for_large_projects():
    assert MAX_VALUES >= 3000 * 100


@pytest.mark.parametrize("text", ["[" * 70 + "]" * 70, "[" * 100_000, "{a: " * 70 + "}" * 70])
def test_deep_nesting_is_refused(text):
    with pytest.raises(ComposeError, match=r"deeper than|exceeded maximum nesting depth"):
        value(text)


@pytest.mark.parametrize("name", ["compose.yaml", ".env"])
def test_files_that_are_no_text_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("services: {a: {command: x}}")
    (tmp_path / name).write_bytes(b"a: \xff")
    with pytest.raises(Refused, match=rf"{name}: not UTF-8: octet 0xff at 3"):
        load_project(Selection())


def test_a_control_character_is_refused():
    with pytest.raises(ComposeError, match="no valid YAML"):
        value("a: 1\nb: \x1e")


def test_a_number_of_many_digits_is_refused():
    with pytest.raises(ComposeError, match="write it in quotes"):
        value("a: " + "1" * 5000)


def test_anchors_and_merges_keep_their_positions():
    made = value("x-a: &a\n  k: 1\n  l: 2\nb:\n  <<: *a\n  k: 3\n")
    assert dict(made["b"]) == {"k": 3, "l": 2}
    assert {key: position.line for key, position in made["b"].positions.items()} == {"k": 6, "l": 3}


# --- tables -------------------------------------------------------------------------------------------------------


def test_every_option_with_a_compose_key_has_a_field():
    for option in OPTIONS:
        if option.compose and option.compose != "env_file":
            owner = ServiceNetwork if option.compose.startswith("networks.") else Service
            assert field_of(option) in {field.name for field in dataclasses.fields(owner)}, option.compose


def test_the_tables_have_every_key_of_the_specification(schema):
    # `extends` is carried out before; this one key no version of Compose does anything with.
    assert set(schema["service"]["properties"]) - {"extends", "pull_refresh_after"} == set(SERVICE)
    assert set(schema["network"]["properties"]) == set(NETWORK)


@pytest.fixture
def schema():
    import json
    from importlib.resources import files

    return json.loads(files("resolver.cli.compose").joinpath("compose-spec.json").read_text())["definitions"]


def test_a_command_of_millions_of_characters_is_split():
    # Each character costs the same: a text that grew by one at a time was copied each time.
    assert words_of("a" * 2_000_000 + " 'b c'") == ["a" * 2_000_000, "b c"]


def test_variables_of_a_text_are_found_in_bounded_time():
    nested = "${A:-" * 5000 + "x" + "}" * 5000
    assert len(list(variables_in(nested))) == 33
    found = {one.name: one for one in variables_in("${A:-${B:-c}}${D:?${E}} $F $$G ${H+i}")}
    assert list(found) == ["A", "B", "D", "F", "H"]
    assert (found["A"].default, found["D"].required, found["H"].alternate) == ("${B:-c}", True, "i")
