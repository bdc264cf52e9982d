"""What the first process of a nest is told, and what it says. Pure."""

import signal

DAEMON_WANTED = signal.SIGUSR1
"""Has it start a daemon, if none of its own runs."""
DAEMON_ENDED = "berth: the daemon has ended"
"""How the line of the daemon's log begins that says so."""
