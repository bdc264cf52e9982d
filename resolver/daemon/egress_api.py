"""The operations of the admin API about egress rules. The table is part of `admin.ROUTES`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from resolver.daemon import egress_shapes as shapes
from resolver.daemon.api_route import ApiRequest, ApiRoute, QueryParameter
from resolver.daemon.egress_operations import EgressOperations
from resolver.daemon.moments import moment


class Handlers(Protocol):
    """Who has the operations."""

    @property
    def egress(self) -> EgressOperations:
        """They."""


async def _show(handlers: Handlers, request: ApiRequest[None]) -> shapes.EgressView:
    return handlers.egress.show(request.path["sandbox"])


async def _test(handlers: Handlers, request: ApiRequest[shapes.EgressTestBody]) -> shapes.EgressTestView:
    return handlers.egress.test(request.path["sandbox"], request.body.target)


async def _log(handlers: Handlers, request: ApiRequest[None]) -> list[shapes.RefusedView]:
    return await handlers.egress.refused(request.query.get(_SANDBOX.name), moment(request, _SINCE))


async def _follow(handlers: Handlers, request: ApiRequest[None]) -> AsyncGenerator[shapes.RefusedView, None]:
    since, sandbox = moment(request, _SINCE), request.query.get(_SANDBOX.name)
    handlers.egress.identity(sandbox)
    return handlers.egress.follow(sandbox, since)


async def _learned(handlers: Handlers, request: ApiRequest[None]) -> shapes.LearnedView:
    return handlers.egress.learned(request.path["sandbox"])


async def _forget_learned(handlers: Handlers, request: ApiRequest[None]) -> shapes.LearnedView:
    return handlers.egress.forget_learned(request.path["sandbox"])


_SANDBOX = QueryParameter("sandbox", "Only of this sandbox.")
_SINCE = QueryParameter("since", "Only what was refused since then; seconds since 1970.")

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute(
        method="GET", path="/v1/sandboxes/{sandbox}/egress", operation_id="showEgress", summary="Show the egress rules of a sandbox",
        response=shapes.EgressView, handler=_show,
    ),
    ApiRoute(
        method="POST", path="/v1/sandboxes/{sandbox}/egress/test", operation_id="testEgress",
        summary="Say whether a sandbox may reach something", body=shapes.EgressTestBody, response=shapes.EgressTestView, handler=_test,
        reads_only=True,
    ),
    ApiRoute(
        method="GET", path="/v1/egress/learned/{sandbox}", operation_id="showLearned",
        summary="The rules that a sandbox with the rule learn has needed", response=shapes.LearnedView, handler=_learned,
    ),
    ApiRoute(
        method="DELETE", path="/v1/egress/learned/{sandbox}", operation_id="forgetLearned",
        summary="Forget the rules that a sandbox with the rule learn has needed", response=shapes.LearnedView, handler=_forget_learned,
    ),
    ApiRoute(
        method="GET", path="/v1/egress/log", operation_id="showRefused", summary="What egress rules refused", query=(_SANDBOX, _SINCE),
        response=list[shapes.RefusedView], handler=_log,
    ),
    ApiRoute(
        method="GET", path="/v1/egress/log/stream", operation_id="streamRefused", summary="Follow what egress rules refuse",
        query=(_SANDBOX, _SINCE), response=shapes.RefusedView, handler=_follow, media_type="application/x-ndjson", stream=True,
    ),
)  # fmt: skip
