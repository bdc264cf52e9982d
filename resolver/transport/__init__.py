"""Sockets: UDP and TCP listeners, upstreams. No decision about DNS is made here."""
