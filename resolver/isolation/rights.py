"""Which capabilities a command has, and whether a program that it executes may have more. Pure.

The default is Docker's set without MKNOD and AUDIT_WRITE: a device and a record of the kernel's audit are not a sandbox's own.

Spec: capabilities(7); `include/uapi/linux/capability.h`; PR_SET_NO_NEW_PRIVS in prctl(2).
"""

from __future__ import annotations

from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Each at its number."""
DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT",
    "KILL",
)  # fmt: skip
WITH_RULES = ("SYS_MODULE", "SYS_PTRACE", "SYS_ADMIN", "BPF")
"""What no command has in a sandbox with egress rules, whoever asks for it: by these it would get out of its namespaces.

Without SYS_ADMIN it enters no other namespace and uncovers nothing that is covered; in a user namespace of its own it has that right
over nothing of ours. Without SYS_PTRACE it reaches no process that has more rights, SYS_MODULE and BPF change the kernel.
"""
_ALL = (1 << 64) - 1
_GAIN = "no-new-privileges"
_UNMASKED = "systempaths=unconfined"
_UNFILTERED = "seccomp=unconfined"
_SO_ANYWAY = ("apparmor=unconfined", "label=disable")
"""There is no profile that could be taken away."""


def number_of(text: str) -> int | None:
    """Return the number of the capability called *text*, None for ALL; ValueError if there is none. By any case, with CAP_ or without."""
    name = text.upper().removeprefix("CAP_")
    if name == "ALL":
        return None
    if name not in NAMES:
        raise ValueError(f"{text!r} is no capability: it is ALL, or one of capabilities(7), such as NET_ADMIN")
    return NAMES.index(name)


def _mask(names: Iterable[str]) -> int:
    bits = 0
    for name in names:
        number = number_of(name)
        bits |= _ALL if number is None else 1 << number
    return bits


def kept(*, add: Sequence[str], drop: Sequence[str], privileged: bool, confined: bool = False, withheld: Sequence[str] = ()) -> int:
    """Return the bits of the capabilities that a command may have. As with Docker what is added goes over what is dropped, ALL apart.

    *confined*: by `--confine`, where it has none by default. *withheld*: those that it has in no case.
    """
    if privileged:
        return _ALL & ~_mask(withheld)
    singly_added = [name for name in add if number_of(name) is not None]
    bits = 0 if confined else _mask(DEFAULT)
    if len(singly_added) < len(add):
        bits = _ALL
    bits &= ~_mask(drop)
    return (bits | _mask(singly_added)) & ~_mask(withheld)


def check_security_option(text: str) -> None:
    """ValueError unless *text* is a security option that means something here: OPTION=VALUE, or OPTION:VALUE."""
    option = text.replace(":", "=", 1)
    if option in (_GAIN, f"{_GAIN}=true", f"{_GAIN}=false", _UNMASKED, _UNFILTERED, *_SO_ANYWAY):
        return
    raise ValueError(
        f"{text!r} is none of {_GAIN}[=true|false], {_UNMASKED}, {_UNFILTERED}, {', '.join(_SO_ANYWAY)}; there are no other filters of "
        "system calls and no profiles of AppArmor or SELinux"
    )


def may_gain(options: Iterable[str], *, privileged: bool) -> bool:
    """Return whether a program that the command executes may have more rights than the command (setuid, capabilities of a file)."""
    answer = privileged
    for text in options:
        option = text.replace(":", "=", 1)
        if option.startswith(_GAIN):
            answer = option == f"{_GAIN}=false"
    return answer


def is_unmasked(options: Iterable[str], *, privileged: bool) -> bool:
    """Return whether the command sees all of /proc and /sys."""
    return privileged or any(text.replace(":", "=", 1) == _UNMASKED for text in options)


def may_type(options: Iterable[str], *, privileged: bool) -> bool:
    """Return whether the command may put characters into the terminal that it was started from. *privileged*: as the host's root."""
    return privileged or any(text.replace(":", "=", 1) == _UNFILTERED for text in options)
