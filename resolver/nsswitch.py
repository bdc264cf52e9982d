"""nsswitch.conf of a sandbox: the host's, but host names come from the hosts file and DNS, so that our resolver is asked. Pure."""

from __future__ import annotations

HOSTS = "hosts: files dns"


def render(text: str) -> str:
    """Return *text* with its `hosts:` line replaced, or added."""
    lines = [HOSTS if line.split(":")[0].strip() == "hosts" else line for line in text.splitlines()]
    if HOSTS not in lines:
        lines.append(HOSTS)
    return "\n".join(lines) + "\n"
