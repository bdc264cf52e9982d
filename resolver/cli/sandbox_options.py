"""The options of a sandbox: one table, from which everything that knows them is made. Pure.

| made from it | where |
|---|---|
| the parsers of `berth run`, `exec` and `attach` | `resolver.cli.sandbox_parser` |
| the keys of `--network NAME,key=value` | `network_option`, below |
| the body of `POST /v1/sandboxes` | `sandbox_body`, below |
| the options of `berth network connect` | `resolver.cli.commands.networks` |
| the options of `berth sandbox create` | `resolver.cli.commands.sandbox_create` |
| the keys of a service in a Compose file | `resolver.cli.compose.services` |
| help, man pages, `docs/cli.md`, completion | `resolver.cli.reference`, `resolver.cli.completion` |

To add an option, add a row. A new Compose key also needs a field of `compose.project.Service` or `ServiceNetwork`.

`berth run` imports this module on its way, so it uses what `resolver.light` has and nothing else.
"""

from __future__ import annotations

from resolver.light import TYPE_CHECKING, Enum, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


class Kind(Enum):
    """How the value of an option is written, and what it becomes."""

    FLAG = "flag"
    """No value; true."""
    TEXT = "text"
    NUMBER = "number"
    LIST = "list"
    """May be repeated; a list of texts."""
    PAIRS = "pairs"
    """`KEY=VALUE`, may be repeated; an object."""
    LINKS = "links"
    """`SANDBOX[:ALIAS]`, may be repeated; an object of alias → sandbox."""
    NETWORKS = "networks"
    """`NAME[,key=value...]`, may be repeated; a list of endpoints."""
    SIZE = "size"
    """`512m`; octets."""
    DECIMAL = "decimal"
    """`1.5`; a number."""
    DURATION = "duration"
    """`30s`, or seconds; a number of seconds."""
    OPTIONAL = "optional"
    """A text behind `=`, or nothing; then true."""

    @property
    def repeats(self) -> bool:
        """Whether the option may be given more than once."""
        return self in (Kind.LIST, Kind.PAIRS, Kind.LINKS, Kind.NETWORKS)


class Scope(Enum):
    """Where the value of an option goes."""

    SANDBOX = "sandbox"
    """A field of the body of `POST /v1/sandboxes`."""
    ENDPOINT = "endpoint"
    """A field of an entry of `networks` in that body; as an option of `run` and `attach`, of the first entry."""
    ISOLATION = "isolation"
    """A field of `isolation` in that body."""
    CLIENT = "client"
    """Nowhere: the client itself acts on it."""


class Option(NamedTuple):
    """One option.

    *flags*: as options of `run`, `exec` and `attach`; none if it is only a key. *key*: its name inside `--network NAME,key=value`
    and, after `--`, as an option of `network connect`. *field*: of the API. *commands*: which commands have it. *compose*: its
    key below `services.NAME` in a Compose file, `networks.` standing for `networks.NETWORK.`. *docker*: Docker's name for it,
    None if Docker has no such thing. *completes*: what the shell completes the value with. *only*: values that it may have, any
    if there are none; *otherwise*: what is said of others.
    """

    flags: tuple[str, ...]
    meaning: str
    group: str
    field: str
    kind: Kind = Kind.TEXT
    scope: Scope = Scope.SANDBOX
    metavar: str | None = None
    default: str | None = None
    commands: tuple[str, ...] = ("run", "attach", "create")
    key: str | None = None
    compose: str | None = None
    docker: str | None = None
    completes: str | None = None
    only: tuple[str, ...] = ()
    otherwise: str = ""

    @property
    def name(self) -> str:
        """Return its long name, without dashes."""
        return next((flag for flag in self.flags if flag.startswith("--")), f"--{self.key}").removeprefix("--")

    @property
    def dest(self) -> str:
        """Return the attribute of parsed arguments that its value is in."""
        return self.name.replace("-", "_")


class Command(NamedTuple):
    """What the help of `run`, `exec` and `attach` says apart from options. *operands*: (metavar, what completes it)."""

    name: str
    operands: tuple[tuple[str, str], ...]
    usage: str
    summary: str
    description: str
    examples: tuple[str, ...]


