"""What the admin API offers about egress rules: to show and change those of a sandbox, to test them, and what they refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import asdict, replace
from ipaddress import ip_network

from netcore.controller import Controller
from netcore.egress import read
from netcore.egress.layer import Layer
from netcore.egress.openings import Opening
from netcore.egress.policy import ALLOWED, Flow, Policy, Verdict
from netcore.egress.ports import WEB, Ports
from netcore.egress.refusals import Refused
from netcore.egress.rules import Below, Name, Prefix
from netcore.errors import InvalidRequest, NotFound, Unavailable
from netcore.model import Sandbox, SandboxId
from netcore.plan import egress
from resolver.daemon import convert
from resolver.daemon import egress_shapes as shapes
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_records import EgressRecords
from resolver.daemon.egress_states import EgressStates
from resolver.daemon.events import Events
from resolver.daemon.runs import Run, Runs


class EgressOperations:
    """See the module."""

    def __init__(
        self, controller: Controller, states: EgressStates, log: EgressLog, records: EgressRecords, events: Events, runs: Runs
    ) -> None:
        self._controller = controller
        self._states = states
        self._log = log
        self._records = records
        self._events = events
        self._runs = runs

    async def change(self, reference: str, change: shapes.EgressChange) -> Sandbox:
        """Give a sandbox other rules. What they don't allow any more is cut when this returns."""
        sandbox, _ = await self._controller.sandboxes.change_egress(reference, _changing(change))
        # It has them at its next start too.
        await self._runs.change_request(sandbox.id, lambda run: _with_rules(run, sandbox.egress))
        self._events.emit("sandbox", "egress", sandbox.name, identity=sandbox.id)
        return sandbox

    async def change_stopped(self, run: Run, change: shapes.EgressChange) -> Run:
        """Give a sandbox that is stopped other rules, which it has from its next start on."""
        texts, settings = _changing(change), self._controller.state.facts.egress

        def changed(now: Run) -> Run:
            wanted = texts(now.request.egress)
            return _with_rules(now, egress.checked(wanted, settings) if wanted is not None else None)

        return await self._runs.change(run, changed)

    def learned(self, name: str) -> shapes.LearnedView:
        """Return the rules that a sandbox with the rule learn has needed, also of one that is gone."""
        known = self._recorded_name(name)
        return shapes.LearnedView(known, self._records.rules(known))

    def forget_learned(self, name: str) -> shapes.LearnedView:
        """Forget these rules, and return them."""
        known = self._recorded_name(name)
        try:
            return shapes.LearnedView(known, self._records.forget(known))
        except OSError as error:
            raise Unavailable(f"record of egress of {known}", str(error)) from error

    def _recorded_name(self, name: str) -> str:
        sandbox = next((one for one in self._controller.state.sandboxes.values() if name in (one.id, one.short_id)), None)
        return sandbox.name if sandbox is not None else name

    def show(self, reference: str) -> shapes.EgressView:
        """Return the rules of a sandbox, and what they have opened and refused. One that is stopped has those of its own alone."""
        stopped = self._runs.find_stopped(reference)
        if stopped is not None:
            rules = stopped.request.egress
            layers = () if rules is None else (egress.layer(rules, self._controller.state.facts.egress, f"sandbox {stopped.name}"),)
            return shapes.EgressView(stopped.name, None if rules is None else list(rules), _layer_views(layers), openings=[], refused=0)
        sandbox = self._owner(reference)
        openings, now = self._states.openings_of(sandbox.id), self._states.clock()
        return shapes.EgressView(
            sandbox=sandbox.name,
            rules=list(sandbox.egress) if sandbox.egress is not None else None,
            layers=_layer_views(self._layers(sandbox)),
            openings=[_opening_view(opening, now) for opening in openings or () if opening.until > now],
            refused=self._log.refusals.counts.get(sandbox.id, 0),
        )

    def _owner(self, reference: str) -> Sandbox:
        return self._controller.state.stack_owner(reference)

    def _layers(self, sandbox: Sandbox) -> tuple[Layer, ...]:
        state = self._controller.state
        networks = [state.networks[endpoint.network_id] for endpoint in state.endpoints[sandbox.id]]
        return egress.layers_of(sandbox, networks, state.facts.egress)

    def test(self, reference: str, target: str) -> shapes.EgressTestView:
        """Return whether a sandbox may ask for a name and reach it, or reach an address, at the web's ports or the one given."""
        sandbox = self._owner(reference)
        openings = self._states.openings_of(sandbox.id)
        if openings is None:
            return shapes.EgressTestView(True, f"sandbox {sandbox.name} has no egress rules", None)
        # An address is as a rule without what makes it one of many.
        rule = read.rule(target, "egress test")
        if rule.deny or rule.private or isinstance(rule.target, Below) or not isinstance(rule.target, Name | Prefix):
            raise InvalidRequest("target", f"{target!r} is no name and no address; write one as in example.com:443")
        protocol, ports = rule.protocol or "tcp", [rule.first] if rule.first is not None else [*WEB]
        if isinstance(rule.target, Name):
            verdict = _name(openings.policy, rule.target.name, protocol, ports)
        else:
            network = rule.target.network
            if network.num_addresses != 1:
                raise InvalidRequest("target", f"{network} is a prefix; give one address")
            verdict = _any(openings.policy, [Flow(address=network[0], protocol=protocol, port=port) for port in ports])
        reason = verdict.reason or f"sandbox {sandbox.name} may reach {target}"
        return shapes.EgressTestView(verdict.allowed, reason, verdict.lacks)

    # --- what was refused ---------------------------------------------------------------------------------------

    def identity(self, reference: str | None) -> str | None:
        """Return the id of a sandbox that is there or was; None for none."""
        if reference is None:
            return None
        try:
            return self._owner(reference).id
        except NotFound:
            known = next((one for one in self._log.refusals if reference in (one.sandbox, one.sandbox_id)), None)
            if known is None:
                raise
            return SandboxId(known.sandbox_id)

    async def refused(self, reference: str | None, since: float | None) -> list[shapes.RefusedView]:
        """Return what was refused since a time and until now, the last one last."""
        identity = self.identity(reference)
        await self._log.settle(identity)
        return [_view(one) for one in self._log.past(identity, since)]

    async def follow(self, reference: str | None, since: float | None) -> AsyncGenerator[shapes.RefusedView, None]:
        """Yield what was refused since then, and from now on."""
        async for one in self._log.follow(self.identity(reference), since):
            yield _view(one)


