"""What the doctor looks at, and what a start must say loudly of the state."""

from __future__ import annotations

import logging

from netcore.controller import Controller
from netcore.controller.checks import SetAsideCheck, UnrecordedCheck
from netcore.controller.drift.watch import DriftWatch
from netcore.errors import NetcoreError
from netcore.store.records import Records
from netcore.store.sqlite import SqliteStore
from resolver.daemon.config import DaemonConfig
from resolver.daemon.doctor import Doctor
from resolver.daemon.drift_check import DriftCheck
from resolver.daemon.events import Events
from resolver.daemon.refusal_check import RefusalCheck
from resolver.daemon.restoration import Restoration

log = logging.getLogger(__name__)


async def make_doctor(
    config: DaemonConfig,
    controller: Controller,
    store: SqliteStore,
    records: Records,
    events: Events,
    restoration: Restoration,
    drift: DriftWatch,
) -> tuple[Doctor, tuple[str, ...]]:
    """Return the doctor with all checks, and what must be said loudly of the state: it was damaged, or does not tell of what exists."""
    unrecorded = UnrecordedCheck(controller, records, restoration.retry)
    refusal = RefusalCheck(
        config.state_dir, lambda: store.unwritable, lambda: None if controller.cluster is None else controller.cluster.apart()
    )
    doctor = Doctor([refusal, SetAsideCheck(controller, records, restoration.retry), unrecorded, DriftCheck(drift)])
    warnings = []
    if store.recovered is not None:
        warnings.append(store.recovered.describe())
        events.emit("state", "recovered" if store.recovered.copied else "lost", "berth.db")
    try:
        found = await unrecorded.find()
    except NetcoreError as error:
        log.error("what exists could not be compared with the state reason=%s", error)
        found = ()
    if found:
        warnings.append(f"{len(found)} things that berth made are in no record; the first: {found[0].describe()}; see `berth doctor`")
        log.error("things that berth made are in no record count=%d first=%s", len(found), found[0].describe())
    return doctor, tuple(warnings)