COMMANDS = (
    Command(
        "run",
        (("COMMAND", "command"),),
        "berth run [OPTIONS] [--] COMMAND [ARG...]",
        "Run a command in a sandbox of its own.",
        "The sandbox is removed when the command ends; with -d it stays, stopped, until `berth rm`. Create networks with "
        "`berth network create`. Without --network the sandbox joins the network `default`, which is created when it is first needed.",
        ("berth run -d --name web -p 8080:80 -- python3 -m http.server 80", "berth run -- curl -s http://web/"),
    ),
    Command(
        "exec",
        (("SANDBOX", "sandbox"), ("COMMAND", "command")),
        "berth exec [OPTIONS] SANDBOX COMMAND [ARG...]",
        "Run one more command in a sandbox.",
        "SANDBOX is a name, an id, or a service of a project that `berth up` started: its first replica.",
        ("berth exec web ip address", "berth exec -it web bash"),
    ),
    Command(
        "attach",
        (),
        "berth attach --name NAME (--pid PID [--fd FD] | --netns PATH | --follow SOURCE) [OPTIONS]",
        "Adopt an existing network namespace as a sandbox.",
        "The namespace is that of a process (--pid), at a path (--netns) or behind a file descriptor (--pid and --fd). berth adds "
        "networks to it, and writes its resolv.conf, hosts and hostname files to a directory that it prints. Nothing is started; "
        "`berth detach` removes what berth added and leaves the namespace and its processes alone. With --follow the command returns at "
        "once: the sandbox waits for the program, is attached again after each restart of it with the same name, addresses and ports, "
        "and lasts until `berth detach`, over restarts of the daemon and of the host.",
        ("berth attach --name legacy --network default --pid 4711", "berth attach --name web --network front --follow podman:web"),
    ),
)

GROUPS = ("Sandbox", "Networks", "First network", "Names", "Ports", "Command", "Rights", "Files", "Bounds", "Health", "Always so")
"""The headings of the help, in order."""


def _endpoint(flags: tuple[str, ...], meaning: str, field: str, **more: Any) -> Option:
    """Return an option of an endpoint, which `network connect` has too; without *flags* only it and `--network` have it."""
    commands = ("run", "attach", "create", "connect") if flags else ("connect",)
    return Option(flags, meaning, "First network", field, scope=Scope.ENDPOINT, commands=commands, **more)


def _client(flags: tuple[str, ...], meaning: str, commands: tuple[str, ...], **more: Any) -> Option:
    """Return an option that the client itself acts on."""
    return Option(flags, meaning, "Command", "", scope=Scope.CLIENT, commands=commands, **more)


def _isolation(group: str, flags: tuple[str, ...], meaning: str, field: str, **more: Any) -> Option:
    """Return an option of `run` about what its command has of the host; Docker has it too, unless *docker* says otherwise."""
    known = {"docker": next(flag for flag in flags if flag.startswith("--")), "commands": ("run",), **more}
    return Option(flags, meaning, group, field, scope=Scope.ISOLATION, **known)


def _health(flag: str, meaning: str, metavar: str | None, **more: Any) -> Option:
    """Return an option of `run` about the health check of the command."""
    return Option((flag,), meaning, "Health", "", scope=Scope.CLIENT, commands=("run",), metavar=metavar, **more)


def _habit(flags: tuple[str, ...], meaning: str, commands: tuple[str, ...], **more: Any) -> Option:
    """Return an option of Docker that asks for what is so anyway."""
    return Option(flags, meaning, "Always so", "", kind=Kind.FLAG, scope=Scope.CLIENT, commands=commands, **more)


_LIST, _PAIRS, _NUMBER, _FLAG, _SIZE = Kind.LIST, Kind.PAIRS, Kind.NUMBER, Kind.FLAG, Kind.SIZE