def _changing(change: shapes.EgressChange) -> Callable[[tuple[str, ...] | None], tuple[str, ...] | None]:
    """Return what makes the rules that there are those that are asked for."""
    rules, add, remove = (convert.egress_texts(texts) for texts in (change.rules, change.add, change.remove))
    if change.inherit and (rules is not None or add or remove):
        raise InvalidRequest("egress", "inherit stands alone: the rules of the networks are taken as they are")
    if change.inherit:
        return lambda _: None
    return lambda now: egress.changed(rules if rules is not None else now, add or (), remove or ())


def _with_rules(run: Run, rules: tuple[str, ...] | None) -> Run:
    return replace(run, request=replace(run.request, egress=rules))


def _layer_views(layers: Iterable[Layer]) -> list[shapes.EgressLayerView]:
    return [shapes.EgressLayerView(layer.title, [read.to_json(rule) for rule in layer.rules]) for layer in layers]


def _opening_view(opening: Opening, now: float) -> shapes.OpeningView:
    by_address = opening.ports & opening.unlooked
    without_name = opening.ports - by_address - Ports.of("tcp", *WEB)
    return shapes.OpeningView(
        opening.name, str(opening.address), str(opening.ports), round(opening.until - now, 3),
        by_address=str(by_address) if by_address else "", without_name=str(without_name) if without_name else "",
    )  # fmt: skip


def _view(refused: Refused) -> shapes.RefusedView:
    return shapes.RefusedView(**asdict(refused))


def _name(policy: Policy, name: str, protocol: str, ports: list[int]) -> Verdict:
    """Return whether *name* may be asked for and reached at an ordinary address."""
    asked = policy.may_ask(name)
    if not asked.allowed:
        return asked
    # One of the addresses that are for documentation, as any other public one.
    ordinary = ip_network("192.0.2.1/32")[0]
    verdict = _any(policy, [Flow(address=ordinary, protocol=protocol, port=port, name=name) for port in ports])
    return Verdict(verdict.allowed, verdict.reason.replace(f" ({ordinary})", ""), verdict.lacks)


def _any(policy: Policy, flows: list[Flow]) -> Verdict:
    verdicts = [policy.allows(flow) for flow in flows]
    return ALLOWED if any(verdict.allowed for verdict in verdicts) else verdicts[-1]
