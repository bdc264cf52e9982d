"""What is to be said of commands, options and keys, before it has a form. Pure."""

from __future__ import annotations

from dataclasses import dataclass


def sentence(text: str) -> str:
    """Return *text* with a capital at the beginning and a full stop at the end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


@dataclass(frozen=True, kw_only=True)
class OptionHelp:
    """An option. *metavar*: None if it takes no value. *completes*: as in `sandbox_options.Option`. *docker*, *compose*: other words."""

    flags: tuple[str, ...]
    meaning: str
    metavar: str | None = None
    default: str | None = None
    repeats: bool = False
    required: bool = False
    group: str = "Options"
    choices: tuple[str, ...] = ()
    completes: str | None = None
    docker: str | None = None
    compose: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperandHelp:
    """An argument that is told by its place."""

    metavar: str
    repeats: bool = False
    choices: tuple[str, ...] = ()
    completes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled list of terms with their meanings."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class CommandHelp:
    """A command. *path*: as it is typed, from `berth` on. *description*: what follows the summary, None if nothing does.

    *examples*: whole command lines.
    """

    path: str
    usage: str
    summary: str
    description: str | None = None
    operands: tuple[OperandHelp, ...] = ()
    options: tuple[OptionHelp, ...] = ()
    commands: tuple[CommandHelp, ...] = ()
    examples: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()

    @property
    def name(self) -> str:
        """Return the last word of the path."""
        return self.path.rpartition(" ")[2]

    def option(self, flag: str) -> OptionHelp | None:
        """Return the option that is written *flag*."""
        return next((option for option in self.options if flag in option.flags), None)

    def command(self, name: str) -> CommandHelp | None:
        """Return the command called *name* of this group."""
        return next((command for command in self.commands if command.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of the configuration file. *default*: as it would be written there, None if it has no simple form."""

    name: str
    meaning: str
    default: str | None
