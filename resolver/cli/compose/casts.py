"""Interpolates a whole tree, and makes numbers and booleans of the texts that stand where Compose wants such. Pure.

Also the texts that Go's `fmt.Sprint` makes of numbers: `1.0` in `environment` is the text `1`, `1000000.0` is `1e+06`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from resolver.cli.compose.interpolate import BadVariable, Variables, interpolate
from resolver.cli.compose.tree import ComposeError, Located, Path, Problem, Rules, position_at

Cast = Callable[[str], Any]

_WHOLE = re.compile(r"[-+]?[0-9]+\Z")
_TRUE, _FALSE = ("y", "yes", "on"), ("n", "no", "off")


def to_whole(text: str) -> int:
    """Return the number *text*; ValueError if it is none."""
    if not _WHOLE.match(text) or len(text) > 20:
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def to_float(text: str) -> float:
    """Return the number *text*, which may have a fraction; ValueError if it is none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def to_single(number: float) -> float:
    """Return the shortest number that is *number* in 32 bits, as Go keeps and prints it."""
    if not math.isfinite(number) or abs(number) > 3.4e38:
        return number
    single = struct.unpack("f", struct.pack("f", number))[0]
    return next(
        short for digits in range(1, 18) if struct.unpack("f", struct.pack("f", short := float(f"{single:.{digits}g}")))[0] == single
    )


def to_boolean(text: str, warn: Callable[[str], None]) -> bool:
    """Return the boolean *text*; ValueError if it is none. *warn*: is told of words that only YAML 1.1 took for booleans."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    warn(f"{text!r} is no boolean of YAML 1.2: write {str(word in _TRUE).lower()}")
    return word in _TRUE


def text_of(value: Any) -> str:
    """Return a scalar as Go's `fmt.Sprint` writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float_text(value) if isinstance(value, float) else "" if value is None else str(value)


def _float_text(number: float) -> str:
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    shortest = next(short for places in range(17) if float(short := f"{number:.{places}e}") == number)
    digits, _, exponent = shortest.partition("e")
    if not -4 <= int(exponent) < 6:
        return f"{digits}e{exponent}"
    places = max(0, len(digits.lstrip("-").replace(".", "")) - 1 - int(exponent))
    return f"{number:.{places}f}"


_CASTS: dict[str, str] = {
    **dict.fromkeys(
        ("cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "deploy.replicas",
         "deploy.update_config.parallelism", "deploy.rollback_config.parallelism", "deploy.restart_policy.max_attempts",
         "deploy.placement.max_replicas_per_node", "healthcheck.retries", "oom_score_adj", "pids_limit", "ports.*.target", "scale",
         "ulimits.*", "ulimits.*.hard", "ulimits.*.soft"), "whole"),
    **dict.fromkeys(("cpu_percent", "cpus", "deploy.update_config.max_failure_ratio", "deploy.rollback_config.max_failure_ratio"), "float"),
    **dict.fromkeys(
        ("init", "healthcheck.disable", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "volumes.*.read_only",
         "volumes.*.volume.nocopy"), "boolean"),
}  # fmt: skip
_TOP_CASTS = {
    f"{kind}.*.{key}": "boolean"
    for kind, keys in {
        "networks": ("external", "internal", "attachable", "enable_ipv4", "enable_ipv6"),
        "volumes": ("external",),
        "secrets": ("external",),
        "configs": ("external",),
    }.items()
    for key in keys
}


_RULES = Rules({**{f"services.*.{key}": kind for key, kind in _CASTS.items()}, **_TOP_CASTS})


class Interpolation:
    """Interpolates trees with *variables*. *warn*: is told what the user should know."""

    def __init__(self, variables: Variables, warn: Callable[[str], None]) -> None:
        self._variables = variables
        self._casts: dict[str, Cast] = {"whole": to_whole, "float": to_float, "boolean": lambda text: to_boolean(text, warn)}

    def of(self, tree: Any) -> Any:
        """Return *tree* with all texts interpolated and cast; ComposeError names the place of one that can't be."""
        return self._of(tree, _RULES, (), tree)

    def _of(self, value: Any, rules: Rules[str] | None, path: Path, root: Any) -> Any:
        if isinstance(value, str):
            if "$" not in value and (rules is None or rules.rule is None):
                return value
            try:
                text = interpolate(value, self._variables)
                return text if rules is None or rules.rule is None else self._casts[rules.rule](text)
            except (BadVariable, ValueError) as error:
                raise ComposeError(Problem(position_at(root, path), f"{'.'.join(path)}: {error}")) from error
        if isinstance(value, Located):
            for key, inner in value.items():
                value[key] = self._of(inner, rules and rules.below(key), (*path, key), root)
        elif isinstance(value, list):
            below = rules and rules.of_members
            return [self._of(member, below, (*path, str(number)), root) for number, member in enumerate(value)]
        return value
