"""Where networks, sandboxes and endpoints are recorded: one small protocol and two stores behind it.

protocol ◀─ sqlite (one host), etcd (several hosts)
upgrade ─▶ codec ─▶ records ─▶ controller
"""
