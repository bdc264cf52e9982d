"""The shapes of the admin API: what comes in (`*Body`) and what goes out (`*View`). Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from resolver.daemon.egress_shapes import EgressChange
from resolver.daemon.record_shapes import RecordBody, RecordView
from resolver.daemon.tap_shapes import TapShape


class PortView(msgspec.Struct, frozen=True):
    """A published port."""

    protocol: str
    host_address: str
    host_port: int
    sandbox_port: int


class EndpointView(msgspec.Struct, frozen=True):
    """A sandbox's endpoint on one network. *gateway*: a default route of the sandbox leads over it.

    *gateway_addresses*: those of the network's gateways in its subnets; none on an internal network.
    """

    id: str
    network: str
    network_id: str
    ifname: str
    host_ifname: str
    mac: str
    addresses: list[str]
    link_local: list[str]
    names: list[str]
    gateway_priority: int
    gateway: bool
    gateway_addresses: list[str]
    routes: list[str]
    ports: list[PortView]
    told_by_plugin: dict[str, Any] = {}
    tap: TapShape | None = None


class ProcessView(msgspec.Struct, frozen=True):
    """A process. *start_time*: in clock ticks since boot, which tells another process with the same pid apart (proc(5))."""

    pid: int
    start_time: int


class RunView(msgspec.Struct, frozen=True):
    """A command that was started to stay. *state*: running, restarting (it waits to be started again) or exited.

    *exit_code*: of the last command that ended, *started* and *ended* in seconds since the epoch. *restarts*: how often it was started
    again by its policy *restart*. *output*: the newest file with what it printed; older ones have .1, .2 behind their name. *due*: its
    policy starts it, as this daemon has started; `berth start --due` does that.
    """

    state: str
    command: list[str]
    restart: str
    restarts: int
    stop_signal: str
    stop_timeout: float
    remove: bool
    exit_code: int | None
    started: float
    ended: float | None
    output: str
    due: bool = False


class HealthCheckView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the command in a sandbox is asked whether it is well; times in seconds.

    *test*: CMD and words, CMD-SHELL and a line, TCP and HOST:PORT, HTTP and a URL. *interval*: between checks, *start_interval* in its
    place while it starts; *timeout*: of one check; *retries*: failures in a row that make it unhealthy, not counted in *start_period*.
    """

    test: list[str]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


