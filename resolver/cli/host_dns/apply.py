"""Reads and writes the files of `berth host-dns`, below a root directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from resolver.cli.host_dns.setups import HEADER, PLACES, Block, OwnFile
from resolver.edited_block import edit, has_block, with_block, without_block

_MADE = "# Made with it, and removed with it: "
_RUNNING_SYSTEMD = "/run/systemd/system"


class Files:
    """The files below *root*, which is / but for images and tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def place(self, path: str) -> Path:
        """Return where *path* is; a symbolic link in it leads to below the root, too."""
        at = Path(self.root, path.lstrip("/"))
        if at.is_symlink():
            target = os.readlink(at)
            return self.place(target) if target.startswith("/") else at.parent / target
        return at

    def read(self, path: str) -> bytes | None:
        """Return what the file *path* has, None if there is none."""
        try:
            return self.place(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def link_of(self, path: str) -> str:
        """Return the target of the symbolic link *path*, "" if it is none."""
        at = Path(self.root, path.lstrip("/"))
        return os.readlink(at) if at.is_symlink() else ""

    def list_directory(self, path: str) -> list[str]:
        """Return the paths of the files in the directory *path*, sorted by name; none if there is no such directory."""
        try:
            return sorted(f"{path}/{entry.name}" for entry in self.place(path).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def is_there(self, change: OwnFile | Block) -> bool:
        """Return whether *change* is made already, just so."""
        match change:
            case OwnFile():
                text = self.read(change.path)
                return text is not None and _body(text.decode(errors="replace")) == change.text
            case Block():
                before = self.read(change.path)
                return has_block(before) and (change.is_kept_current or with_block(before, change.lines) == before)

    def make(self, change: OwnFile | Block) -> None:
        """Make *change*; OSError if it can't be made."""
        at = self.place(change.path)
        match change:
            case OwnFile():
                made = _make_directories(at.parent, Path(self.root))
                mark = f"{_MADE}{len(made)} of its directories\n" if made else ""
                _write_new(at, f"{HEADER}\n{mark}{change.text}".encode())
            case Block() if at.exists():
                edit(str(at), lambda text: with_block(text, change.lines, at_start=change.at_start))
            case Block():
                _write_new(at, with_block(None, change.lines))

    def found(self) -> Iterator[tuple[str, str]]:
        """Yield (kind of name server, path) of everything of ours that is there."""
        for kind, paths in PLACES.items():
            for path in paths:
                text = self.read(path)
                if text is not None and (text.startswith(HEADER.encode()) or has_block(text)):
                    yield kind, path

    def take_back(self, path: str) -> None:
        """Take out what is ours of *path*; OSError if it can't be taken out."""
        at = self.place(path)
        text = at.read_bytes()
        if not text.startswith(HEADER.encode()):
            edit(str(at), without_block)
            return
        at.unlink()
        mark = text.decode(errors="replace").split("\n")[1]
        for directory in list(at.parents)[: int(mark.removeprefix(_MADE).split()[0])] if mark.startswith(_MADE) else ():
            if any(directory.iterdir()):
                break
            directory.rmdir()


def _body(text: str) -> str:
    """Return what stands behind the header and the mark of a file of ours."""
    lines = text.split("\n")
    return "\n".join(lines[2:] if len(lines) > 1 and lines[1].startswith(_MADE) else lines[1:])


def _make_directories(wanted: Path, root: Path) -> list[Path]:
    missing = [directory for directory in (wanted, *wanted.parents) if not directory.exists() and directory != root]
    for directory in reversed(missing):
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
    return missing


def _write_new(at: Path, content: bytes) -> None:
    fresh = at.with_name(f".{at.name}.berth")
    fresh.write_bytes(content)
    fresh.chmod(0o644)
    fresh.rename(at)


def runnable(commands: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Return those of *commands* that can be run here."""
    has_systemd = Path(_RUNNING_SYSTEMD).is_dir()
    return [command for command in commands if shutil.which(command[0]) and (command[0] != "systemctl" or has_systemd)]


def run(command: Sequence[str]) -> str | None:
    """Run *command*; return what it said if it failed, else None."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
