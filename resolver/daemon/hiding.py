"""What commands in a sandbox must not have of the host: directories and files that they don't see, and capabilities that they don't get."""

from __future__ import annotations

import os
from pathlib import Path

from netcore.controller import Controller
from netcore.model import Sandbox, Stack
from netcore.plan import egress
from resolver.isolation.rights import WITH_RULES
from resolver.rootless import places


def hidden_paths(controller: Controller, state_directory: Path, secret_files: tuple[str, ...]) -> tuple[str, ...]:
    """Return where the sockets and the state of this daemon are, the namespaces, its keys, and in a nest the sockets of the user's session.

    *secret_files*: of the configuration, wherever they are.
    """
    settings = controller.settings
    return *_of_session(settings.edge), settings.run_directory, settings.netns_directory, str(state_directory), *secret_files


def _of_session(edge: str) -> tuple[str, ...]:
    """Return where the sockets of a user's session are, in a nest: by its bus a command would start others outside of every sandbox."""
    if not edge:
        return ()
    user = places.user_of(0, os.environ)
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}", f"/run/user/{user}"


def withheld_capabilities(controller: Controller, sandbox: Sandbox) -> tuple[str, ...]:
    """Return them; nothing if the network stack that *sandbox* has is without egress rules."""
    state = controller.state
    owner = state.sandboxes.get(sandbox.shared_with) if sandbox.shared_with is not None else sandbox
    if owner is None or owner.stack is not Stack.OWN:
        return ()
    networks = [state.networks[endpoint.network_id] for endpoint in state.endpoints[owner.id]]
    return WITH_RULES if egress.layers_of(owner, networks, state.facts.egress) else ()
