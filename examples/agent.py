"""Run code that a model has written, and tell what it printed and what it wanted to reach: `python3 examples/agent.py x.py`."""

import asyncio
import sys
from pathlib import Path

from resolver.client import Berth


async def main(code: str) -> int:
    async with Berth.connect() as berth, berth.sandbox(egress=["www.example.org"], timeout=30) as box:
        result = await box.run(["python3", "-"], stdin=code)
    print(result.text, end="")
    for refused in result.denied:
        print(f"denied: {refused.name or refused.address}: {refused.reason}")
    print("took too long" if result.timed_out else f"exit code {result.exit_code}")
    return result.exit_code


sys.exit(asyncio.run(main(Path(sys.argv[1]).read_text())))
