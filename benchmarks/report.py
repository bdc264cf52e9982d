"""What both benchmarks share: statistics, the machine, the table, the JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path


def chosen(parts: Collection[str], arguments: list[str]) -> list[str]:
    """Return which of *parts* the *arguments* name, all if there are none; exits with 2 if one is no part."""
    unknown = [argument for argument in arguments if argument not in parts]
    if unknown:
        print(
            f"{unknown[0]!r} is no part of this benchmark; {'parts: ' + ' '.join(parts) if parts else 'it takes no arguments'}",
            file=sys.stderr,
        )
        sys.exit(2)
    return [part for part in parts if part in arguments] if arguments else [*parts]


def compile_modules() -> None:
    """Compile berth's modules, as an installation does: otherwise each start of the command line would."""
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(root / "resolver"), str(root / "netcore")], check=True)


def summary(samples: list[float]) -> dict[str, float]:
    """Return median, 10th and 90th percentile and count of *samples*."""
    ordered = sorted(samples)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))]  # noqa: E731
    return {"median": statistics.median(ordered), "p10": at(0.1), "p90": at(0.9), "count": len(ordered)}


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    versions = {}
    for name, command in {
        "nft": ["nft", "--version"], "docker": ["dockerd", "--version"], "dnsperf": ["dnsperf", "-h"], "dnsmasq": ["dnsmasq", "--version"],
    }.items():  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            versions[name] = ((done.stdout or done.stderr).splitlines() or [""])[0][:80]
        except OSError:
            versions[name] = "not installed"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
        "python": sys.version.split()[0],
        **versions,
    }


def write(name: str, content: dict) -> Path:
    """Write *content* as JSON to benchmarks/results and return the path."""
    directory = Path(__file__).parent / "results"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in [columns, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
