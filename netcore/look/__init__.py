"""The look at TLS and HTTP: which server the first data of a connection ask for, while they are held back by the kernel.

client_hello, http_request ─▶ first_data ─┐
segments, stream, refusals ───────────────┴▶ flow ─▶ flows ─▶ looker, the only one that does I/O
"""
