"""Rulesets as text, turned into the messages that the kernel takes. Pure; `kernel.nft` sends them.

    words ─▶ declarations (tables, chains) ─▶ sets, rules ─▶ fields, protocols, data_types ─▶ expressions

What libnftables sends for the same text is the same, octet by octet; the tests compare.
"""

from __future__ import annotations

from netcore.kernel.netlink import Request
from netcore.kernel.ruleset import declarations
from netcore.kernel.ruleset.forms import Form
from netcore.kernel.ruleset.words import RulesetError

__all__ = ["Form", "RulesetError", "requests"]


def requests(text: str) -> tuple[Request, ...]:
    """Return what one transaction has to send for *text*; raises RulesetError at what is not understood."""
    return tuple(declarations.read(text))
