"""The controller: networks, sandboxes and endpoints of this host, and the only writer of them.

Each operation: locks → validate and allocate → record the intent → diff → executor → record the result → publish names.
Names are published last and withdrawn first.

    state ─▶ networks
      └────▶ endpoints ─▶ sandboxes
"""

from __future__ import annotations

from netcore.controller.networks import Networks
from netcore.controller.sandboxes import Sandboxes


class Controller(Networks, Sandboxes):
    """See the module. `recovery.restore` brings it to the state of the store."""
