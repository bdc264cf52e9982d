"""How `berth up` goes about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resolver.cli.client import Refused
from resolver.cli.compose.project import Service
from resolver.cli.up.plan import MOST_REPLICAS
from resolver.cli.up.reconcile import Asked
from resolver.cli.words import nearest_or_all
from resolver.numbers import whole_number


@dataclass(frozen=True, kw_only=True)
class Attached:
    """Whose output a `berth up` in the foreground prints. *only*: these services; *without*: not these.

    *dependencies*: also of what the services that are named depend on.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    dependencies: bool = False

    def check(self, names: Sequence[str]) -> None:
        """Refused for a service that is none of *names*."""
        for flag, given in (("--attach", self.only), ("--no-attach", self.without)):
            for name in given:
                if name not in names:
                    raise Refused(f"{flag} {name}: there is no such service{nearest_or_all(name, names)}")

    def shows(self, service: Service, asked: Asked) -> bool:
        """Return whether the output of *service* is printed."""
        if service.name in self.without:
            return False
        if self.only:
            return service.name in self.only
        return service.attach and (self.dependencies or not asked.services or service.name in asked.services)


@dataclass(frozen=True, kw_only=True)
class Options:
    """*timeout*: seconds of grace in place of what services have.

    *wait*, *wait_timeout*: return when all is up and healthy, Refused after so many seconds. *abort_on_exit*, *abort_on_failure*: stop
    everything as soon as a command has ended, or failed. *exit_code_from*: the service whose exit code is ours. *shows*: print what is up.
    *quiet*: do not tell what takes long. *is_json*: print what is up, or what would be done, as JSON.
    """

    detach: bool = False
    asked: Asked = field(default_factory=Asked)
    scale: Mapping[str, int] = field(default_factory=dict)
    remove_orphans: bool = False
    timeout: float | None = None
    wait: bool = False
    wait_timeout: float | None = None
    abort_on_exit: bool = False
    abort_on_failure: bool = False
    exit_code_from: str | None = None
    attached: Attached = field(default_factory=Attached)
    has_prefix: bool = True
    timestamps: bool = False
    dry_run: bool = False
    shows: bool = True
    quiet: bool = False
    is_json: bool = False


def scale_of(text: str) -> tuple[str, int]:
    """Return service and number of a `SERVICE=NUMBER`; ValueError says what is wrong with it."""
    service, equals, number = text.partition("=")
    replicas = whole_number(number, 0, MOST_REPLICAS)
    if not service or not equals or replicas is None:
        raise ValueError(f"{text}: it should be like web=3, with a number from 0 to {MOST_REPLICAS}")
    return service, replicas
