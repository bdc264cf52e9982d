"""Decisions about queries and replies: screening, answering, rendering, forwarding policy. No sockets, no clock, no log."""
