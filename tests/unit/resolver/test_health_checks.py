"""Health checks without a kernel: Docker's rules, the options of `run`, the body of the admin API, answers of names."""

import pytest

from netcore.errors import InvalidRequest
from resolver.cli import sandbox_fields
from resolver.cli.docker_inspect import sandbox as inspected
from resolver.cli.health_options import health_check
from resolver.cli.health_rules import HEALTHY, STARTING, UNHEALTHY, Result, Tracker, target_of, url_of
from resolver.cli.sandbox_options import BadOption
from resolver.daemon import health_shapes
from resolver.daemon.schema import HealthCheckView
from resolver.zone.zone import Record, Zone
from tests.support.compose_files import project

CHECK = {"test": ["CMD", "x"], "interval": 30.0, "timeout": 30.0, "retries": 3, "start_period": 0.0, "start_interval": 5.0}


def after(codes, **check):
    """Return the tracker after probes with these (seconds since the start, exit code)."""
    tracker = Tracker(CHECK | check)
    for at, code in codes:
        tracker.note(Result(at, at, code, ""), at)
    return tracker


@pytest.mark.parametrize(
    ("codes", "check", "status", "streak"),
    [
        ([], {}, STARTING, 0),
        ([(1, 0)], {}, HEALTHY, 0),
        ([(1, 1), (2, 1)], {}, STARTING, 2),
        ([(1, 1), (2, -1), (3, 127)], {}, UNHEALTHY, 3),
        ([(1, 0), (2, 1), (3, 1)], {}, HEALTHY, 2),
        ([(1, 1), (2, 1), (3, 1), (4, 0)], {}, HEALTHY, 0),
        # A failure while it starts does not count; one after it has been healthy does.
        ([(1, 1), (2, 1), (3, 1), (4, 1)], {"start_period": 10.0}, STARTING, 0),
        ([(1, 1), (11, 1)], {"start_period": 10.0, "retries": 1}, UNHEALTHY, 1),
        ([(1, 0), (2, 1)], {"start_period": 10.0, "retries": 1}, UNHEALTHY, 1),
    ],
)
def test_health_after_probes(codes, check, status, streak):
    tracker = after(codes, **check)
    assert (tracker.status, tracker.failing_streak) == (status, streak)


def test_pause_between_probes():
    assert after([]).pause(0.0) == 30.0
    starting = after([], start_period=60.0)
    assert (starting.pause(0.0), starting.pause(59.0), starting.pause(60.0)) == (5.0, 5.0, 30.0)
    assert after([(1, 0)], start_period=60.0).pause(2.0) == 30.0


def test_the_last_five_results_are_kept():
    record = after([(at, at % 2) for at in range(9)]).record()
    assert (record["status"], [result["start"] for result in record["log"]]) == (HEALTHY, [4, 5, 6, 7, 8])


@pytest.mark.parametrize(
    ("text", "target"),
    [("5432", ("localhost", 5432)), ("db:5432", ("db", 5432)), ("[::1]:80", ("::1", 80)), ("10.0.0.1:80", ("10.0.0.1", 80))],
)
def test_targets(text, target):
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["", "db", "db:", "0", "65536", "99999999999", "::1:80", "db:x", "٣"])
def test_what_is_no_target(text):
    with pytest.raises(ValueError, match=r"should be like|in brackets"):
        target_of(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/health", ("localhost", 80, "/health")),
        ("8080", ("localhost", 8080, "/")),
        ("8080/health?a=b", ("localhost", 8080, "/health?a=b")),
        ("web:8080/x", ("web", 8080, "/x")),
        ("http://web/x", ("web", 80, "/x")),
        ("http://web:8080", ("web", 8080, "/")),
        ("http://[::1]/x", ("::1", 80, "/x")),
        ("http://[::1]:81/x", ("::1", 81, "/x")),
    ],
)
def test_urls(text, url):
    assert url_of(text) == url


@pytest.mark.parametrize("text", ["https://web/", "web/x", "8080/a b", "8080/\r\nHost: x", "http://web:x/", "8080/ä", "99999/x"])
def test_what_is_no_url(text):
    with pytest.raises(ValueError, match=r"should|only http"):
        url_of(text)


