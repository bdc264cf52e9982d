"""berth for programs, with asyncio: sandboxes that run commands, and the whole admin API.

`resolver.client.sync` is the same without asyncio.

    async with Berth.connect() as berth:
        async with berth.sandbox(egress=["pypi.org"], timeout=30) as box:
            result = await box.run(["python3", "x.py"])

The page docs/programs.md has all of it.
"""

from __future__ import annotations

from resolver.client.berth import Berth
from resolver.client.command import Command, Result
from resolver.client.errors import BerthError, FileFailed, NoDaemon, Refused, SandboxFailed, WrongUse, WrongVersion
from resolver.client.options import SandboxOptions
from resolver.client.requests import API_VERSIONS
from resolver.client.sandbox import Sandbox

__all__ = [
    "API_VERSIONS", "Berth", "BerthError", "Command", "FileFailed", "NoDaemon", "Refused", "Result", "Sandbox", "SandboxFailed",
    "SandboxOptions", "WrongUse", "WrongVersion",
]  # fmt: skip
