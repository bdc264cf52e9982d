"""What the daemon that has a state directory says of itself, for whoever finds that taken. Standard library only. Pure."""

from __future__ import annotations

TAKEN = "another berth daemon is using it"
"""How `netcore` says that a state directory is taken."""


def words(process: str, host: str, run_dir: str) -> str:
    """Return who has it. *process*: of which daemon or nest."""
    return f"{process}{_place(host, run_dir)} (BERTH_RUN_DIR={run_dir} has commands go to it)"


def _place(host: str, run_dir: str) -> str:
    return f" on {host}, with the run directory {run_dir}"


def is_elsewhere(refusal: str, host: str, run_dir: str) -> bool:
    """Return whether *refusal* names a daemon of another place. One of the same place is about to answer, or to end."""
    return f"{TAKEN}: " in refusal and f"{_place(host, run_dir)} (" not in refusal