def test_options_of_run():
    asked = {"health_cmd": "curl -f x", "health_interval": "1m30s", "health_timeout": "500ms", "health_retries": "5"}
    asked |= {"health_start_period": "10s", "health_start_interval": "1s"}
    assert health_check(asked) == {
        "test": ["CMD-SHELL", "curl -f x"], "interval": 90.0, "timeout": 0.5, "retries": 5, "start_period": 10.0, "start_interval": 1.0,
    }  # fmt: skip
    assert health_check({"health_tcp": "80", "health_interval": "0s", "health_retries": "0"}) == {"test": ["TCP", "80"]}
    assert health_check({"health_http": "/up"}) == {"test": ["HTTP", "/up"]}
    assert health_check({"no_healthcheck": True}) is None
    assert health_check({"health_cmd": "none"}) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"health_interval": "1s"}, "--health-interval is about a health check, and there is none: add --health-cmd"),
        ({"health_cmd": "x", "no_healthcheck": True}, "--no-healthcheck conflicts with --health-cmd"),
        ({"health_cmd": "x", "health_tcp": "80"}, "--health-cmd conflicts with --health-tcp"),
        ({"health_cmd": " "}, "--health-cmd: it is empty"),
        ({"health_cmd": "x", "health_interval": "30"}, "--health-interval: '30' is no duration like 10s or 1m30s"),
        ({"health_cmd": "x", "health_timeout": "-1s"}, "--health-timeout -1s: it should be 0 for the default, or 1ms at least"),
        ({"health_cmd": "x", "health_retries": "-1"}, "--health-retries -1: it should be a number from 0"),
        ({"health_tcp": "db"}, "--health-tcp: 'db' should be like 5432"),
    ],
)
def test_wrong_options_of_run(values, reason):
    with pytest.raises(BadOption, match=reason):
        health_check(values)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HealthCheckView([]), "is not one of CMD and a command"),
        (HealthCheckView(["CMD"]), "is not one of"),
        (HealthCheckView(["CMD-SHELL", "a", "b"]), "is not one of"),
        (HealthCheckView(["NONE", "a"]), "is not one of"),
        (HealthCheckView(["CMD", "a\0"]), "has an octet 0"),
        (HealthCheckView(["CMD", "a"], interval=0.0), "interval 0 is too short: it is a number of seconds from 0.001 on"),
        (HealthCheckView(["CMD", "a"], timeout=float("nan")), "timeout nan"),
        (HealthCheckView(["CMD", "a"], retries=0), "retries 0 is not a number from 1"),
    ],
)
def test_wrong_bodies(body, reason):
    with pytest.raises(InvalidRequest, match=reason):
        health_shapes.health_check(body)


def test_body_of_a_service():
    text = "services: {a: {command: x, healthcheck: {test: [CMD, probe, now], interval: 2s}}, b: {image: x, healthcheck: {test: x}}}"
    from resolver.cli.up.plan import plan_up

    a, b = plan_up(project(text), pid=1).services
    assert a.bodies[0]["health_check"] == CHECK | {"test": ["CMD", "probe", "now"], "interval": 2.0}
    assert "health_check" not in b.bodies[0]


def zone_of(*records):
    return Zone("n", b"\1n\0", 60).with_changes(
        (), [Record(b"\3web\0", value, endpoint, unhealthy) for value, endpoint, unhealthy in records]
    )


A, B, C = b"\x0a\0\0\1", b"\x0a\0\0\2", bytes(15) + b"\3"


@pytest.mark.parametrize(
    ("records", "answered"),
    [
        ([(A, "1", False), (B, "2", False)], (A, B)),
        ([(A, "1", True), (B, "2", False)], (B,)),
        ([(A, "1", True), (B, "2", True)], (A, B)),
        ([(A, "1", True), (C, "1", True), (B, "2", False)], (B,)),
        # An address that two have is answered if one of them is well.
        ([(A, "1", True), (A, "2", False)], (A,)),
    ],
)
def test_answers_leave_out_who_is_unhealthy_but_never_the_last(records, answered):
    assert zone_of(*records).find(b"\3web\0") == answered


def test_who_is_well_again_is_answered_again():
    zone = zone_of((A, "1", True), (B, "2", False))
    again = zone.with_changes([Record(b"\3web\0", A, "1", True)], [Record(b"\3web\0", A, "1")])
    assert sorted(again.find(b"\3web\0")) == [A, B]
    assert again.size == zone.size == 2


def view_of(health, **more):
    base = {
        "id": "a" * 64,
        "name": "web",
        "ended": False,
        "adopted": False,
        "leader": {},
        "created": 0.0,
        "hostname": "h",
        "domainname": "",
    }
    base |= {
        "labels": {},
        "endpoints": [],
        "networks": [],
        "addresses": [],
        "stack": "own",
        "files": "/f",
        "netns": "/n",
        "pid": 7,
        "environment": {},
    }
    return base | {"health": health, "health_check": None if health is None else CHECK} | more


@pytest.mark.parametrize(
    ("health", "status"),
    [(None, "running"), ("starting", "running (health: starting)"), ("healthy", "running (healthy)"), ("unhealthy", "running (unhealthy)")],
)
def test_status_and_filter(health, status):
    assert sandbox_fields.status(view_of(health), 9.0) == status
    assert sandbox_fields.docker_fields(view_of(health), "x", 9.0, whole=False)["Status"] == status.replace("running", "Up 9 seconds")
    found = [text for text in sandbox_fields.HEALTHS if sandbox_fields.tests(view_of(health), [])["health"](text)]
    assert found == [health or "none"]


def test_inspected_as_docker_has_it():
    log = {"failing_streak": 2, "log": [Result(0.0, 1.5, 1, "no")._asdict()]}
    shown = inspected(view_of("unhealthy", health_log=log), "x")
    entry = {"Start": "1970-01-01T00:00:00Z", "End": "1970-01-01T00:00:01.500000Z", "ExitCode": 1, "Output": "no"}
    assert shown["State"]["Health"] == {"Status": "unhealthy", "FailingStreak": 2, "Log": [entry]}
    assert shown["Config"]["Healthcheck"]["Interval"] == 30 * 10**9
    assert inspected(view_of(None), "x")["State"]["Health"] is None
    assert inspected(view_of(None), "x")["Config"]["Healthcheck"] is None
