"""Network namespaces: create, pin, open, enter. The one door to `setns` and `unshare` of the daemon.

A namespace is entered only on a thread made for it, which ends there: there is no way back that could fail and leave a
thread in the wrong namespace. What is opened inside (sockets) is used from anywhere afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from netcore.errors import Conflict, InvalidRequest, KernelError, NotFound, Unavailable

_T = TypeVar("_T")

CLONE_NEWNET = 0x4000_0000
_CLONE_FILES = 0x400
_LOW = 64
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x10_0000
_MNT_DETACH = 2
_NS_GET_NSTYPE = 0xB703

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, operation: str, target: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise Unavailable("CAP_SYS_ADMIN", f"{operation} {target} was refused; run berth as root or in a user namespace")
        raise KernelError(operation, target, code)


def _on_own_thread(name: str, body: Callable[[], _T]) -> _T:
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(body())
        except BaseException as error:  # the thread ends here; the waiter raises it
            done.set_exception(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    result = done.result()
    thread.join()
    return result


def run_inside(descriptor: int, body: Callable[[], _T]) -> _T:
    """Return what *body* returns when run inside the namespace of *descriptor*. It must start no thread."""

    def inside() -> _T:
        _check(_libc.setns(descriptor, CLONE_NEWNET), "enter", f"netns {descriptor}")
        return body()

    return _on_own_thread("netns", inside)


def run_in_passing(body: Callable[[], _T]) -> _T:
    """Return what *body* returns when run inside a new namespace, which goes with what it made. It must start no thread."""

    def inside() -> _T:
        _check(_libc.unshare(CLONE_NEWNET), "create", "netns")
        return body()

    return _on_own_thread("netns-passing", inside)


def with_low_descriptors(body: Callable[[], _T]) -> _T:
    """Return what *body* returns, run in the caller's namespace where the lowest descriptors are free.

    The thread has a copy of the descriptor table for itself, so that nothing it closes or opens is seen by others.
    """

    def inside() -> _T:
        _check(_libc.unshare(_CLONE_FILES), "copy", "the descriptor table")
        os.closerange(3, _LOW)
        return body()

    return _on_own_thread("low-descriptors", inside)


OWN = "/proc/thread-self/ns/net"
"""The namespace of the calling thread: the host's, unless it has entered another."""


def create(path: str, body: Callable[[], _T]) -> _T:
    """Make a new network namespace, pin it at *path* and return what *body* returns inside it.

    Nothing is left at *path* when anything fails.
    """

    def inside() -> _T:
        _check(_libc.unshare(CLONE_NEWNET), "create", "netns")
        pin("/proc/thread-self/ns/net", path)
        try:
            return body()
        except BaseException:
            unpin(path)
            raise

    return _on_own_thread("netns-create", inside)


def pin(source: str, path: str) -> None:
    """Bind the namespace at *source* to *path*, as `ip netns` does, so that it lives without a process."""
    directory = Path(path).parent
    _prepare_directory(directory)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as error:
        raise Conflict("netns", path, "exists already and is not ours") from error
    except OSError as error:
        raise KernelError("create", path, error.errno or 0) from error
    try:
        _check(_libc.mount(source.encode(), path.encode(), None, _MS_BIND, None), "pin netns at", path)
    except BaseException:
        os.unlink(path)
        raise


def unpin(path: str) -> None:
    """Remove the pin at *path*; absent is done. The namespace goes when nothing else holds it."""
    if _libc.umount2(path.encode(), _MNT_DETACH) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise KernelError("unmount", path, code)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _prepare_directory(directory: Path) -> None:
    """Make the directory a shared mount of its own, so that other mount namespaces see pins come and go."""
    if _is_mount_point(str(directory)):
        return
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = str(directory).encode()
    if _libc.mount(target, target, None, _MS_BIND | _MS_REC, None) == 0:
        _libc.mount(None, target, None, _MS_SHARED | _MS_REC, None)


def _is_mount_point(path: str) -> bool:
    """Return whether something is mounted at *path*; os.path.ismount does not see a bind mount of the same file system."""
    with open("/proc/self/mountinfo") as file:
        return any(line.split(" ", 5)[4] == path for line in file)


def open_netns(path: str) -> int:
    """Return a descriptor of the network namespace at *path*; NotFound and InvalidRequest tell the two failures apart."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("netns", path) from error
    except OSError as error:
        raise KernelError("open", path, error.errno or 0) from error
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = -1
    if kind != CLONE_NEWNET:
        os.close(descriptor)
        raise InvalidRequest("netns", f"{path} is not a network namespace")
    return descriptor


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Give a descriptor of the network namespace at *path* for the length of a block."""
    descriptor = open_netns(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def identity_of_path(path: str) -> tuple[int, int] | None:
    """Return the identity of the namespace at *path*, None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def identity(descriptor: int) -> tuple[int, int]:
    """Return (device, inode), which is what two handles of one namespace have in common."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def own_identity() -> tuple[int, int]:
    """Return the identity of the namespace that this process runs in."""
    status = os.stat("/proc/thread-self/ns/net")
    return status.st_dev, status.st_ino


def is_pinned(path: str) -> bool:
    """Return whether a namespace is bound to *path* now."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and os.stat("/proc/self/ns/net").st_dev == status.st_dev
