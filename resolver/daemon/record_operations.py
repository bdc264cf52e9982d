"""What the admin API does with the static names of networks."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.errors import Conflict, InvalidRequest, NotFound
from netcore.model import Network
from netcore.parse.problems import Problem
from netcore.plan.endpoint_names import label_of
from resolver.daemon.record_shapes import RecordBody, RecordView
from resolver.daemon.static_names import RecordsByName, StaticNames
from resolver.zone import record_text
from resolver.zone.static_changes import added, without
from resolver.zone.static_names import StaticRecord


class RecordOperations:
    """See the module. *suffix*: the domain that networks are below."""

    def __init__(self, static_names: StaticNames, suffix: str) -> None:
        self._static_names = static_names
        self._suffix = suffix

    def views(self, network: Network) -> list[RecordView]:
        """Return the static records of *network*, by name."""
        return [
            RecordView(
                name=record.name,
                ttl=network.common.ttl if record.ttl is None else record.ttl,
                type=record_text.type_text(record.rtype),
                data=record_text.data_text(record.rtype, record.data),
            )
            for record in self._static_names.of(network.id)
        ]

    async def add(self, network: Network, body: RecordBody) -> RecordView:
        """Add a record; one that is there already gets the TTL."""
        return (await self.add_all(network, [body]))[0]

    async def add_all(self, network: Network, bodies: Iterable[RecordBody]) -> list[RecordView]:
        """Add all of these records, or none."""
        if not network.has_names:
            raise Conflict("network", network.name, "has no names; static names are supported on user-defined networks only")
        records = [self._read(body, label_of(network)) for body in bodies]

        def decide(existing: RecordsByName) -> RecordsByName:
            changed: dict[str, tuple[StaticRecord, ...]] = {}
            for record in records:
                before = changed.get(record.name, existing.get(record.name, ()))
                try:
                    changed[record.name] = added(before, record)
                except ValueError as error:
                    raise Conflict("name", record.name, because=str(error)) from error
            return changed

        await self._static_names.change(network, decide)
        keys = {record.key for record in records}
        known = zip(self._static_names.of(network.id), self.views(network), strict=True)
        return [view for record, view in known if record.key in keys]

    async def remove(self, network: Network, name: str, rtype: str | None, data: str | None) -> list[RecordView]:
        """Remove the records of *name*: of the type *rtype* with *data*; None: of any. Return them; NotFound if there are none."""
        label = label_of(network)
        before = self._static_names.of(network.id)
        shown = dict(zip((record.key for record in before), self.views(network), strict=True))
        try:
            number = None if rtype is None else record_text.read_type(rtype)
            kept = record_text.read_name(name, label, self._suffix, may_be_address=number is None or record_text.type_text(number) == "PTR")
            wire = None if number is None or data is None else record_text.read_data(number, data, label, self._suffix)
        except ValueError as error:
            raise InvalidRequest("record", str(error)) from error

        def decide(existing: RecordsByName) -> RecordsByName:
            has = existing.get(kept, ())
            left = without(has, number, wire)
            if len(left) == len(has):
                wanted = " ".join(filter(None, (kept, rtype, data)))
                raise NotFound("static record", wanted, f"`berth network record ls {network.name}` lists them")
            return {kept: left}

        await self._static_names.change(network, decide)
        left = {record.key for record in self._static_names.of(network.id)}
        return [view for key, view in shown.items() if key not in left]

    def problems(self, bodies: Iterable[RecordBody], network_name: str) -> tuple[Problem, ...]:
        """Return what is wrong with the records of a network that is to be made."""
        found: list[Problem] = []
        of_names: dict[str, tuple[StaticRecord, ...]] = {}
        for body in bodies:
            try:
                record = self._read(body, network_name)
                of_names[record.name] = added(of_names.get(record.name, ()), record)
            except InvalidRequest as error:
                found.append((error.field, error.reason))
            except ValueError as error:
                found.append((f"record {body.name}", str(error)))
        return tuple(found)

    def _read(self, body: RecordBody, label: str) -> StaticRecord:
        try:
            return record_text.read(body.name, body.type, body.data, body.ttl, label=label, suffix=self._suffix)
        except ValueError as error:
            raise InvalidRequest(f"record {body.name}", str(error)) from error
