"""Docker's words: other spellings of what berth has, and answers to what has no sense here. Pure."""

from __future__ import annotations

_SAME = (
    "run", "exec", "rm", "inspect", "rename", "port", "top", "stats", "kill", "wait", "logs", "stop", "start", "restart", "prune",
)  # fmt: skip
_CONTAINER = {name: [name] for name in _SAME} | {"ls": ["ps"], "list": ["ps"], "ps": ["ps"], "remove": ["rm"]}
_GROUPS: dict[str, dict[str, list[str]]] = {
    "container": _CONTAINER,
    "sandbox": _CONTAINER | {"attach": ["attach"], "detach": ["detach"]},
    "network": {"list": ["network", "ls"], "remove": ["network", "rm"]},
    "system": {"info": ["status"], "events": ["events"], "prune": ["prune", "--networks"]},
}
_WORDS = {"ls": ["ps"], "list": ["ps"], "info": ["status"], "-v": ["--version"], "remove": ["rm"]}

_NO_IMAGES = "there are no images: a sandbox runs programs of the host, `berth run -- COMMAND`"
_NO_FILES = "sandboxes have no files of their own but a few below /etc: copy on the host"
_NO_SWARM = "there is no Swarm: networks span hosts by `berth daemon --store etcd://…`; see docs/many-hosts.md"
_NO_VOLUMES = "there are no volumes: sandboxes see the host's files"
_NO_PAUSE = "sandboxes can't be paused; `berth kill -s STOP NAME` stops its command, `-s CONT` lets it go on"
ANSWERS = {
    **dict.fromkeys(("images", "image", "rmi", "build", "builder", "buildx", "bake", "commit", "history", "tag", "search"), _NO_IMAGES),
    **dict.fromkeys(("pull", "push", "save", "load", "import", "export", "login", "logout", "manifest", "trust", "publish"), _NO_IMAGES),
    **dict.fromkeys(("cp", "diff"), _NO_FILES),
    "df": "sandboxes take no room: they have no images, volumes or files of their own but a few below /etc",
    **dict.fromkeys(("swarm", "stack", "secret"), _NO_SWARM),
    **dict.fromkeys(("volume", "volumes"), _NO_VOLUMES),
    **dict.fromkeys(("pause", "unpause"), _NO_PAUSE),
    "create": "a sandbox for a program that you start later is created by `berth sandbox create`; a network by `berth network create`",
    "update": "bounds and restart policies are given when a sandbox is made: `berth rm NAME`, and `berth run -d` with others",
    "plugin": "plugins are started on their own and found in /run/docker/plugins; see docs/drivers/plugins.md",
    "context": "berth talks to the daemon of this host only; BERTH_RUN_DIR says where its socket is",
    "checkpoint": "processes can't be saved and brought back",
    "scale": "`berth compose scale web=3` starts or removes replicas of a service",
    "watch": "files are the host's, so a service sees each change at once; nothing has to be copied",
    "serve": "`berth daemon` runs the daemon",
}
"""Commands of Docker and Compose that berth has not → why, and what to do."""
_NO_SERVICES = f"{_NO_SWARM}; `berth service` runs the daemon by systemd, `berth compose ps --services` lists services of a project"
GROUP_ANSWERS: dict[str, dict[str, str]] = {
    "container": {"attach": "`berth logs -f NAME` shows what its command prints; `berth exec -it NAME sh` gives a shell beside it"},
    "system": {"dial-stdio": "the admin socket is $BERTH_RUN_DIR/berth.sock; reach it from another host by `ssh -L`, or by api_listen"},
    "service": dict.fromkeys(("create", "inspect", "logs", "ls", "ps", "rm", "rollback", "scale", "update"), _NO_SERVICES),
    "node": dict.fromkeys(("demote", "inspect", "promote", "ps", "rm", "update"), _NO_SWARM),
}
"""Words behind a group of commands that berth has not there → why, and what to do."""
SYNONYMS = {
    "delete": "rm", "del": "rm", "destroy": "rm", "erase": "rm", "add": "create", "new": "create", "make": "create", "show": "inspect",
    "log": "logs", "shell": "exec", "ssh": "exec", "attach": "connect", "detach": "disconnect", "processes": "top", "ports": "port",
}  # fmt: skip
"""Words for commands that neither docker nor berth has → what is meant."""
COMPOSE_ANSWERS = {
    **ANSWERS,
    "bridge": "there is no Kubernetes or Helm here; `berth compose config` prints the project for what converts it",
    "attach": "`berth compose logs -f SERVICE` shows what it prints, `berth compose kill -s INT SERVICE` sends it what Ctrl-C would",
    "create": "services are created and started at once by `berth up -d`",
}
"""The same for what follows `berth compose`."""


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
    """Return what may follow *group*, one of container, sandbox and system, besides its own commands."""
    return tuple(_GROUPS.get(group, ()))
