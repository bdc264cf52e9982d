"""Maps as Go has them: for `index`, what is not in one is the zero value of its kind; `.name` of it is `<no value>` in any. Pure."""

from __future__ import annotations

from typing import Any


class Texts(dict[str, Any]):
    """A map of texts: `{{index .Config.Labels "x"}}` prints nothing where there is no label x."""

    def __missing__(self, key: str) -> str:
        return ""


class Lists(dict[str, Any]):
    """A map of lists: `{{index .NetworkSettings.Ports "80/tcp"}}` prints `[]` where nothing is published."""

    def __missing__(self, key: str) -> list[Any]:
        return []