# fmt: off
OPTIONS = (
    Option(("--name",), "Name of the sandbox, which resolves on its networks.", "Sandbox", "name",
           metavar="NAME", default="from the command", commands=("run", "attach"), docker="--name"),
    Option(("--pid",), "Process whose network namespace to adopt.", "Sandbox", "pid",
           kind=_NUMBER, metavar="PID", commands=("attach",)),
    Option(("--netns",), "Path of the network namespace to adopt.", "Sandbox", "netns",
           metavar="PATH", commands=("attach",), completes="file"),
    Option(("--fd",), "File descriptor of the namespace, in the process --pid.", "Sandbox", "fd",
           kind=_NUMBER, metavar="FD", commands=("attach",)),
    Option(("--follow",), "Program whose namespaces to adopt, one after the other: podman:CONTAINER, docker:CONTAINER, "
           "containerd:NAMESPACE/ID, systemd:UNIT, machine:NAME, pidfile:PATH.", "Sandbox", "follow",
           metavar="SOURCE", commands=("attach",)),
    Option(("--persist",), "Make it again after a reboot.", "Sandbox", "persist", kind=_FLAG, commands=("create",)),
    Option(("-h", "--hostname"), "Host name.", "Sandbox", "hostname",
           metavar="NAME", default="the short id", compose="hostname", docker="--hostname"),
    Option(("--domainname",), "Domain name.", "Sandbox", "domainname",
           metavar="DOMAIN", compose="domainname", docker="--domainname"),
    Option(("-l", "--label"), "Label.", "Sandbox", "labels",
           kind=_PAIRS, metavar="KEY=VALUE", compose="labels", docker="--label"),
    Option(("--sysctl",), "Kernel parameter of the sandbox's network stack.", "Sandbox", "sysctls",
           kind=_LIST, metavar="net.KEY=VALUE", compose="sysctls", docker="--sysctl"),
    Option(("--forward",), "Be a router: forward packets between the sandbox's networks.", "Sandbox", "forward",
           kind=_FLAG, compose="x-forward"),
    Option(("--egress",), "What the sandbox may reach: names, addresses, networks, all, none; @./FILE and @LIST for lists.", "Networks",
           "egress", kind=_LIST, metavar="RULE[,RULE...]", compose="x-egress"),
    Option(("--gateway",), "Let the networks replace the default route that the namespace has; it comes back on detach.", "Sandbox",
           "gateway", kind=_FLAG, commands=("attach",)),

    Option(("--network", "--net"), "Network to connect to, with settings of the endpoint.", "Networks", "networks",
           kind=Kind.NETWORKS, metavar="NAME[,key=value...]", compose="networks", docker="--network", completes="endpoint"),
    _endpoint(("--network-alias", "--net-alias"), "Additional name on the network.", "aliases",
              kind=_LIST, metavar="NAME", key="alias", compose="networks.aliases", docker="--network-alias"),
    _endpoint(("--service",), "Service that the sandbox belongs to: its name resolves to all its members, and has SRV records.", "services",
              kind=_LIST, metavar="NAME", key="service"),
    _endpoint(("--ip",), "IPv4 address.", "ip",
              metavar="ADDRESS", key="ip", compose="networks.ipv4_address", docker="--ip"),
    _endpoint(("--ip6",), "IPv6 address.", "ip6",
              metavar="ADDRESS", key="ip6", compose="networks.ipv6_address", docker="--ip6"),
    _endpoint(("--link-local-ip",), "Additional link-local address.", "link_local_ips",
              kind=_LIST, metavar="ADDRESS", key="link-local-ip", compose="networks.link_local_ips", docker="--link-local-ip"),
    _endpoint(("--mac-address",), "MAC address.", "mac_address",
              metavar="ADDRESS", key="mac-address", compose="networks.mac_address", docker="--mac-address"),
    _endpoint(("--gw-priority",), "The network with the highest number provides the default gateway.", "gw_priority",
              kind=_NUMBER, metavar="NUMBER", default="0", key="gw-priority", compose="networks.gw_priority",
              docker="--network NAME,gw-priority="),
    _endpoint((), "Name of the interface in the sandbox.", "ifname",
              metavar="NAME", key="ifname", compose="networks.interface_name",
              docker="--network NAME,driver-opt=com.docker.network.endpoint.ifname="),
    _endpoint((), "Route through a neighbour on the network.", "routes",
              kind=_LIST, metavar="DESTINATION=VIA", key="route", compose="networks.x-routes"),
    _endpoint((), "Option of the endpoint: sysctls, ifname, or a plugin's own.", "driver_opts",
              kind=_PAIRS, metavar="KEY=VALUE", key="driver-opt", compose="networks.driver_opts", docker="--network NAME,driver-opt="),
    _endpoint(("--link",), "Private alias of another sandbox on the network.", "links",
              kind=Kind.LINKS, metavar="SANDBOX[:ALIAS]", compose="links", docker="--link", completes="sandbox"),

    Option(("--dns",), "Name server, queried from the sandbox: 10.0.0.53, 10.0.0.53:5353, tcp://10.0.0.53, tls://1.1.1.1#name.",
           "Names", "dns", kind=_LIST, metavar="SERVER", default="the host's", compose="dns", docker="--dns"),
    Option(("--dns-search",), "Search domain; . for none.", "Names", "dns_search",
           kind=_LIST, metavar="DOMAIN", default="the host's", compose="dns_search", docker="--dns-search"),
    Option(("--dns-opt", "--dns-option"), "Option of resolv.conf.", "Names", "dns_options",
           kind=_LIST, metavar="OPTION", default="the host's", compose="dns_opt", docker="--dns-option"),
    Option(("--add-host",), "Line of the hosts file; the address may be host-gateway.", "Names", "extra_hosts",
           kind=_LIST, metavar="NAME:ADDRESS", compose="extra_hosts", docker="--add-host"),

    Option(("-p", "--publish"), "Publish a port on the host.", "Ports", "publish",
           kind=_LIST, metavar="[NAME=][IP:][HOST:]PORT[/PROTO]", compose="ports", docker="--publish"),
    Option(("-P", "--publish-all"), "Publish every exposed port on a free port of the host.", "Ports", "publish_all",
           kind=_FLAG, docker="--publish-all"),
    Option(("--expose",), "Port for --publish-all and for SRV records.", "Ports", "expose",
           kind=_LIST, metavar="[NAME=]PORT[/PROTO]", compose="expose", docker="--expose"),

    _client(("-e", "--env"), "Environment variable; without =VALUE, that of the caller.", ("run", "exec"),
            kind=_LIST, metavar="KEY[=VALUE]", compose="environment", docker="--env"),
    _client(("--env-file",), "File of environment variables, one on each line.", ("run", "exec"),
            kind=_LIST, metavar="FILE", compose="env_file", docker="--env-file", completes="file"),
    _client(("--env-all",), "Give the command all variables of the caller, not only PATH, HOME, USER, SHELL, TERM, LANG, LC_* and TZ.",
            ("run", "exec"), kind=_FLAG),
    _client(("--preserve-fd",), "Descriptors above 2 that the command has too; all others are closed.", ("run", "exec"),
            kind=_LIST, metavar="N[,N...]"),
    _client(("-w", "--workdir"), "Directory to run in.", ("run", "exec"), metavar="DIRECTORY",
            default="the current one; for exec, the sandbox's", compose="working_dir", docker="--workdir", completes="directory"),
    _client(("-d", "--detach"), "Return as soon as the command runs, and of run: its names resolve.", ("run", "exec"),
            kind=_FLAG, docker="--detach"),
    _client(("--index",), "Which replica of the service.", ("exec",), kind=_NUMBER, metavar="NUMBER", default="1"),
    _client(("--project",), "SANDBOX is a service of this Compose project.", ("exec",), metavar="NAME"),
    _client(("--rm",), "Keep nothing when the command ends: with -d the sandbox stays, stopped, otherwise.", ("run",),
            kind=_FLAG, docker="--rm"),
    _client(("--restart",), "When the command has ended, start it again: no, on-failure[:N], always, unless-stopped.", ("run",),
            metavar="POLICY", default="no", docker="--restart"),
    _client(("--stop-signal",), "The signal of `berth stop`.", ("run",),
            metavar="SIGNAL", default="TERM", docker="--stop-signal"),
    _client(("--stop-timeout",), "Seconds between that signal and KILL; -1 for no KILL.", ("run",),
            metavar="SECONDS", default="10", docker="--stop-timeout"),
    _isolation("Rights", ("-u", "--user"), "User and group to run as, by the host's names or numbers.", "user", metavar="USER[:GROUP]",
               default="the caller; for exec, the sandbox's", compose="user", commands=("run", "exec")),
    _isolation("Rights", ("--cap-add",), "Capability that the command may have beside the usual ones; ALL for all.", "cap_add",
               kind=_LIST, metavar="NAME", compose="cap_add"),
    _isolation("Rights", ("--cap-drop",), "Capability that it may not have; ALL for all.", "cap_drop",
               kind=_LIST, metavar="NAME", compose="cap_drop"),
    _isolation("Rights", ("--privileged",), "All capabilities, setuid programs, and all of /proc and /sys: the host is not protected.",
               "privileged", kind=_FLAG, compose="privileged", commands=("run", "exec")),
    _isolation("Rights", ("--security-opt",), "no-new-privileges=false lets setuid programs work; systempaths=unconfined masks nothing.",
               "security_options", kind=_LIST, metavar="OPTION", compose="security_opt"),
    _isolation("Rights", ("--group-add",), "Additional group, by name or number; there are no others.", "groups",
               kind=_LIST, metavar="GROUP", compose="group_add"),

    _client(("--confine",), "Run under bubblewrap: the host's files read-only, /tmp and the home empty, DIRECTORY writable.", ("run",),
            kind=Kind.OPTIONAL, metavar="DIRECTORY", default="the current one", completes="directory"),
    _isolation("Files", ("--read-only",), "Let the command write to no file but what --tmpfs and -v give.", "read_only",
               kind=_FLAG, compose="read_only"),
    _isolation("Files", ("--tmpfs",), "Directory in memory.", "tmpfs",
               kind=_LIST, metavar="PATH[:OPTIONS]", compose="tmpfs"),
    _isolation("Files", ("-v", "--volume"), "Show a file or directory of the host at another place too.", "volumes",
               kind=_LIST, metavar="SOURCE:TARGET[:ro]", compose="volumes", completes="file"),
    _isolation("Files", ("--shm-size",), "Bound of /dev/shm.", "shm_size", kind=_SIZE, metavar="SIZE", compose="shm_size"),

    _isolation("Bounds", ("--timeout",), "End the command after so long: TERM, then KILL; the exit code is 124.", "timeout",
               kind=Kind.DURATION, metavar="DURATION", docker=None),
    _isolation("Bounds", ("-m", "--memory"), "Memory that all processes of the sandbox may use.", "memory",
               kind=_SIZE, metavar="SIZE", compose="mem_limit"),
    _isolation("Bounds", ("--cpus",), "Processors that they may use.", "cpus", kind=Kind.DECIMAL, metavar="NUMBER", compose="cpus"),
    _isolation("Bounds", ("--pids-limit",), "Processes and threads that there may be.", "pids",
               kind=_NUMBER, metavar="NUMBER", compose="pids_limit"),
    _isolation("Bounds", ("--ulimit",), "Limit of each process, of getrlimit(2); -1 for none.", "ulimits",
               kind=_LIST, metavar="NAME=SOFT[:HARD]", compose="ulimits"),

    _health("--health-cmd", "Command that finds out whether all is well: it exits with 0.", "COMMAND", docker="--health-cmd"),
    _health("--health-tcp", "Port that takes connections if all is well.", "[HOST:]PORT"),
    _health("--health-http", "URL that is answered with 200 to 399 if all is well; 8080/health is short for localhost.", "URL"),
    _health("--health-interval", "Time between checks.", "DURATION", default="30s", docker="--health-interval"),
    _health("--health-timeout", "Time that one check may take.", "DURATION", default="30s", docker="--health-timeout"),
    _health("--health-retries", "Failures in a row that make it unhealthy.", "NUMBER", default="3", docker="--health-retries"),
    _health("--health-start-period", "Time to start in, whose failures do not count.", "DURATION", default="0s",
            docker="--health-start-period"),
    _health("--health-start-interval", "Time between checks in it.", "DURATION", default="5s", docker="--health-start-interval"),
    _health("--no-healthcheck", "Check nothing, as without --health options.", None, kind=_FLAG, docker="--no-healthcheck"),
    _habit(("-i", "--interactive"), "Let the command read standard input: it always can, unless detached.", ("run", "exec"),
           docker="--interactive"),
    _habit(("-t", "--tty"), "Let the command have the terminal: it always has, unless detached.", ("run", "exec"), docker="--tty"),
    _habit(("-T", "--no-tty", "--no-TTY"), "Make no terminal of its own: none ever is.", ("exec",)),
    _client(("--dry-run",), "Print the steps and change nothing.", ("run", "attach", "create"), kind=_FLAG),
    _client(("--format",), "How to print: table or json.", ("attach",), metavar="FORMAT", default="table", only=("table", "json"),
            otherwise="it should be table or json"),
)
# fmt: on

