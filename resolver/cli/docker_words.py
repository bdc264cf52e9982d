"""Docker's words: other spellings of what berth has, and answers to what has no sense here. Pure."""

from __future__ import annotations

_SAME = (
    "run", "exec", "rm", "inspect", "rename", "port", "top", "stats", "kill", "wait", "logs", "stop", "start", "restart", "prune",
)  # fmt: skip
_CONTAINER = {name: [name] for name in _SAME} | {"ls": ["ps"], "list": ["ps"], "ps": ["ps"], "remove": ["rm"]}
_GROUPS: dict[str, dict[str, list[str]]] = {
    "container": _CONTAINER,
    "network": {"list": ["network", "ls"], "remove": ["network", "rm"]},
    "system": {"info": ["status"], "events": ["events"], "prune": ["prune", "--networks"]},
}
_WORDS = {"ls": ["ps"], "list": ["ps"], "info": ["status"], "-v": ["--version"], "remove": ["rm"]}

_NO_IMAGES = "there are no images: a sandbox runs programs of the host, `berth run -- COMMAND`"
_NO_FILES = "sandboxes have no files of their own but a few below /etc: copy on the host"
_NO_SWARM = "there is no Swarm: networks span hosts by `berth daemon --store etcd://…`; see docs/many-hosts.md"
_NO_VOLUMES = "there are no volumes: sandboxes see the host's files"
_NO_PAUSE = "sandboxes can't be paused; `berth kill -s STOP NAME` stops its command, `-s CONT` lets it go on"
_BOUNDED = "the last 30 MB of output are kept in files, for `berth logs`; nothing else takes it, so leave it out"
ANSWERS = {
    **dict.fromkeys(("images", "image", "rmi", "build", "builder", "buildx", "bake", "commit", "history", "tag", "search"), _NO_IMAGES),
    **dict.fromkeys(("pull", "push", "save", "load", "import", "export", "login", "logout", "manifest", "trust", "publish"), _NO_IMAGES),
    **dict.fromkeys(("cp", "diff"), _NO_FILES),
    "df": "sandboxes take no room: they have no images, volumes or files of their own but a few below /etc",
    **dict.fromkeys(("swarm", "stack", "secret"), _NO_SWARM),
    **dict.fromkeys(("volume", "volumes"), _NO_VOLUMES),
    **dict.fromkeys(("pause", "unpause"), _NO_PAUSE),
    "create": "a sandbox is created and started at once by `berth run -d`; a network is created by `berth network create`",
    "update": "sandboxes have no limits to change; `berth rename` and `berth network connect` change what they have",
    "plugin": "plugins are started on their own and found in /run/docker/plugins; see docs/drivers/plugins.md",
    "context": "berth talks to the daemon of this host only; BERTH_RUN_DIR says where its socket is",
    "checkpoint": "processes can't be saved and brought back",
    "scale": "write `scale:` of the service in the Compose file, then `berth down` and `berth up`",
    "watch": "files are the host's, so a service sees each change at once; nothing has to be copied",
    "serve": "`berth daemon` runs the daemon",
}
"""Commands of Docker and Compose that berth has not → why, and what to do."""
COMPOSE_ANSWERS = {
    **ANSWERS,
    "attach": "`berth up` without -d shows the output of all services",
    "create": "services are created and started at once by `berth up -d`",
}
"""The same for what follows `berth compose`."""

_LIMITS = "there are no limits on resources; run the command by `systemd-run --scope -p …`, or `berth attach` what another runtime made"
_RIGHTS = "a command has the rights of who runs berth; use setpriv or `su` in the command, or `berth attach` what another runtime made"
_BOUND = "files can't be bound: the command sees the host's files where they are"
OPTION_ANSWERS = {
    **dict.fromkeys(("-v", "--volume", "--mount", "--volumes-from", "--tmpfs"), _BOUND),
    **dict.fromkeys(("-m", "--memory", "--cpus", "-c", "--cpu-shares", "--cpuset-cpus", "--pids-limit", "--ulimit", "--shm-size",
                     "--memory-swap", "--blkio-weight", "--device", "--gpus"), _LIMITS),
    **dict.fromkeys(("-u", "--user", "--privileged", "--cap-add", "--cap-drop", "--security-opt", "--read-only", "--userns",
                     "--group-add"), _RIGHTS),
    **dict.fromkeys(("--pull", "--platform", "--disable-content-trust"), _NO_IMAGES),
    "--entrypoint": "there are no images, so the whole command is written after the options",
    "-a": "the streams of the caller are the command's; leave it out",
    "--ipc": "IPC is the host's",
    "--pid": "each sandbox has processes of its own; `berth exec` joins them",
    "--log-driver": _BOUNDED,
    "--log-opt": _BOUNDED,
    "--cidfile": "`berth run -d` prints the name; write it to a file with >",
    "--detach-keys": "nothing stands between the terminal and the command; Ctrl-C is the command's",
}  # fmt: skip
"""Options of `docker run` and `exec` that berth has not → why, and what to do."""

_NO_SIZE = "sandboxes have no files of their own, so there is no size"
_AFTER = "it comes after the command, as in `berth up {0}`, or after compose, as in `berth compose {0} up`"
_WHOLE = "it is about the whole project; -f and --profile choose what belongs to it"
_NO_INGRESS = "every network is there for all hosts that can have it; leave it out"
OTHER_OPTION_ANSWERS = {
    "berth": {
        "-f": _AFTER.format("-f FILE"),
        "--file": _AFTER.format("-f FILE"),
        "-p": _AFTER.format("-p NAME"),
        "--profile": _AFTER.format("--profile NAME"),
        "-H": "the socket is $BERTH_RUN_DIR/berth.sock",
    },
    "berth up": {
        "--build": _NO_IMAGES,
        "--pull": _NO_IMAGES,
    },
    "berth down": {
        "--rmi": _NO_IMAGES,
    },
    "berth ps": {"-s": _NO_SIZE, "--size": _NO_SIZE},
    "berth inspect": {"-s": _NO_SIZE, "--size": _NO_SIZE},
    "berth network create": {"--scope": _NO_INGRESS, "--ingress": _NO_INGRESS},
    "berth network disconnect": {"-f": "nothing has to be forced; leave it out", "--force": "nothing has to be forced; leave it out"},
}
"""The same for options of other commands, by command."""
OPERAND_ANSWERS = {"berth down": _WHOLE}
"""What is said of operands where a command takes none, by command."""


def translated(arguments: list[str]) -> list[str]:
    """Return *arguments* with Docker's spelling of the command replaced by berth's; `help X` is `X --help`."""
    match arguments:
        case ["help", *words]:
            return [*translated(words), "--help"]
        case [group, word, *rest] if word in _GROUPS.get(group, ()):
            return [*_GROUPS[group][word], *rest]
        case ["container" | "system", "--help" | "-h"] | ["container" | "system"]:
            return ["--help"]
        case [word, *rest] if word in _WORDS:
            return [*_WORDS[word], *rest]
    return arguments


def spellings() -> tuple[str, ...]:
    """Return the words that may stand first, beside berth's own."""
    return ("help", "compose", "container", "system", *(word for word in _WORDS if not word.startswith("-")))


def words_of(group: str) -> tuple[str, ...]:
    """Return what may follow *group*, container or system."""
    return tuple(_GROUPS.get(group, ()))
