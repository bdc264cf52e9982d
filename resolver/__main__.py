"""`python -m resolver` is `berth`."""

from __future__ import annotations

import sys

from resolver.cli import program

sys.exit(program())
