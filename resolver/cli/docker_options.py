"""Options of docker's commands that berth does nothing for: one table for all commands. Pure.

Where what an option asks for is so anyway it is accepted, and the help lists it below "Always so". Any other is answered in a line:
why berth has it not, and what to do. `--option=false` is accepted for each: that is how it is without it.
To add an option, add a row. `tests/unit/resolver/test_docker_options.py` has every option of docker's reference.
"""

from __future__ import annotations

from typing import NamedTuple

from resolver.cli.docker_words import ANSWERS
from resolver.cli.sandbox_options import Kind, Option, Scope

GROUP = "Always so"
"""The heading in the help of what is accepted."""


class Habit(NamedTuple):
    """One option. *meaning*: for the help, "" if it is not accepted. *answer*: what is said of it, or of values that are not accepted.

    *metavar*: None if it takes no value. *only*: values that are accepted, all if there are none.
    """

    flags: tuple[str, ...]
    meaning: str
    answer: str
    metavar: str | None
    only: tuple[str, ...]

    @property
    def is_accepted(self) -> bool:
        """Return whether it is accepted, at least with some values."""
        return bool(self.meaning)

    def accepts(self, value: str) -> bool:
        """Return whether it is accepted with this *value*; that of an option that takes none is true or false."""
        if self.metavar is None and value == "false" and not self.only:
            return True
        return self.is_accepted and (not self.only or value in self.only)


def _so(flags: str, meaning: str, metavar: str | None = None, only: tuple[str, ...] = (), otherwise: str = "") -> Habit:
    """Return an option that is accepted. *otherwise*: what is said of values that are not *only*."""
    return Habit(tuple(flags.split()), meaning, otherwise, metavar, only)


def _no(flags: str, answer: str, metavar: str | None = None) -> Habit:
    """Return an option that is answered."""
    return Habit(tuple(flags.split()), "", answer, metavar, ())


def _each(flags: str, answer: str, metavar: str | None = None) -> tuple[Habit, ...]:
    """Return an option for each of *flags*, all with the same answer."""
    return tuple(_no(flag, answer, metavar) for flag in flags.split())


_NO_IMAGES = ANSWERS["images"]
_BOUND = "`-v SOURCE:TARGET[:ro]` binds a file or directory of the host, and `--tmpfs PATH` makes one in memory"
_LIMITS = "-m, --cpus, --pids-limit and --ulimit are the bounds that there are; for others run berth by `systemd-run --scope -p …`"
_OUTPUT = "the last 30 MB of output are kept in files, for `berth logs`; nothing else takes it, so leave it out"
_KEYS = "nothing stands between the terminal and the command; Ctrl-C is the command's"
_NO_SIZE = "sandboxes have no files of their own, so there is no size"
_AFTER = "it comes after the command, as in `berth up {0}`, or after compose, as in `berth compose {0} up`"
_ONE_DAEMON = "berth talks to the daemon of this host only; BERTH_RUN_DIR says where its socket is"
_CHECKPOINT = "processes can't be saved and brought back"
_ATTACH = "`berth attach` adopts a network namespace; what docker attach shows, `berth logs -f` prints"
_CONFIG = "there are no networks that are only a configuration: give each network its options"

_RUN = (
    *_each("--mount --volumes-from --volume-driver", _BOUND, "…"),
    *_each("--memory-reservation --memory-swap --memory-swappiness --kernel-memory -c --cpu-shares --cpu-period "
           "--cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-count --cpu-percent --cpuset-cpus --cpuset-mems "
           "--blkio-weight --blkio-weight-device --device-read-bps --device-read-iops --device-write-bps --device-write-iops "
           "--io-maxbandwidth --io-maxiops --cgroup-parent", _LIMITS, "…"),
    _no("--oom-kill-disable", _LIMITS),
    _no("--oom-score-adj", "run the command by `choom -n NUMBER -- COMMAND`", "NUMBER"),
    _no("--device", "the command sees the host's devices where they are, with the rights of its user; leave it out", "DEVICE"),
    _no("--device-cgroup-rule", "a command has the rights of its user to the host's devices; leave it out", "RULE"),
    _no("--gpus", "the command sees the host's devices where they are, GPUs too; leave it out", "…"),
    _so("--userns", "User namespace: the host's, but with --confine.", "host", ("host",), "--confine makes a user namespace"),
    _so("--ipc", "IPC namespace: its own.", "private", ("private",), "each sandbox has an IPC namespace of its own; leave it out"),
    _so("--cgroupns", "Cgroup namespace: its own.", "private", ("private",), "each sandbox has one of its own; leave it out"),
    _so("--isolation", "Technology of isolation: Linux has one.", "default", ("default",), "that is of Windows; leave it out"),
    _no("--uts", "each sandbox has a host name of its own; `--hostname $(hostname)` gives it that of the host", "host"),
    _no("--pid", "each sandbox has processes of its own; `berth exec` joins them", "…"),
    _so("--pull", "Pull images: there are none.", "never", ("never",), _NO_IMAGES),
    _so("-q --quiet", "Do not tell what is pulled: nothing is."),
    _so("--disable-content-trust", "Do not verify images: there are none."),
    _no("--platform", _NO_IMAGES, "…"),
    _no("--entrypoint", "there are no images, so the whole command is written after the options", "COMMAND"),
    _so("--sig-proxy", "Hand signals on to the command: they always are.", only=("true",),
        otherwise="signals to berth in the foreground always go to the command; with -d there is nothing that could hand them on"),
    _no("-a --attach", "the streams of the caller are the command's; leave it out", "STREAM"),
    _so("--log-driver", "Keep output in files, as with -d always.", "json-file|local", ("json-file", "local"), _OUTPUT),
    _no("--log-opt", _OUTPUT, "…"),
    _no("--cidfile", "`berth run -d` prints the name; write it to a file with >", "FILE"),
    _no("--detach-keys", _KEYS, "KEYS"),
    _no("--runtime", "berth itself starts the command; what another runtime made can be adopted by `berth attach`", "NAME"),
    _no("--annotation", "annotations are for other runtimes; `--label KEY=VALUE` keeps a note", "KEY=VALUE"),
    _no("--label-file", "write each of its lines as `--label KEY=VALUE`", "FILE"),
    _no("--storage-opt", "sandboxes have no files of their own, so there is no storage to choose", "…"),
    _no("--use-api-socket", "who has the admin socket can do everything, so it is hidden; `-v /run/berth:/run/berth` shows it"),
    _so("--init", "Have an init reap what is left: there always is one."),
)  # fmt: skip

