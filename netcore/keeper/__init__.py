"""Sockets that outlive the daemon: a small process holds them while no daemon runs, and the next daemon goes on with them.

program (the process, alone in an interpreter) ◀─ connection ◀─ kept_sockets (what the daemon keeps, by name)
"""
