"""resolv.conf (name server, search list, options) and nsswitch.conf of sandboxes: what is in them, and when they are written.

Rules RC-9..RC-20 of docs/rules.md. `resolver/resolvconf.py` and `resolver/nsswitch.py` have the formats.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netcore.controller.workers import attempt_each
from netcore.desired import hostsfile
from netcore.kernel import files
from netcore.model import Sandbox, Stack
from resolver import nsswitch, resolvconf
from resolver.daemon.config import DaemonConfig
from resolver.daemon.hostfile import HostResolvConf

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Files:
    """The files of one sandbox. *is_edited*: its resolv.conf is the user's now. *is_copy*: it is a copy of the host's.

    *ipv6*: the sandbox can reach IPv6 name servers.
    """

    sandbox: Sandbox
    directory: Path
    is_edited: bool = False
    is_copy: bool = False
    ipv6: bool = True


class SandboxFiles:
    """See the module. *directory_of*: the directory of a sandbox's files.

    Its methods return what must be run to write files, which is blocking.
    """

    def __init__(self, config: DaemonConfig, host: HostResolvConf, directory_of: Callable[[Sandbox], Path]) -> None:
        self._config = config
        self._host = host
        self._directory_of = directory_of
        self._files: dict[str, _Files] = {}

    def configure(self, config: DaemonConfig) -> None:
        """Write files by *config* from now on."""
        self._config = config

    def create(self, sandbox: Sandbox, *, is_new: bool) -> Callable[[], None]:
        """Keep the files of *sandbox* right from now on; not *is_new*: an earlier daemon has written them."""
        made = self._files[sandbox.id] = _Files(sandbox, self._directory_of(sandbox))
        return lambda: self._write(made, is_new=is_new)

    def has(self, sandbox: Sandbox) -> bool:
        """Return whether the files of *sandbox* are kept right."""
        return sandbox.id in self._files

    def forget(self, sandbox: Sandbox) -> None:
        """Stop keeping the files of *sandbox* right; they go with their directory."""
        self._files.pop(sandbox.id, None)

    def change(self, sandbox: Sandbox, *, is_copy: bool, ipv6: bool) -> Callable[[], None] | None:
        """Note what the networks of *sandbox* mean for its resolv.conf; None: nothing has to be written.

        *is_copy*: it is a copy of the host's, since no resolver of ours serves it (DNS-2, RC-15, RC-20).
        """
        of_sandbox = self._files[sandbox.id]
        of_sandbox.sandbox = sandbox
        before = of_sandbox.is_copy, of_sandbox.ipv6
        of_sandbox.is_copy, of_sandbox.ipv6 = is_copy, ipv6
        # With our resolver in it, it says the same on every network.
        has_resolver = sandbox.stack is Stack.OWN and not is_copy and not before[0]
        if has_resolver or (is_copy, ipv6) == before:
            return None
        return lambda: self._write(of_sandbox)

    def write(self, sandbox: Sandbox) -> Callable[[], None]:
        """Write the files of one sandbox again, if it has files of ours."""
        of_sandbox = self._files.get(sandbox.id)
        return lambda: None if of_sandbox is None else self._write(of_sandbox)

    def write_each(self, sandboxes: Sequence[Sandbox]) -> Callable[[], list[Exception | None]]:
        """Write the files of each of *sandboxes* again; what is run returns what failed, for each."""
        return partial(attempt_each, [self.write(sandbox) for sandbox in sandboxes])

    def rewrite(self) -> Callable[[], None]:
        """Write all files again, because the host's resolv.conf has changed."""
        everyone = list(self._files.values())

        def write() -> None:
            for of_sandbox in everyone:
                self._write(of_sandbox)

        return write

    def missing(self, sandbox: Sandbox) -> list[str]:
        """Return the paths of the files of *sandbox* that somebody has removed or emptied."""
        of_sandbox = self._files.get(sandbox.id)
        if of_sandbox is None or sandbox.stack is Stack.SHARED:
            return []
        wanted = ["hostname", *([] if of_sandbox.is_edited else ["resolv.conf"])]
        return [str(path) for name in wanted if not files.read_regular(str(path := of_sandbox.directory / name))]

    def restore(self, sandbox: Sandbox) -> None:
        """Write the files of *sandbox* again that are missing."""
        of_sandbox = self._files[sandbox.id]
        for path in self.missing(sandbox):
            if path.endswith("hostname"):
                files.write_in_place(path, hostsfile.render_hostname(sandbox.hostname))
            else:
                text = self._render(of_sandbox)
                files.write_in_place(f"{path}.written", text)
                files.write_in_place(path, text)

    def edited(self) -> list[Sandbox]:
        """Return the sandboxes whose resolv.conf was edited, and is left alone since."""
        return [of_sandbox.sandbox for of_sandbox in self._files.values() if of_sandbox.is_edited]

    def _write(self, of_sandbox: _Files, *, is_new: bool = False) -> None:
        """Bring a resolv.conf up to date, unless the user has edited it."""
        path, note = of_sandbox.directory / "resolv.conf", of_sandbox.directory / "resolv.conf.written"
        text = self._render(of_sandbox)
        try:
            current, written = files.read(str(path)), files.read(str(note))
        except (FileNotFoundError, files.NotRegular):
            current = written = ""
        except files.TooLarge:
            current, written = "", None
        if not is_new and current != written:
            if not of_sandbox.is_edited:
                log.info("resolv.conf was edited and is left alone sandbox=%s", of_sandbox.sandbox.name)
            of_sandbox.is_edited = True
            return
        if is_new and of_sandbox.sandbox.stack is not Stack.HOST:
            _write_nsswitch(of_sandbox.directory)
        if text != current:
            files.write_in_place(str(note), text)
            files.write_in_place(str(path), text)

    def _render(self, of_sandbox: _Files) -> str:
        """Return the resolv.conf of a sandbox: with our resolver in it, or a copy of the host's."""
        config, sandbox = self._config, of_sandbox.sandbox
        servers = sandbox.dns.servers or config.dns
        search = sandbox.dns.search or config.dns_search
        options = sandbox.dns.options or config.dns_options
        given = (("nameservers", servers), ("search", search), ("options", options))
        overridden = [name for name, value in given if value]
        if sandbox.stack is Stack.OWN and not of_sandbox.is_copy:
            content = resolvconf.override(self._host.content, servers, search, options)
            return resolvconf.render(
                resolvconf.for_sandbox(content),
                source=self._host.path,
                upstreams=[(server, not servers) for server in content.nameservers],
                overrides=overridden,
                invalid=content.invalid,
            )
        if sandbox.stack is Stack.HOST:
            path, host = self._host.path, self._host.content
        else:
            path, host = self._host.behind_stub()
        content = resolvconf.override(host, servers, search, options)
        kept = content if sandbox.stack is Stack.HOST or servers else resolvconf.reachable(content, ipv6=of_sandbox.ipv6)
        return resolvconf.render(kept, source=path, upstreams=None, overrides=overridden, invalid=content.invalid)


def _write_nsswitch(directory: Path) -> None:
    try:
        text = files.read("/etc/nsswitch.conf", follow=True)
    except OSError:
        # A C library without it asks files and DNS anyway.
        return
    files.write_in_place(str(directory / "nsswitch.conf"), nsswitch.render(text))
