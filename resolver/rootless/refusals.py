"""Why this host lets an ordinary user have no namespaces of his own, and what helps. Pure.

What is found out by trying is an errno; the switches tell what is behind it.
"""

from __future__ import annotations

import errno

from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SWITCHES = ("user/max_user_namespaces", "kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns")
"""Files below /proc/sys that forbid it: the kernel's, Debian's, and Ubuntu's from 23.10 on."""

_FOR_ROOT = "or run berth as root"


def apparmor_profile(program: str) -> str:
    """Return the profile that lets *program*, the path of a Python, have user namespaces with their rights (apparmor.d(5))."""
    return f'abi <abi/4.0>,\ninclude <tunables/global>\n\nprofile berth "{program}" flags=(unconfined) {{\n  userns,\n}}\n'


def reason(step: str, code: int, switches: Mapping[str, str], program: str) -> str:
    """Return why *step* was refused with the errno *code*, and what helps. *switches*: those of `SWITCHES` that the host has."""
    told = errno.errorcode.get(code, str(code))
    if switches.get(SWITCHES[0]) == "0":
        return _switched_off(step, told, "user.max_user_namespaces", "is 0", "user.max_user_namespaces=15000")
    if switches.get(SWITCHES[1]) == "0":
        return _switched_off(step, told, "kernel.unprivileged_userns_clone", "is 0", "kernel.unprivileged_userns_clone=1")
    if switches.get(SWITCHES[2]) == "1" and code in (errno.EACCES, errno.EPERM):
        return (
            f"{step}: {told}: AppArmor takes the rights from user namespaces of programs without a profile "
            "(kernel.apparmor_restrict_unprivileged_userns is 1); `berth doctor` prints the profile that is to be put into "
            f"/etc/apparmor.d/berth, for {program}, {_FOR_ROOT}"
        )
    if code in (errno.ENOSPC, errno.EUSERS):
        return f"{step}: {told}: there are too many user namespaces, or too deeply nested; raise user.max_user_namespaces, {_FOR_ROOT}"
    if code == errno.EINVAL:
        return f"{step}: {told}: this kernel has no user namespaces (CONFIG_USER_NS); run berth as root"
    return (
        f"{step}: {told}: this user may have no user namespace of its own here. A container's seccomp profile or a chroot forbids it; "
        f"start the container with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, {_FOR_ROOT}"
    )


def _switched_off(step: str, told: str, name: str, state: str, remedy: str) -> str:
    return f"{step}: {told}: user namespaces are switched off ({name} {state}); switch them on with `sudo sysctl -w {remedy}`, {_FOR_ROOT}"