HABITS: dict[str, tuple[Habit, ...]] = {
    "": (
        _no("-f --file", _AFTER.format("-f FILE"), "FILE"),
        _no("-p --project-name", _AFTER.format("-p NAME"), "NAME"),
        _no("--profile", _AFTER.format("--profile NAME"), "NAME"),
        _no("-H --host", "the socket is $BERTH_RUN_DIR/berth.sock", "SOCKET"),
        _so("-c --context", "Daemon to talk to: that of this host.", "default", ("default",), _ONE_DAEMON),
        _no("-D --debug", "`berth daemon --log-level debug` tells more; the command itself has nothing more to tell"),
        _no("-l --log-level", "`berth daemon --log-level LEVEL` says how much the daemon logs", "LEVEL"),
        _no("--config", "the command has no configuration; `berth daemon --config FILE` has that of the daemon", "…"),
        *_each("--tls --tlsverify", "the socket is a file of this host and needs no TLS; see api_listen in docs/configuration.md"),
        *_each("--tlscacert --tlscert --tlskey",
               "the socket is a file of this host and needs no TLS; see api_listen in docs/configuration.md", "FILE"),
    ),
    "run": _RUN,
    "exec": (
        _no("--detach-keys", _KEYS, "KEYS"),
    ),
    "attach": (
        _no("--no-stdin", _ATTACH),
        _no("--sig-proxy", _ATTACH),
        _no("--detach-keys", _ATTACH, "KEYS"),
    ),
    "ps": (_no("-s --size", _NO_SIZE),),
    "inspect": (_no("-s --size", _NO_SIZE),),
    "logs": (_so("--details", "Also what a log driver was told to add: nothing."),),
    "start": (
        _no("--checkpoint", _CHECKPOINT, "NAME"),
        _no("--checkpoint-dir", _CHECKPOINT, "DIRECTORY"),
        _no("--detach-keys", _KEYS, "KEYS"),
    ),
    "rm": (
        _so("-v --volumes", "Remove its volumes: it has none."),
        _no("-l --link", "links go with their sandbox, or with `berth network disconnect`"),
    ),
    "prune": (
        _so("-a --all", "Also images that nothing uses: there are none."),
        _so("--volumes", "Also volumes that nothing uses: there are none."),
    ),
    "stats": (_so("-a --all", "Also those that do not run: they are always shown."),),
    "up": (
        _so("--build", "Build images first: there are none."),
        _so("--pull", "Pull images first: there are none.", "POLICY"),
    ),
    "down": (_so("--rmi", "Remove images too: there are none.", "TYPE"),),
    "network create": (
        _so("--attachable", "Let anybody connect: everybody may."),
        _no("--scope", "every network is there for all hosts that can have it; leave it out", "SCOPE"),
        _no("--ingress", "every network is there for all hosts that can have it; leave it out"),
        _no("--config-only", _CONFIG),
        _no("--config-from", _CONFIG, "NETWORK"),
    ),
    "network disconnect": (_so("-f --force", "Disconnect in any case: nothing has to be forced."),),
    "network inspect": (_so("-v --verbose", "Show everything: it always is shown."),),
}  # fmt: skip
"""Command, as it is typed after berth → its options."""


def find(command: str, flag: str) -> Habit | None:
    """Return what is known of the option *flag* of `berth` *command*, None if docker has no such thing or berth has it."""
    return next((habit for habit in HABITS.get(command, ()) if flag in habit.flags), None)


def accepted(command: str) -> tuple[Habit, ...]:
    """Return the options that `berth` *command* accepts because they ask for what is so anyway."""
    return tuple(habit for habit in HABITS.get(command, ()) if habit.is_accepted)


def option_of(habit: Habit) -> Option:
    """Return the row of the table of options for *habit*, which is accepted and does nothing."""
    kind = Kind.FLAG if habit.metavar is None else Kind.TEXT
    return Option(
        habit.flags, habit.meaning, GROUP, "", kind=kind, scope=Scope.CLIENT, metavar=habit.metavar, docker=habit.flags[-1],
        only=habit.only, otherwise=habit.answer,
    )  # fmt: skip


def without_accepted(arguments: list[str]) -> list[str]:
    """Return the *arguments* of berth without the options before the command that are accepted."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        flag, equals, value = rest[0].partition("=")
        habit = find("", flag)
        words = 1 if equals or habit is None or habit.metavar is None else 2
        if habit is None or not habit.accepts(value if equals else "".join(rest[1:words])):
            break
        del rest[:words]
    return rest


def answer(command: str, flag: str, value: str | None = None) -> str:
    """Return what is said of the option *flag* of `berth` *command*, or of its *value*; "" if nothing is to be said."""
    habit = find(command, flag)
    if habit is None or (value is not None and habit.accepts(value)):
        return ""
    return habit.answer
