"""127.0.0.11:53 inside a sandbox: the text of its small firewall table. Pure.

The resolver listens on free ports; stateless rewriting (no connection tracking) makes it appear on port 53. So the sandbox's
own port 53 stays free, even for a server on 0.0.0.0:53. Reply rules come first and end the chain, otherwise a
client that is itself bound to 127.0.0.11:53 would loop. The input chain turns a dead UDP listener into an immediate
error from port 53; without it a stub waits 20 s. A dead TCP listener needs none: the kernel's reset is rewritten.
"""

from __future__ import annotations

from resolver.resolvconf import EMBEDDED

TABLE = "ip berth"
RULES = {"output": 4, "input": 2}
"""Chain → how many rules it has."""


def render(udp_port: int, tcp_port: int, *, replace: bool) -> str:
    """Return the table for a resolver at these ports. *replace*: in place of an older one, in the same transaction.

    A deletion makes the kernel wait for all its readers (10 ms), so it is left out in a fresh namespace.
    """
    to, back = f"ip daddr {EMBEDDED}", f"ip saddr {EMBEDDED}"
    older = render_removal() if replace else ""
    return f"""{older}table {TABLE} {{
  chain output {{
    type filter hook output priority -300; policy accept;
    {back} udp sport {udp_port} udp sport set 53 notrack accept
    {back} tcp sport {tcp_port} tcp sport set 53 notrack accept
    {to} udp dport 53 udp dport set {udp_port} notrack accept
    {to} tcp dport 53 tcp dport set {tcp_port} notrack accept
  }}
  chain input {{
    type filter hook input priority -150; policy accept;
    {to} udp dport {udp_port} socket wildcard 0 accept
    {to} udp dport {udp_port} udp dport set 53 reject with icmp port-unreachable
  }}
}}
"""


def render_removal() -> str:
    """Return the text that deletes the table, whether or not it exists."""
    return f"table {TABLE} {{\n}}\ndelete table {TABLE}\n"
