"""`--filter KEY=VALUE`: which things of a list are meant. Pure.

As with Docker, values of one key are alternatives, except labels, which must all be there; different keys must all match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from resolver.cli.client import PROJECT_LABEL, SERVICE_LABEL
from resolver.cli.words import nearest

Test = Callable[[str], bool]
"""Value of a filter → whether the thing matches."""


class BadFilter(ValueError):
    """A filter can't be read. Its text is for the user."""


def read_filters(texts: Iterable[str], known: Iterable[str], senseless: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return key → values. *known*: the keys there are; *senseless*: Docker's others, each with the reason why not here."""
    keys = tuple(known)
    filters: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if senseless and key in senseless:
            raise BadFilter(f"--filter {text}: {senseless[key]}")
        if key not in keys:
            raise BadFilter(f"--filter {text}: {key!r} is not one of {', '.join(keys)}{nearest(key, keys)}")
        if not equals:
            raise BadFilter(f"--filter {text} needs a value: {text}=VALUE")
        filters.setdefault(key, []).append(value)
    return filters


def matches(filters: Mapping[str, list[str]], tests: Mapping[str, Test]) -> bool:
    """Return whether a thing with *tests*, key → test, passes all of *filters*."""
    return all((all if key == "label" else any)(map(tests[key], values)) for key, values in filters.items())


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """Return whether *labels* have `KEY` or `KEY=VALUE`. Compose's own labels are known by Docker's names too."""
    key, has_value, value = text.partition("=")
    key = _DOCKER_LABELS.get(key, key)
    return key in labels and (not has_value or labels[key] == value)


_DOCKER_LABELS = {"com.docker.compose.project": PROJECT_LABEL, "com.docker.compose.service": SERVICE_LABEL}


def truth(text: str) -> bool:
    """Return what a boolean filter means: true, 1, false or 0."""
    if text.lower() not in ("true", "1", "false", "0"):
        raise BadFilter(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")
