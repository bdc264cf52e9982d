"""As whom a command runs and with which rights: what this process gives up, for good, before it becomes the command.

Spec: capabilities(7), credentials(7), capset(2), setrlimit(2); PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_SET_NO_NEW_PRIVS and PR_SET_SECCOMP in
prctl(2); SECCOMP_FILTER_FLAG_SPEC_ALLOW in seccomp(2); CLOSE_RANGE_CLOEXEC in close_range(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from resolver.cli.entering import EnterFailed
from resolver.cli.system_calls import check, libc
from resolver.cli.users import Identity, identity_of
from resolver.isolation import rights, terminal_filter
from resolver.isolation.told import isolation_of, withheld_of
from resolver.light import TYPE_CHECKING, NamedTuple
from resolver.rootless import places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 23, 24, 38, 47, 4
_VERSION_3 = 0x2008_0522
_PR_SET_SECCOMP, _MODE_FILTER, _SET_MODE_FILTER, _SPEC_ALLOW = 22, 2, 1, 4
_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277}
"""Number of seccomp(2). Unlike prctl(2) it can leave the processor's speculation as it is, without which programs are slower."""
_CLOSE_RANGE, _CLOSE_RANGE_CLOEXEC, _MOST = 436, 4, 0xFFFF_FFFF
_HIGHEST = 63


class Rights(NamedTuple):
    """What a command gets. *capabilities*: bits; *may_gain*: programs that it executes may have more (setuid). *identity*: None: as it is.

    *limits*: (resource, soft, hard). *descriptors*: those above 2 that stay open. *may_type*: into its terminal, see `terminal_filter`.
    """

    capabilities: int
    may_gain: bool
    identity: Identity | None
    limits: tuple[tuple[int, int, int], ...] = ()
    descriptors: tuple[int, ...] = ()
    may_type: bool = False


def rights_of(sandbox: Mapping[str, Any], *, user: str | None = None, privileged: bool = False, descriptors: Sequence[int] = ()) -> Rights:
    """Return the rights of a command in *sandbox*; Refused if there is no such user or group.

    *user*, *privileged*: for this command, in place of what the sandbox has.
    """
    isolation, withheld = isolation_of(sandbox), withheld_of(sandbox)
    has_all = privileged or isolation["privileged"]
    wanted = isolation["user"] if user is None else user
    identity = None
    if wanted or isolation["groups"]:
        identity = identity_of(wanted or "0", isolation["groups"])
    limits: tuple[tuple[int, int, int], ...] = ()
    if isolation["ulimits"]:
        # Loaded here, for later modules would be those that the sandbox has at their place.
        import resource  # noqa: F401

        from resolver.isolation.bounds import limit_of

        limits = tuple(map(limit_of, isolation["ulimits"]))
    return Rights(
        capabilities=rights.kept(
            add=isolation["cap_add"],
            drop=isolation["cap_drop"],
            privileged=has_all,
            confined=bool(isolation["confine"]),
            withheld=withheld,
        ),
        may_gain=rights.may_gain(isolation["security_options"], privileged=has_all) and not withheld,
        identity=identity,
        limits=limits,
        descriptors=tuple(descriptors),
        may_type=rights.may_type(isolation["security_options"], privileged=has_all and not places.is_nest()) and not withheld,
    )


def of_bubblewrap(given: Rights) -> Rights:
    """Return what bubblewrap needs to give a command the rights *given*: who maps root must be able to give files capabilities.

    Spec: user_namespaces(7), "uid_map", since Linux 5.12.
    """
    return given._replace(capabilities=1 << rights.NAMES.index("SETFCAP"), descriptors=given.descriptors)


def take(given: Rights) -> None:
    """Give up, for good, what a command with the rights *given* must not have; EnterFailed."""
    _close_descriptors(given.descriptors)
    if given.may_gain and not given.may_type:
        # Now that it has the right to: without it only who gains nothing may.
        filter_terminal()
    _drop_from_bounds(given.capabilities)
    for resource, soft, hard in given.limits:
        _set_limit(resource, soft, hard)
    check(libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0), "giving up ambient capabilities")
    _become(given.identity)
    if os.geteuid() == 0:
        _keep_only(given.capabilities)
    if not given.may_gain:
        check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "giving up new privileges")
        if not given.may_type:
            filter_terminal()


def take_or_report(given: Rights, report: int, code: int) -> None:
    """As `take`, for a child: a failure is written to *report*, and ends the process with *code*."""
    try:
        take(given)
    except BaseException as error:
        os.write(report, str(error).encode())
        os._exit(code)


def filter_terminal() -> None:
    """Keep this process and all that it starts from typing into the terminal; a kernel without filters of system calls can't."""
    octets = terminal_filter.program()
    instructions = ctypes.create_string_buffer(octets, len(octets))
    filter_ = struct.pack("@HP", len(octets) // 8, ctypes.addressof(instructions))
    number = _SECCOMP.get(os.uname().machine) if struct.calcsize("P") == 8 else None
    if number is not None and libc.syscall(number, _SET_MODE_FILTER, _SPEC_ALLOW, filter_) == 0:
        return
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0) < 0 and ctypes.get_errno() != errno.EINVAL:
        check(-1, "filtering what types into the terminal")


def _close_descriptors(kept: Sequence[int]) -> None:
    """Have every descriptor above 2 closed when the command is executed, but those *kept*."""
    if libc.syscall(_CLOSE_RANGE, 3, _MOST, _CLOSE_RANGE_CLOEXEC) < 0:
        # Before Linux 5.11.
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:
                    # That of the directory itself.
                    continue
    for descriptor in kept:
        os.set_inheritable(descriptor, True)


def _drop_from_bounds(capabilities: int) -> None:
    for number in range(_HIGHEST + 1):
        if capabilities >> number & 1 or libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
            continue
        code = ctypes.get_errno()
        if code == errno.EINVAL:
            # This kernel has no higher ones.
            return
        if libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            raise EnterFailed(f"giving up CAP_{rights.NAMES[number]}: {os.strerror(code)}")


def _set_limit(resource: int, soft: int, hard: int) -> None:
    import resource as limits

    try:
        limits.setrlimit(resource, (soft, hard))
    except (OSError, ValueError) as error:
        raise EnterFailed(f"setting the limit {soft}:{hard} of resource {resource}: {error}") from error


def _become(identity: Identity | None) -> None:
    """Be somebody else, or root without the groups of who has called berth."""
    groups = () if identity is None else identity.groups
    try:
        # Where but one id is mapped groups can't be given up, and are nobody's.
        if groups or os.getgroups() not in ([], [0]):
            os.setgroups(groups)
    except PermissionError as error:
        if groups or not places.is_nest():
            raise EnterFailed(f"taking groups {', '.join(map(str, groups))}: {error.strerror}{_hint()}") from error
    if identity is None:
        return
    try:
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise EnterFailed(f"becoming user {identity.uid}:{identity.gid}: {error.strerror}{_hint()}") from error


def _hint() -> str:
    return "; without root only ids that are mapped are there, see `berth doctor`" if places.is_nest() else ""


def _keep_only(capabilities: int) -> None:
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    check(libc.capget(header, data), "reading capabilities")
    halves = (capabilities & _MOST, capabilities >> 32)
    words = struct.unpack("=6I", data.raw)
    # Nothing is inheritable: a program that root executes has what the bounds leave.
    kept = (0 if at % 3 == 2 else word & halves[at // 3] for at, word in enumerate(words))
    check(libc.capset(header, struct.pack("=6I", *kept)), "giving up capabilities")
