"""The fuzzer's process: `decoders.check` under atheris, with our modules instrumented. Started by `decoders.main`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["resolver"]):
    from tests.fuzz import decoders

atheris.Setup(sys.argv, decoders.check)
atheris.Fuzz()
