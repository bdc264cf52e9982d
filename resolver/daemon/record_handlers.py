"""The admin API on static names of networks, and names for the host. Handlers as those of `admin`, whose object they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from netcore.errors import InvalidRequest, NetcoreError
from netcore.model import Network
from resolver.daemon.api_route import ApiRequest, QueryParameter
from resolver.daemon.hosts_block import HostsBlock
from resolver.daemon.operations import Operations
from resolver.daemon.record_operations import RecordOperations
from resolver.daemon.record_shapes import RecordBody, RecordView
from resolver.daemon.schema import OutcomeView


class Handlers(Protocol):
    """What of `admin.Admin` these handlers work with."""

    operations: Operations
    records: RecordOperations
    hosts_block: HostsBlock


WHICH = (
    QueryParameter("name", "Name on the network; needed."),
    QueryParameter("type", "Only records of this type."),
    QueryParameter("data", "Only the record with this data, in presentation format; needs a type."),
)


async def list_records(handlers: Handlers, request: ApiRequest[None]) -> list[RecordView]:
    return handlers.records.views(handlers.operations.find_network(request.path["network"]))


async def add_record(handlers: Handlers, request: ApiRequest[RecordBody]) -> RecordView:
    return await handlers.records.add(handlers.operations.find_network(request.path["network"]), request.body)


async def remove_records(handlers: Handlers, request: ApiRequest[None]) -> list[RecordView]:
    network = handlers.operations.find_network(request.path["network"])
    name, rtype, data = (request.query.get(parameter.name) for parameter in WHICH)
    if not name:
        raise InvalidRequest("name", "is needed: the name whose records are to be removed")
    if data is not None and rtype is None:
        raise InvalidRequest("data", "needs a type with it")
    return await handlers.records.remove(network, name, rtype, data)


async def write_host_names(handlers: Handlers, request: ApiRequest[None]) -> OutcomeView:  # noqa: ARG001 (all handlers are called alike)
    is_there = await handlers.hosts_block.write()
    return OutcomeView("/etc/hosts is current" if is_there else "/etc/hosts has no marks; `berth host-dns enable --hosts` adds them")


async def add_to_new(handlers: Handlers, network: Network, bodies: Sequence[RecordBody]) -> None:
    """Add the records that *network* was created with; if that fails it is removed again."""
    try:
        await handlers.records.add_all(network, bodies)
    except NetcoreError:
        await handlers.operations.remove_network(network.id)
        raise
