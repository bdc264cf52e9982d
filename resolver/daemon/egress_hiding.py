"""Which directories and files of the host commands in a sandbox with egress rules must not see."""

from __future__ import annotations

from pathlib import Path

from netcore.controller import Controller
from netcore.model import Sandbox, Stack
from netcore.plan import egress


def hidden_paths(controller: Controller, state_directory: Path, secret_files: tuple[str, ...], sandbox: Sandbox) -> tuple[str, ...]:
    """Return them; nothing if the network stack that *sandbox* has is without rules."""
    state, settings = controller.state, controller.settings
    owner = state.sandboxes.get(sandbox.shared_with) if sandbox.shared_with is not None else sandbox
    if owner is None or owner.stack is not Stack.OWN:
        return ()
    networks = [state.networks[endpoint.network_id] for endpoint in state.endpoints[owner.id]]
    if not egress.layers_of(owner, networks, state.facts.egress):
        return ()
    return settings.run_directory, settings.netns_directory, str(state_directory), *secret_files
