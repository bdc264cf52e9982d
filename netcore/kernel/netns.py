"""Network namespaces: create, pin, open, enter. The daemon's one door to `setns` and `unshare`.

A namespace is entered only on a thread made for it, which ends there: there is no way back that could fail and leave a
thread in the wrong namespace. Sockets that are opened inside can be used from any thread afterwards.

A namespace has a path (*netns_path*, where it is pinned) and, while it is open, a descriptor (*netns_descriptor*).
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from netcore.errors import Conflict, InvalidRequest, KernelError, NetcoreError, NotFound, Unavailable
from netcore.model import NetnsPath

_T = TypeVar("_T")

CLONE_NEWNET = 0x4000_0000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x10_0000
_MNT_DETACH = 2
_NS_GET_USERNS, _NS_GET_NSTYPE = 0xB701, 0xB703
_SIOCGSKNS = 0x894C
_FDINFO = 256
"""Octets, more than /proc tells of a descriptor without anything of its own."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, operation: str, target: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise Unavailable("CAP_SYS_ADMIN", f"{operation} {target} was refused; run berth as root or in a user namespace")
        raise KernelError(operation, target, code)


def _on_own_thread(body: Callable[[], _T]) -> _T:
    result: list[_T] = []
    failed: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            result.append(body())
        except BaseException as error:  # the thread ends here; the waiter raises it
            failed.append(error)
        finally:
            done.release()

    # One of `threading` takes twice as long: it also waits until the thread has begun, and until it is gone.
    _thread.start_new_thread(run, ())
    done.acquire()
    if failed:
        # Not held by this frame too, which the error's traceback leads to.
        raise failed.pop()
    return result[0]


def run_inside(netns_descriptor: int, body: Callable[[], _T]) -> _T:
    """Return what *body* returns when run inside the namespace. It must start no thread."""

    def inside() -> _T:
        _check(_libc.setns(netns_descriptor, CLONE_NEWNET), "enter", f"netns {netns_descriptor}")
        return body()

    return _on_own_thread(inside)


def run_inside_each(netns_paths: Sequence[NetnsPath], body: Callable[[int], _T]) -> list[_T | NetcoreError | OSError]:
    """Return what *body* returns inside each namespace, called with its place in *netns_paths*; what went wrong, where it failed.

    One thread goes from one to the next: with a thousand of them, threads take longer than most looks inside. *body* must start none.
    """

    def visit(place: int, netns_path: NetnsPath) -> _T | NetcoreError | OSError:
        try:
            with opened(netns_path) as descriptor:
                _check(_libc.setns(descriptor, CLONE_NEWNET), "enter", netns_path)
                return body(place)
        except (NetcoreError, OSError) as error:
            return error

    return _on_own_thread(lambda: [visit(place, path) for place, path in enumerate(netns_paths)])


def run_in_temporary(body: Callable[[], _T]) -> _T:
    """Return what *body* returns when run inside a new namespace, which is gone afterwards. It must start no thread."""

    def inside() -> _T:
        _check(_libc.unshare(CLONE_NEWNET), "create", "netns")
        return body()

    return _on_own_thread(inside)


def move_to_new() -> None:
    """Move this whole process, which has one thread, into a new namespace."""
    _check(_libc.unshare(CLONE_NEWNET), "create", "netns")


OWN = NetnsPath("/proc/thread-self/ns/net")
"""The namespace of the calling thread: the host's, unless it has entered another."""


def create(netns_path: NetnsPath, body: Callable[[], _T]) -> _T:
    """Make a new network namespace, pin it at *netns_path* and return what *body* returns inside it.

    When anything fails nothing is left there.
    """

    def inside() -> _T:
        _check(_libc.unshare(CLONE_NEWNET), "create", "netns")
        pin(OWN, netns_path)
        try:
            return body()
        except BaseException:
            unpin(netns_path)
            raise

    return _on_own_thread(inside)


def create_unpinned(body: Callable[[], _T]) -> tuple[int, _T]:
    """Make a new network namespace, which nothing but the returned descriptor holds; return it with what *body* returns inside."""

    def inside() -> tuple[int, _T]:
        _check(_libc.unshare(CLONE_NEWNET), "create", "netns")
        descriptor = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return descriptor, body()
        except BaseException:
            os.close(descriptor)
            raise

    return _on_own_thread(inside)


