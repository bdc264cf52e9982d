"""What the way out of a nest carries and has refused, for metrics and `berth status`: as it says itself, by a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from netcore import limits
from netcore.controller import Controller
from netcore.way_out.report import Kind, Report, decode
from resolver.rootless import places

_WORDS = {Kind.CONNECTIONS: "connections", Kind.FLOWS: "flows of datagrams", Kind.PINGS: "pings"}


class WayOut:
    """*path*: of the report, None where this is no nest. *clock*: seconds, monotonic."""

    def __init__(self, run_dir: str, controller: Controller, clock: Callable[[], float]) -> None:
        self._path = Path(run_dir, places.REPORT) if places.is_nest() else None
        self._controller = controller
        self._clock = clock

    def carried(self) -> Mapping[Kind, int]:
        """Return how much is carried now, nothing where there is no way out."""
        report = self._report()
        return {} if report is None else report.carried

    def refused(self) -> Mapping[Kind, int]:
        """Return how much was refused since the way out began, nothing where there is none."""
        report = self._report()
        return {} if report is None else report.refused

    def warnings(self) -> tuple[str, ...]:
        """Return what `berth status` says of the way out."""
        report = self._report()
        if report is None or not report.client or self._clock() - report.at > limits.WAY_OUT_TOLD_AGAIN:
            return ()
        return (told(report, self._sandbox_at(report.client)),)

    def _report(self) -> Report | None:
        try:
            return None if self._path is None else decode(self._path.read_bytes())
        except OSError:
            # Nothing was carried yet, or the way out is being started again.
            return None

    def _sandbox_at(self, client: str) -> str:
        state = self._controller.state
        found = (
            sandbox_id
            for sandbox_id, endpoints in state.endpoints.items()
            if any(client == str(address) for endpoint in endpoints for address in endpoint.addresses())
        )
        sandbox_id = next(found, None)
        return "" if sandbox_id is None else state.sandboxes[sandbox_id].name


def told(report: Report, sandbox: str) -> str:
    """Return the line about what was refused last, of *sandbox*, "" if it is gone. Pure."""
    kind = report.kind
    return (
        f"the way out refused {_WORDS[kind]} of {sandbox or report.client}, which has its share of {report.most[kind]} at once; since it "
        f"began it refused {report.refused[kind]}, of all sandboxes; see docs/limits.md"
    )
