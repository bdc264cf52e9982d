"""The book: README.md and docs/, as pages with links, anchors and code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTENTS = ROOT / "docs" / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TESTED = re.compile(r"^<!-- (tested[^>]*?) -->\n+```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """A code block that the tests run as it stands. *marker*: the comment above it, from "tested" on."""

    page: str
    marker: str
    commands: str

    def __str__(self) -> str:
        first = self.commands.splitlines()[0]
        return f"{self.page}: {first[:40]}"


def name(page: Path) -> str:
    """Return the path of *page* in the repository."""
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return the text of *page* without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the relative links of *page*, with their anchors."""
    return [link for link in _LINK.findall(prose(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of *page*, as GitHub and GitLab derive them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def target(page: Path, link: str) -> Path:
    """Return the file that *link* on *page* leads to."""
    path = link.partition("#")[0]
    return (page.parent / path).resolve() if path else page


def examples() -> list[Example]:
    """Return all blocks of all pages that the tests run."""
    return [Example(name(page), *match) for page in PAGES for match in _TESTED.findall(page.read_text())]