_KEYS = {option.key: option for option in OPTIONS if option.key}


class BadOption(ValueError):
    """The value of an option can't be read. Its text is for the user."""


def of_command(command: str) -> tuple[Option, ...]:
    """Return the options of `berth` *command* (run, exec, attach), `connect`'s or `create`'s for `network connect` or `sandbox create`."""
    return tuple(option for option in OPTIONS if command in option.commands)


def flags_of(option: Option, command: str) -> tuple[str, ...]:
    """Return how *option* is written for *command*. Only for `run` is -h the host name, as with Docker; elsewhere it is help."""
    if command == "connect":
        return (f"--{option.key or option.name}",)
    return tuple(flag for flag in option.flags if flag != "-h" or command == "run")


def help_flags(command: str) -> tuple[str, ...]:
    """Return how *command* is asked for its help."""
    return ("--help",) if command == "run" else ("-h", "--help")


def is_required(option: Option, command: str) -> bool:
    """Return whether *command* needs *option*: nothing else gives an adopted namespace a name."""
    return command == "attach" and option.name == "name"


def value_of(option: Option, texts: Iterable[str]) -> Any:
    """Return what *texts* mean as the value of *option* in a body: one text, or all that were given if it repeats."""
    given = list(texts)
    match option.kind:
        case Kind.LIST:
            return given
        case Kind.PAIRS:
            return dict(_pair(text) for text in given)
        case Kind.LINKS:
            return dict(link_option(text) for text in given)
        case Kind.NETWORKS:
            return [network_option(text) for text in given]
        case Kind.NUMBER:
            try:
                return int(given[-1])
            except ValueError as error:
                raise BadOption(f"{option.name} must be a number, not {given[-1]!r}") from error
        case Kind.TEXT | Kind.OPTIONAL:
            return given[-1]
        case Kind.FLAG:
            return True
        case Kind.SIZE | Kind.DECIMAL | Kind.DURATION:
            return _measure(option, given[-1])