def pin(source: str, netns_path: NetnsPath) -> None:
    """Bind the namespace at *source* to *netns_path*, as `ip netns` does, so that it lives without a process."""
    directory = Path(netns_path).parent
    _prepare_directory(directory)
    try:
        os.close(os.open(netns_path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as error:
        raise Conflict("netns", netns_path, "exists already and is not ours") from error
    except OSError as error:
        raise KernelError("create", netns_path, error.errno or 0) from error
    try:
        _check(_libc.mount(source.encode(), netns_path.encode(), None, _MS_BIND, None), "pin netns at", netns_path)
    except BaseException:
        os.unlink(netns_path)
        raise


def unpin(netns_path: NetnsPath) -> None:
    """Remove the pin at *netns_path*, if there is one. The namespace goes when nothing else holds it."""
    if _libc.umount2(netns_path.encode(), _MNT_DETACH) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise KernelError("unmount", netns_path, code)
    try:
        os.unlink(netns_path)
    except FileNotFoundError:
        pass


def _prepare_directory(directory: Path) -> None:
    """Make *directory* a shared mount of its own, so that other mount namespaces see pins come and go."""
    # First, as a mount that is listed may be covered by a later one above it.
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _is_mount_point(str(directory)):
        return
    target = str(directory).encode()
    if _libc.mount(target, target, None, _MS_BIND | _MS_REC, None) == 0:
        _libc.mount(None, target, None, _MS_SHARED | _MS_REC, None)


def _is_mount_point(path: str) -> bool:
    """Return whether something is mounted at *path*; os.path.ismount does not see a bind mount of the same file system.

    All mounts are not looked through: there is one for each sandbox.
    """
    return _mount_of(path) != _mount_of(os.path.dirname(path))


def _mount_of(path: str) -> bytes:
    """Return the line that says which mount *path* is on (proc(5), /proc/PID/fdinfo)."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/thread-self/fdinfo/{descriptor}", "rb", buffering=0) as file:
            told = file.read(_FDINFO)
    finally:
        os.close(descriptor)
    return next(line for line in told.splitlines() if line.startswith(b"mnt_id:"))


def open_netns(netns_path: NetnsPath) -> int:
    """Return a descriptor of the network namespace at *netns_path*.

    Raises NotFound if there is nothing, InvalidRequest if it is something else.
    """
    try:
        # Not to wait for the writer of a pipe that somebody names.
        descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, ProcessLookupError, ValueError) as error:
        # ValueError: a NUL, which no path has.
        raise NotFound("netns", netns_path) from error
    except OSError as error:
        raise KernelError("open", netns_path, error.errno or 0) from error
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = -1
    if kind != CLONE_NEWNET:
        os.close(descriptor)
        raise InvalidRequest("netns", f"{netns_path} is not a network namespace")
    return descriptor


@contextmanager
def opened(netns_path: NetnsPath) -> Iterator[int]:
    """Give a descriptor of the network namespace at *netns_path* for the length of a block."""
    descriptor = open_netns(netns_path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def may_be_changed(netns_path: NetnsPath) -> bool:
    """Return whether the namespace belongs to this process's user namespace, or one below: only there its capabilities count.

    Spec: ioctl_ns(2), NS_GET_USERNS.
    """
    with opened(netns_path) as descriptor:
        try:
            os.close(fcntl.ioctl(descriptor, _NS_GET_USERNS))
        except PermissionError:
            return False
        except OSError:
            # Before Linux 4.9 nobody tells.
            return True
    return True


def identity_of_path(netns_path: NetnsPath) -> tuple[int, int] | None:
    """Return the identity of the namespace at *netns_path*, None if there is none."""
    try:
        status = os.stat(netns_path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def identity(netns_descriptor: int) -> tuple[int, int]:
    """Return (device, inode), which is the same for every path and descriptor of one namespace."""
    status = os.fstat(netns_descriptor)
    return status.st_dev, status.st_ino


def identity_of_socket(sock: socket.socket) -> tuple[int, int]:
    """Return the identity of the namespace that *sock* was opened in (SIOCGSKNS); OSError where the kernel does not tell."""
    descriptor = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    try:
        return identity(descriptor)
    finally:
        os.close(descriptor)


def is_own_socket(sock: socket.socket) -> bool:
    """Return whether *sock* was opened in the namespace that this process runs in; OSError where the kernel does not tell."""
    return identity_of_socket(sock) == own_identity()


def own_identity() -> tuple[int, int]:
    """Return the identity of the namespace that this process runs in."""
    status = os.stat(OWN)
    return status.st_dev, status.st_ino


def is_pinned(netns_path: NetnsPath) -> bool:
    """Return whether a namespace is bound to *netns_path* now."""
    try:
        status = os.stat(netns_path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and os.stat("/proc/self/ns/net").st_dev == status.st_dev