class IsolationView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a command in a sandbox has of the host beside the network, in Docker's words; nothing means the default.

    *user*: `USER[:GROUP]`; *groups*: additional ones. *confine*: the directory that is writable under bubblewrap, "": not confined.
    *memory*, *shm_size*: in octets; *timeout*: in seconds; 0: without bound.
    """

    cap_add: list[str] = []
    cap_drop: list[str] = []
    privileged: bool = False
    security_options: list[str] = []
    user: str = ""
    groups: list[str] = []
    read_only: bool = False
    tmpfs: list[str] = []
    volumes: list[str] = []
    confine: str = ""
    memory: int = 0
    cpus: float = 0.0
    pids: int = 0
    ulimits: list[str] = []
    shm_size: int = 0
    timeout: float = 0.0


class SandboxView(msgspec.Struct, frozen=True):
    """*adopted*: its network namespace is somebody else's. *leader*: the process whose namespaces `berth exec` enters.

    *directory*: holds what belongs to this sandbox alone; *files*: holds its hosts, resolv.conf and hostname files. *by_name*: leads
    there by its name, and to its namespace as `netns`. *follows*: the program whose namespaces it has, "" if it keeps its own; *waits*:
    that has none now. *persists*: it is made again after a reboot.

    *stack*: own, none, host or container; *shared_with*: name of the sandbox whose network stack it shares. *ended*: removed,
    except for its network stack, which others share. *environment*: proxy settings for the commands in it.
    *pid*: the command inside, or the process that it was adopted from; 0: none. *owner_pid*: the process outside with which it ends.
    *run*: of one that stays when its command has ended. While that does not run, *directory* and *run* alone tell of what exists,
    and *networks* of what it will be on. *health*: starting, healthy or unhealthy; null without a *health_check*.

    *hides*: directories and files of the host that its commands don't see. *withheld*: capabilities that none of them has, as it has egress
    rules, from wherever. *isolation*: what they have of the host else.
    """

    id: str
    name: str
    hostname: str
    domainname: str
    netns: str
    directory: str
    files: str
    adopted: bool
    leader: ProcessView | None
    forward: bool
    stack: str
    shared_with: str
    ended: bool
    environment: dict[str, str]
    egress: list[str] | None
    pid: int
    owner_pid: int | None
    origin: str
    labels: dict[str, str]
    networks: list[str]
    addresses: list[str]
    names: list[str]
    endpoints: list[EndpointView]
    created: float
    warnings: list[str] = []
    run: RunView | None = None
    health: str | None = None
    health_check: HealthCheckView | None = None
    by_name: str = ""
    follows: str = ""
    waits: bool = False
    persists: bool = False
    hides: list[str] = []
    withheld: list[str] = []
    isolation: IsolationView = IsolationView()


class PoolView(msgspec.Struct, frozen=True):
    """One subnet of a network. *in_use*: how many of its addresses are taken."""

    subnet: str
    ip_range: str | None
    gateway: str | None
    auxiliary: dict[str, str]
    in_use: int


class MemberView(msgspec.Struct, frozen=True):
    """An endpoint of a network. *node*: the host that it is on, if that is another one."""

    sandbox: str
    sandbox_id: str
    addresses: list[str]
    mac: str
    node: str = ""


class NodeView(msgspec.Struct, frozen=True):
    """A host of the cluster. *address*: where others send it VXLAN packets; *own*: it is the one that answers."""

    id: str
    name: str
    address: str
    endpoints: int
    own: bool


class NetworkView(msgspec.Struct, frozen=True):
    """*scope*: local, or global for a network that spans hosts. *link*: of the host, empty if there is none.

    *records*: its static names, below the network.
    """

    id: str
    name: str
    driver: str
    scope: str
    internal: bool
    ipv4: bool
    ipv6: bool
    link: str
    mtu: int
    ipam_driver: str
    pools: list[PoolView]
    options: dict[str, str]
    labels: dict[str, str]
    routes: list[str]
    egress: list[str] | None
    members: list[MemberView]
    created: float
    records: list[RecordView] = []
    warnings: list[str] = []


class PlanView(msgspec.Struct, frozen=True):
    """What a dry run would do."""

    steps: list[str]
    warnings: list[str] = []


class OutcomeView(msgspec.Struct, frozen=True):
    """What an operation without an object of its own did."""

    done: str
    warnings: list[str] = []


class ErrorBody(msgspec.Struct, frozen=True):
    """*kind*: which sort of error; *object*: the field, object or capability that it is about, empty if there is none."""

    kind: str
    object: str
    message: str


class ErrorView(msgspec.Struct, frozen=True):
    error: ErrorBody


class ResolveView(msgspec.Struct, frozen=True):
    """*source*: where the answer comes from; *explanation*: why, a line each; *reason*: why the look-up failed, if it did."""

    name: str
    type: str
    rcode: str
    source: str
    records: list[RecordView]
    explanation: list[str]
    reason: str | None = None


class UpstreamView(msgspec.Struct, frozen=True):
    """*state*: ok, down or looping. *rtt_ms*: smoothed round-trip time, 0 if it is not known."""

    address: str
    namespace: str
    state: str
    rtt_ms: float
    queries: int
    failures: int


class StatusView(msgspec.Struct, frozen=True):
    """*queries*: received since the start. *nameservers*: those of the host's *resolv_conf*. *warnings*: problems that need attention.

    *dropped*: packets that the firewall dropped because a sandbox may not send them, by sandbox; since the tables were written.
    *spares*: namespaces that are ready for sandboxes to come.
    *guard*: what keeps networks closed while the firewall tables are gone withstands: "lasting", "while berth runs",
    "deleted tables only", "held by another process", or "none".
    """

    version: str
    pid: int
    exits_when_idle: bool
    uptime_seconds: float
    networks: int
    sandboxes: int
    queries: int
    resolv_conf: str
    nameservers: list[str]
    upstreams: list[UpstreamView]
    firewall: str
    guard: str
    warnings: list[str]
    dropped: dict[str, int] = {}
    spares: int = 0


class HealthView(msgspec.Struct, frozen=True):
    """*status*: ok, starting, or read-only: names are answered and traffic goes on, but changes are refused; `/v1/status` says why."""

    status: str


class EventView(msgspec.Struct, frozen=True):
    """*action* happened to the *kind* (network, sandbox, endpoint or node) called *name*. *node*: on another host.

    *id*: of the network or sandbox; of an endpoint, of its sandbox. *cause*: why a sandbox or network was removed: request, command
    ended, owner ended, or pruned. *exit_code*: of the command that had been started in a sandbox, if it is known.
    *network_id*: of the network of an endpoint. *detail*: of what egress rules refuse, which and why.
    """

    time: float
    kind: str
    action: str
    name: str
    network: str | None = None
    node: str | None = None
    id: str = ""
    cause: str | None = None
    exit_code: int | None = None
    network_id: str | None = None
    detail: str | None = None


class PrunedView(msgspec.Struct, frozen=True):
    """*removed*: names of networks, or of sandboxes."""

    removed: list[str]


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of an endpoint, wherever one is asked for."""

    aliases: list[str] = []
    services: list[str] = []
    links: dict[str, str] = {}
    ip: str | None = None
    ip6: str | None = None
    link_local_ips: list[str] = []
    mac_address: str | None = None
    gw_priority: int = 0
    ifname: str | None = None
    routes: list[str] = []
    driver_opts: dict[str, str] = {}


