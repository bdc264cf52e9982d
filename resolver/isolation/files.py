"""Files of a command: what `--volume` and `--tmpfs` say. Pure."""

import posixpath
from typing import NamedTuple

from resolver.isolation.bounds import size_of

_NOSUID, _NODEV, _NOEXEC, _RDONLY = 2, 4, 8, 1
_FLAGS = {"nosuid": _NOSUID, "nodev": _NODEV, "noexec": _NOEXEC, "ro": _RDONLY}
_CLEARED = {"suid": _NOSUID, "dev": _NODEV, "exec": _NOEXEC, "rw": _RDONLY}
_HIDDEN_BY_KERNEL = ("/", "/proc", "/sys")


class Volume(NamedTuple):
    """A file or directory *source* of the host that the command sees at *target* too."""

    source: str
    target: str
    read_only: bool


class Tmpfs(NamedTuple):
    """A directory in memory at *target*. *flags*: of mount(2); *data*: its options."""

    target: str
    flags: int
    data: str


def check_confined(path: str) -> None:
    """ValueError unless the directory *path* can be the one that a confined command may write to."""
    clean = _clean(path)
    if not path.startswith("/") or clean == "/" or clean.split("/")[1] in ("proc", "sys", "dev"):
        raise ValueError(f"{path!r} can't be the directory that is left writable; give one that the command may change, such as ./work")


def volume_of(text: str) -> Volume:
    """Return what `SOURCE:TARGET[:OPTIONS]` means; ValueError. Both are absolute paths by now."""
    source, _, rest = text.partition(":")
    target, colon, options = rest.partition(":")
    if not source.startswith("/"):
        raise ValueError(
            f"{text!r}: {source!r} is no path; there are no named volumes: write SOURCE:TARGET[:ro] with a directory or file of the host"
        )
    words = options.split(",") if colon else []
    bad = [word for word in words if word not in ("ro", "rw", "z", "Z", "rprivate", "private", "rslave", "slave")]
    if bad:
        raise ValueError(f"{text!r}: {bad[0]!r} is not ro or rw")
    return Volume(posixpath.normpath(source), _target(text, target), "ro" in words)


def tmpfs_of(text: str) -> Tmpfs:
    """Return what `PATH[:OPTIONS]` means, with Docker's defaults noexec, nosuid and nodev; ValueError."""
    path, colon, rest = text.partition(":")
    flags, data = _NOSUID | _NODEV | _NOEXEC, {"mode": "1777"}
    for word in rest.split(",") if colon and rest else []:
        name, _, value = word.partition("=")
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word in _CLEARED:
            flags &= ~_CLEARED[word]
        elif name == "size" and value:
            data["size"] = value if value.endswith("%") and value[:-1].isdigit() else str(size_of(value))
        elif name in ("mode", "uid", "gid", "nr_inodes") and value.isdigit():
            data[name] = value
        else:
            raise ValueError(f"{text!r}: {word!r} is not size=, mode=, uid=, gid=, nr_inodes=, ro, exec, suid or dev")
    return Tmpfs(_target(text, path), flags, ",".join(f"{name}={value}" for name, value in data.items()))


def _target(text: str, path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{text!r}: {path!r} is no absolute path in the sandbox")
    clean = _clean(path)
    if clean in _HIDDEN_BY_KERNEL or clean.startswith(("/proc/", "/sys/")):
        raise ValueError(f"{text!r}: nothing can be put over {clean}")
    return clean


def _clean(path: str) -> str:
    return f"/{posixpath.normpath(path).lstrip('/')}"
