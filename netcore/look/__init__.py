"""The look at TLS and HTTP: which server the first data of a connection ask for, while they are held back by the kernel.

client_hello, http_request ─▶ first_data ─┐
segments, stream, refusals, decisions ────┴▶ flow ─▶ flows ─▶ looker, the only one that does I/O

docs/look.md says how, and why nobody reads anything else than what was read here.
"""
