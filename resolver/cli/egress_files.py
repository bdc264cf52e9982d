"""Lists of egress rules that only this user has: `@./FILE`, and `@LIST` in the user's configuration directory.

What they hold is sent in their place. A list that is in neither is for the daemon to know.
"""

import os
from collections.abc import Iterable, Iterator

from resolver.cli.client import Refused

_NO_NAMES = ("deny", "network", "host", "public", "all", "none")
"""What a rule may begin with in place of a name."""


def with_files(texts: Iterable[str], directory: str = "") -> list[str]:
    """Return the rules in *texts*, with those of files in place of what names them. Raises Refused for a file that can't be read.

    *directory*: where relative paths begin, instead of the current one.
    """
    return list(dict.fromkeys(_expanded(texts, directory, ())))


def _expanded(texts: Iterable[str], directory: str, inside: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        for part in text.split(","):
            rule = part.strip()
            denied, _, name = rule.rpartition("@")
            path = _path(name, directory) if denied.lower() in ("", "deny:") and "@" in rule else None
            if path is None or path in inside:
                yield rule
                continue
            listed = [line.partition("#")[0].strip() for line in _read(path).splitlines()]
            is_checked = not any(map(_says_check, listed))
            rules = filter(None, listed) if is_checked else _by_address(listed, path)
            for member in _expanded(rules, directory, (*inside, path)):
                yield member if not denied or member.lower().startswith("deny:") else f"{denied}{member.replace('+address', '')}"


def _by_address(listed: Iterable[str], path: str) -> list[str]:
    """Return the rules of a list that says `check = ..`, as that has them. Other lists that it names have their own."""
    lines = [line for line in listed if line]
    said = [line.partition("=")[2].strip().strip("\"'") for line in lines if _says_check(line)]
    if said not in (["name"], ["address"]):
        raise Refused(f'invalid egress list {path}: check is there once, and name or address, as in check = "address"')
    rules = [part.strip() for line in lines if not _says_check(line) for part in line.split(",")]
    return [_unlooked(rule) for rule in rules] if said == ["address"] else rules


def _says_check(line: str) -> bool:
    return line.partition("=")[0].strip() == "check"


def _unlooked(rule: str) -> str:
    """Return *rule* with `+address` behind its name, if it is one that allows a name."""
    end = min((at for at in map(rule.find, ":/") if at >= 0), default=len(rule))
    name = rule[:end]
    is_address = not name.strip("0123456789.") or rule.count(":") > 1 or rule.startswith("[")
    if is_address or rule.startswith("@") or name.lower() in _NO_NAMES or "+address" in name.lower():
        return rule
    return f"{name}+address{rule[end:]}"


def _path(name: str, directory: str) -> str | None:
    """Return the file that *name* means, None if it is the daemon's to know."""
    if name.startswith(("./", "../", "/", "~/")):
        return os.path.join(directory, os.path.expanduser(name))
    path = os.path.join(_own_directory(), name)
    return path if name and "/" not in name and os.path.isfile(path) else None


def _own_directory() -> str:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "berth", "egress")


def save_list(name: str, rules: Iterable[str], what: str) -> str:
    """Write *rules* to this user's list called *name*, in place of what it had; return its path. *what*: they are, for people."""
    if not name.isascii() or not name[:1].isalnum() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise Refused(f"invalid list {name!r}: its name has letters, digits, _ . and -")
    path = os.path.join(_own_directory(), name)
    try:
        os.makedirs(_own_directory(), exist_ok=True)
        with open(f"{path}~", "w", encoding="utf-8") as file:
            file.write(f"# {what}\n" + "".join(f"{rule}\n" for rule in rules))
        os.replace(f"{path}~", path)
    except OSError as error:
        raise Refused(f"egress list {path}: {error.strerror}") from error
    return path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"invalid egress list {path}: {getattr(error, 'strerror', None) or error}") from error
