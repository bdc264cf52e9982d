"""Where networks, sandboxes and endpoints are recorded: one small protocol and three stores behind it.

protocol ◀─ sqlite (one host), etcd (several hosts), memory (tests)
upgrade ─▶ codec ─▶ records ─▶ controller
"""
