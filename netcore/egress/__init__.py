"""Egress rules: what a sandbox may reach. Pure: the language, the decisions, what answers open. See docs/egress-design.md."""