class EndpointBody(EndpointSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    network: str
    tap: TapShape | None = None


class ConnectBody(EndpointSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    sandbox: str


class DisconnectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sandbox: str


class NetworkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    driver: str = "bridge"
    internal: bool = False
    ipv4: bool | None = None
    ipv6: bool | None = None
    subnets: list[str] = []
    ip_ranges: list[str] = []
    gateways: list[str] = []
    auxiliary: dict[str, str] = {}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    routes: list[str] = []
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    records: list[RecordBody] = []
    egress: list[str | dict[str, Any]] | None = None
    owner_pid: int | None = None


class PruneBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which networks without endpoints, or which stopped sandboxes, to remove.

    With all of *labels*, none of *other_labels* (KEY or KEY=VALUE), made before *until*."""

    labels: list[str] = []
    other_labels: list[str] = []
    until: float | None = None


class ProcessBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command that the caller starts in a sandbox which stays when the command has ended.

    *environment*: of the caller; *explicit*: variables that win over those of the sandbox. *directory_required*: it is an error if
    *directory* can't be entered. *restart*: no, always, unless-stopped, on-failure or on-failure:N. *remove*: keep nothing at its end.
    """

    command: list[str]
    environment: dict[str, str] = {}
    explicit: dict[str, str] = {}
    directory: str = "/"
    directory_required: bool = False
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    restart: str = "no"
    remove: bool = False


class StartBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*owner_pid*: the process that will start the command: the sandbox stops when that ends."""

    owner_pid: int


class StartView(msgspec.Struct, frozen=True):
    """A sandbox that is there again, and the command that the caller is to start in it."""

    sandbox: SandboxView
    process: ProcessBody


class StopBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*timeout*: seconds between the stop signal and KILL; *signal*: the stop signal. null: as the command was started with."""

    timeout: float | None = None
    signal: str | None = None


class SandboxBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*netns* (a path), *pid* or *pid* with *fd*: what to adopt; none of them: make a namespace.

    *gateway*: replace the default route that the adopted namespace has. *default_network*: if *networks* is empty, connect to the
    network `default`; it is made when it is first needed, also by *networks*. *process*: the sandbox stays, stopped, when this
    command has ended. *health_check*: the caller carries it out and tells what it finds. *follow*: adopt the namespaces of this
    program, one after the other: podman:CONTAINER, docker:CONTAINER, containerd:NAMESPACE/ID, systemd:UNIT, machine:NAME or
    pidfile:PATH. *persist*: make it again after a reboot.
    """

    name: str
    netns: str | None = None
    pid: int | None = None
    fd: int | None = None
    owner_pid: int | None = None
    hostname: str = ""
    domainname: str = ""
    networks: list[EndpointBody] = []
    default_network: bool = False
    dns: list[str] = []
    dns_search: list[str] = []
    dns_options: list[str] = []
    extra_hosts: list[str] = []
    publish: list[str] = []
    expose: list[str] = []
    publish_all: bool = False
    forward: bool = False
    gateway: bool = False
    sysctls: list[str] = []
    egress: list[str | dict[str, Any]] | None = None
    labels: dict[str, str] = {}
    process: ProcessBody | None = None
    health_check: HealthCheckView | None = None
    follow: str = ""
    persist: bool = False
    isolation: IsolationView = IsolationView()


class SandboxChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*leader_pid*: a child of the caller whose namespaces further commands enter, and which ends when the sandbox is removed.

    *restarting*: the command has ended with this exit code, and its owner will start it again. *start_no_more*: it is not to, as
    somebody is about to end the command. *health*: what its health check has found: starting, healthy or unhealthy.
    """

    egress: EgressChange | None = None
    name: str | None = None
    owner_pid: int | None = None
    leader_pid: int | None = None
    restarting: int | None = None
    start_no_more: bool = False
    health: str | None = None


class ResolveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    type: str = "A"
    sandbox: str | None = None
