"""What a command in a sandbox sees of the file system: the host's, but for a few mounts of its own mount namespace."""

from __future__ import annotations

import os

from resolver.cli import kernel_files, mount_calls
from resolver.cli.entering import EnterFailed
from resolver.cli.mount_calls import NODEV, NOEXEC, NOSUID, RDONLY, REC, SLAVE
from resolver.cli.output import complain
from resolver.cli.system_calls import check, libc
from resolver.isolation import rights
from resolver.isolation.told import isolation_of
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from resolver.isolation.files import Volume

# Sockets through which the C library would have another program look up host names.
_RESOLVER_SOCKETS = (
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
)


def prepare(sandbox: dict[str, Any], *, own_processes: bool) -> None:
    """Make this mount namespace what a command in *sandbox* sees; EnterFailed, OSError.

    resolv.conf, hosts, hostname and nsswitch.conf are the sandbox's, /sys has its links, other resolvers and what is berth's own are
    hidden. *own_processes*: this process is the first of new PID and IPC namespaces. Sets the host name too.
    """
    isolation = isolation_of(sandbox)
    is_own_stack = sandbox["stack"] != "host"
    check(mount_calls.mount(None, "/", None, SLAVE | REC), "making mounts private")
    volumes = _Volumes(sandbox)
    cover_files(sandbox)
    for path in _RESOLVER_SOCKETS if is_own_stack else ():
        if os.path.exists(path):
            mount_calls.bind("/dev/null", path)
    hide(sandbox.get("hides", ()), (sandbox["files"], sandbox["directory"]))
    volumes.copy_the_rest()
    if isolation["read_only"]:
        mount_calls.set_read_only("/", recursive=True)
    if own_processes:
        kernel_files.own_proc()
        kernel_files.own_shared_memory(isolation["shm_size"])
    refusal = kernel_files.own_sys(whole=isolation["privileged"])
    if refusal is not None and is_own_stack:
        complain(f"warning: /sys shows the links of the host, not of {sandbox['name']}: {refusal}")
    _set_host_name(sandbox)
    _add_memory(isolation)
    volumes.put()
    if is_own_stack and (isolation["user"] or isolation["confine"]):
        kernel_files.let_everybody_listen_and_ping()
    # Whoever makes a user namespace gets a /proc of its own there only while the one here is whole; bubblewrap masks its own.
    if not isolation["confine"] and not rights.is_unmasked(isolation["security_options"], privileged=isolation["privileged"]):
        kernel_files.mask()


def _set_host_name(sandbox: Mapping[str, Any]) -> None:
    hostname = sandbox["hostname"].encode()
    check(libc.sethostname(hostname, len(hostname)), "setting the host name")
    if sandbox.get("domainname"):
        domain = sandbox["domainname"].encode()
        libc.setdomainname(domain, len(domain))


def cover_files(sandbox: Mapping[str, Any]) -> None:
    """Cover what of the host's files is not covered by the sandbox's; EnterFailed, OSError."""
    uncovered = _uncovered(sandbox)
    absent = [target for _, target, required in uncovered if required and not os.path.lexists(target)]
    for directory in dict.fromkeys(map(os.path.dirname, absent)):
        _make_room(directory, [os.path.basename(target) for target in absent if os.path.dirname(target) == directory], sandbox["directory"])
    # What was covered in such a directory before is to be covered again.
    for source, target, required in _uncovered(sandbox) if absent else uncovered:
        cover(source, target, required=required)