def _measure(option: Option, text: str) -> float:
    """Return the size, number or time that *text* means."""
    if option.kind is Kind.SIZE:
        from resolver.isolation.bounds import size_of

        try:
            return size_of(text)
        except ValueError as error:
            raise BadOption(f"{option.name}: {error}") from error
    try:
        return float(text)
    except ValueError as error:
        if option.kind is Kind.DURATION:
            from resolver.cli.duration import seconds_of

            seconds = seconds_of(text)
            if seconds is not None:
                return seconds
        what = "a time such as 30s or 1m30s" if option.kind is Kind.DURATION else "a number"
        raise BadOption(f"{option.name} must be {what}, not {text!r}") from error


def link_option(text: str) -> tuple[str, str]:
    """Return (alias, sandbox) of a `--link SANDBOX[:ALIAS]`, or of an entry of `links` in a Compose file."""
    target, _, alias = text.partition(":")
    return alias or target, target


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def network_option(text: str) -> dict[str, Any]:
    """Return the endpoint that `--network NAME[,key=value...]` asks for; `name=NAME` first is Docker's long form."""
    first, *rest = text.split(",")
    texts: dict[str, list[str]] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or key not in _KEYS:
            raise BadOption(f"--network {text}: {part!r} is not one of {', '.join(f'{known}=' for known in _KEYS)}")
        texts.setdefault(key, []).append(value)
    endpoint: dict[str, Any] = {"network": first.removeprefix("name=")}
    for key, given in texts.items():
        option = _KEYS[key]
        try:
            endpoint[option.field] = value_of(option, given)
        except BadOption as error:
            raise BadOption(f"--network {text}: {error}") from error
    return endpoint


def sandbox_body(values: Mapping[str, Any], *, default_network: str | None = None) -> dict[str, Any]:
    """Return the body of `POST /v1/sandboxes` that *values* mean: `Option.dest` → what was given, None or empty if nothing was.

    *default_network*: what options of an endpoint are about where no network is named.
    """
    body: dict[str, Any] = {"networks": []}
    of_first_network: list[tuple[Option, Any]] = []
    for option in OPTIONS:
        given = values.get(option.dest)
        if given is None or given is False or given == []:
            continue
        value = value_of(option, given if option.kind.repeats else [given])
        if option.scope is Scope.SANDBOX:
            body[option.field] = value
        elif option.scope is Scope.ISOLATION:
            body.setdefault("isolation", {})[option.field] = value
        elif option.scope is Scope.ENDPOINT:
            of_first_network.append((option, value))
    for option, value in of_first_network:
        if not body["networks"] and default_network is not None:
            body["networks"] = [{"network": default_network}]
        if not body["networks"]:
            raise BadOption(f"--{option.name} needs a --network: it is about the sandbox's endpoint there")
        first = body["networks"][0]
        match option.kind:
            case Kind.LIST:
                first[option.field] = [*first.get(option.field, []), *value]
            case _:
                first[option.field] = value
    return body
