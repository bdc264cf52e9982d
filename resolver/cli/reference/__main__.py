"""`python -m resolver.cli.reference DIRECTORY`: writes `cli.md` and `man/` below DIRECTORY, which is `docs` in the repository."""

from __future__ import annotations

import sys
from pathlib import Path

from resolver.cli.reference.configuration import keys
from resolver.cli.reference.man import pages
from resolver.cli.reference.markdown import page
from resolver.cli.reference.tree import tree


def files() -> dict[str, str]:
    """Return path below the directory → contents of everything that is made."""
    root, settings = tree(), keys()
    return {"cli.md": page(root, settings), **{f"man/{name}": text for name, text in pages(root, settings).items()}}


def main(directory: str) -> None:
    """Write all files, and remove pages of commands that are no more."""
    made = files()
    for path in Path(directory, "man").glob("berth*.[0-9]"):
        if f"man/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        target = Path(directory, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m resolver.cli.reference DIRECTORY")
    main(sys.argv[1])
