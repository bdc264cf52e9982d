"""States and policies of ESP: xfrm requests in one batch. A state follows from its keys, so one that exists is the same.

But for one that somebody else has put in its place: that can't be replaced, so it is deleted first.
"""

from __future__ import annotations

import errno

from netcore.desired.objects import EspBlock, EspPolicy, EspState
from netcore.kernel import xfrm
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions

_EXISTS = frozenset({errno.EEXIST})
_NOT_THERE = errno.ESRCH


def _add_state(_sessions: NetlinkSessions, state: EspState) -> list[Request]:
    key = bytes.fromhex(state.key_material)
    return [xfrm.add_state(state.source, state.target, spi=state.spi, request_id=state.request_id, key=key)]


def _delete_state(_sessions: NetlinkSessions, state: EspState) -> list[Request]:
    return [xfrm.delete_state(state.source, state.target, spi=state.spi)]


def _set_policy(_sessions: NetlinkSessions, policy: EspPolicy) -> list[Request]:
    ends = policy.source, policy.target
    return [xfrm.set_policy(*ends, port=policy.port, outgoing=policy.outgoing, request_id=policy.request_id)]


STATE: Handler[EspState, Request] = Handler(
    create=_add_state,
    delete=_delete_state,
    observe=set_again,
    already=_EXISTS | {_NOT_THERE},
    mend=lambda sessions, state: [*_delete_state(sessions, state), *_add_state(sessions, state)],
)
POLICY: Handler[EspPolicy, Request] = Handler(
    create=_set_policy,
    delete=lambda _, policy: [xfrm.delete_policy(policy.source, policy.target, port=policy.port, outgoing=policy.outgoing)],
    observe=set_again,
    already=_EXISTS,
)
BLOCK: Handler[EspBlock, Request] = Handler(
    create=lambda _, block: [xfrm.block(block.own, port=block.port, outgoing=block.outgoing)],
    delete=lambda _, block: [xfrm.unblock(block.own, port=block.port, outgoing=block.outgoing)],
    observe=set_again,
    already=_EXISTS,
)