def _uncovered(sandbox: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return (source, target, whether a sandbox must have it) of each file that is not covered."""
    pairs = [(f"{sandbox['files']}/{name}", f"/etc/{name}", name) for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf")]
    return [
        (source, target, name in ("resolv.conf", "hosts"))
        for source, target, name in pairs
        if os.path.exists(source) and not _is_covered(source, target)
    ]


def _is_covered(source: str, target: str) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False


def cover(source: str, target: str, *, required: bool) -> None:
    """Bind the file *source* over *target*. A symbolic link is covered itself, so its target need not exist."""
    if os.path.islink(target):
        tree = mount_calls.clone(source, recursive=False)
        if tree >= 0:
            moved = mount_calls.put(tree, target)
            os.close(tree)
            if moved == 0:
                return
    if not required and not os.path.exists(target):
        return
    mount_calls.bind(source, target)


def _make_room(directory: str, names: Iterable[str], scratch: str) -> None:
    """Put an overlay with empty files called *names* over *directory*, which only this mount namespace sees.

    It hides what is mounted below the directory. *scratch*: a directory that has the layers for the moment; nothing is left there.
    """
    check(mount_calls.mount("tmpfs", scratch, "tmpfs", 0, "size=1m,mode=0755"), f"making a place for {directory}")
    try:
        os.mkdir(f"{scratch}/upper")
        os.mkdir(f"{scratch}/work")
        for name in names:
            with open(f"{scratch}/upper/{name}", "w"):
                pass
        options = f"lowerdir={directory},upperdir={scratch}/upper,workdir={scratch}/work"
        check(mount_calls.mount("overlay", directory, "overlay", 0, options), f"making a place in {directory}")
    finally:
        # The layers are in memory, and the overlay has them.
        mount_calls.unmount(scratch)


_EMPTY_FILE = ".empty"


def hide(paths: Iterable[str], kept: Iterable[str]) -> None:
    """Cover directories and files with empty ones that can't be written; the directories *kept* below them stay where they are.

    EnterFailed. What is not there stays so. Nothing can be written to what is kept by its path either: who holds the sandbox reads and
    writes there as root of the host.
    """
    real = [*dict.fromkeys(map(os.path.realpath, paths))]
    there = [path for path in real if os.path.isdir(path)]
    # What is below another one is gone with that.
    covered = [path for path in there if not any(path.startswith(f"{other}/") for other in there)]
    files = [path for path in real if os.path.isfile(path) and not any(path.startswith(f"{one}/") for one in covered)]
    wanted = dict.fromkeys(map(os.path.realpath, filter(None, kept)))
    trees = [
        (path, mount_calls.clone(path)) for path in wanted if os.path.isdir(path) and any(path.startswith(f"{one}/") for one in covered)
    ]
    flags = NOSUID | NODEV | NOEXEC
    for path in covered:
        check(mount_calls.mount("tmpfs", path, "tmpfs", flags, "size=64k,mode=0755"), f"hiding {path}")
    for path in files if covered else ():
        empty = f"{covered[0]}/{_EMPTY_FILE}"
        with open(empty, "a"):
            pass
        mount_calls.bind(empty, path)
        check(mount_calls.remount(path, flags | RDONLY), f"hiding {path}")
    for path, tree in trees:
        check(tree, f"keeping {path}")
        os.makedirs(path, exist_ok=True)
        check(mount_calls.put(tree, path), f"keeping {path}")
        os.close(tree)
        check(mount_calls.remount(path, flags | RDONLY), f"keeping {path}")
    for path in covered:
        check(mount_calls.remount(path, flags | RDONLY), f"hiding {path}")


class _Volumes:
    """The files of `--volume`: copies of their trees, taken before anything covers or locks them.

    What is hidden is so below a volume too, unless the volume is such a place itself: who names one means it.
    """

    def __init__(self, sandbox: Mapping[str, Any]) -> None:
        self._volumes: list[Volume] = []
        self._trees: dict[Volume, int] = {}
        isolation = isolation_of(sandbox)
        if isolation["confine"] or not isolation["volumes"]:
            # Bubblewrap binds those of what is confined.
            return
        from resolver.isolation.files import volume_of

        hidden = [os.path.realpath(path) for path in sandbox.get("hides", ())]
        self._volumes = list(map(volume_of, isolation["volumes"]))
        for volume in self._volumes:
            if any(f"{os.path.realpath(volume.source)}/".startswith(f"{path}/") for path in hidden):
                self._copy(volume)

    def copy_the_rest(self) -> None:
        """Copy those that are not hidden."""
        for volume in self._volumes:
            if volume not in self._trees:
                self._copy(volume)

    def _copy(self, volume: Volume) -> None:
        if not os.path.exists(volume.source):
            raise EnterFailed(f"--volume: {volume.source} is not there; create it first, berth makes no directories on this host")
        self._trees[volume] = check(mount_calls.clone(volume.source), f"--volume {volume.source}")

    def put(self) -> None:
        """Mount them where they are to be."""
        for volume, tree in self._trees.items():
            _check_place("--volume", volume.target)
            target = os.path.realpath(volume.target)
            check(mount_calls.put(tree, target), f"--volume {volume.source}:{volume.target}")
            os.close(tree)
            if volume.read_only:
                mount_calls.set_read_only(target, recursive=True)


def _add_memory(isolation: Mapping[str, Any]) -> None:
    """Mount what `--tmpfs` asks for."""
    if not isolation["tmpfs"] or isolation["confine"]:
        return
    from resolver.isolation.files import tmpfs_of

    for text in isolation["tmpfs"]:
        tmpfs = tmpfs_of(text)
        _check_place("--tmpfs", tmpfs.target)
        check(mount_calls.mount("tmpfs", tmpfs.target, "tmpfs", tmpfs.flags, tmpfs.data), f"--tmpfs {text}")


def _check_place(option: str, target: str) -> None:
    if not os.path.exists(target):
        raise EnterFailed(
            f"{option}: {target} is not there; a sandbox sees the files of this host, so what is put over one needs a place: create it "
            "first, or take a path that exists, such as /mnt"
        )
