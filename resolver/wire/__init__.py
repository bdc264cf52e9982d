"""Octets of DNS messages on the hot path: names, header, question, OPT. Everything else is read by dnspython. Pure."""
