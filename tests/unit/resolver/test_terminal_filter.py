"""The filter that keeps commands from typing into the terminal: run here as the kernel runs it."""

import struct

import pytest

from resolver.isolation import terminal_filter
from resolver.isolation.rights import may_type
from resolver.isolation.terminal_filter import ALLOW, DENY, TIOCLINUX, TIOCSTI, X32

X86_64, I386, ARM64, ARM, RISCV64, S390X, PPC64LE = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC00000F3, 0x80000016, 0xC0000015
RISCV32, LOONGARCH64, MIPS = 0x400000F3, 0xC0000102, 0x00000008


def decide(architecture, number, command):
    """Return what the kernel is told of a call (seccomp_data: number, architecture, instruction pointer, arguments)."""
    data = struct.pack("=iIQ6Q", number - (1 << 32) if number >> 31 else number, architecture, 0, 0, command, 0, 0, 0, 0)
    program = [struct.unpack_from("=HBBI", terminal_filter.program(), at) for at in range(0, len(terminal_filter.program()), 8)]
    at, loaded = 0, 0
    while True:
        code, equal, other, operand = program[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            loaded &= operand
        elif code == 0x15:
            at += equal if loaded == operand else other
        else:
            assert code == 0x06
            return operand


IOCTL = [
    (X86_64, 16), (X86_64, 514), (X86_64, X32 | 514), (X86_64, X32 | 16), (I386, 54), (ARM64, 29), (ARM, 54), (RISCV64, 29), (S390X, 54),
    (PPC64LE, 54), (RISCV32, 29), (LOONGARCH64, 29),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "number"), IOCTL)
def test_typing_is_refused_by_each_way_into_the_kernel(architecture, number):
    for command in (TIOCSTI, TIOCLINUX, TIOCSTI | 0xDEAD << 32):
        assert decide(architecture, number, command) == DENY
    # Sizes, modes and foreground groups of terminals, and what comes before and after.
    for command in (0x5401, 0x5410, 0x5411, 0x5413, 0x541B, 0x541D, 0, 0xFFFF_FFFF):
        assert decide(architecture, number, command) == ALLOW


@pytest.mark.parametrize(("architecture", "number"), [(X86_64, 54), (I386, 16), (ARM64, 54), (ARM, 29), (MIPS, 54), (X86_64, 0xFFFF_FFFF)])
def test_other_calls_are_not_looked_at(architecture, number):
    assert decide(architecture, number, TIOCSTI) == ALLOW


@pytest.mark.parametrize(
    ("options", "privileged", "expected"),
    [
        ((), False, False),
        ((), True, True),
        (("seccomp=unconfined",), False, True),
        (("seccomp:unconfined",), False, True),
        (("label=disable",), False, False),
    ],
)
def test_who_may_type(options, privileged, expected):
    assert may_type(options, privileged=privileged) is expected
