"""Sesame's own operations on triggers, for `sesame triggers`: a list of all triggers, and firing one by hand.

Mounted by `fc.app` below `/sesame`; each parses its request, calls `control` and builds the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.control.trigger_firing import TriggerFiring
from sesame.fc import requests
from sesame.fc.body import read_body
from sesame.fc.refusals import InvalidArgument
from sesame.fc.requests import Handler
from sesame.fc.v2016 import shapes_triggers
from sesame.fc.v2016.shapes_triggers import Objection
from sesame.model import limits


class OwnTriggerRoutes:
    def __init__(self, firing: TriggerFiring, objection: Objection) -> None:
        """`objection` returns why a trigger's role prevents it from firing."""
        self._firing = firing
        self._objection = objection

    def handlers(self) -> dict[str, Handler]:
        return {"ListAllTriggers": self._list, "FireTrigger": self._fire}

    async def _list(self, request: Request) -> Response:
        page = await self._firing.list(requests.listing(request))
        items = [shapes_triggers.overview(record, self._objection) for record in page.items]
        return requests.page_answer("triggers", items, page)

    async def _fire(self, request: Request) -> Response:
        """The body is the event, verbatim; with `sample=true` there must be none."""
        event: bytes | None = await read_body(request.scope[requests.EXCHANGE], limits.ASYNC_PAYLOAD_BYTES)
        if requests.flag(request, "sample"):
            if event:
                raise InvalidArgument.of("Sample", "nothing beside an event in the body", "true")
            event = None
        place = requests.latest_service(request), requests.name(request, "function"), requests.name(request, "trigger")
        target, accepted = await self._firing.fire(
            place, event, request.scope[requests.REQUEST_ID], by=requests.requester(request)
        )
        return requests.answer(
            shapes_triggers.Fired(target.service, target.qualifier, target.function, accepted.invocation_id)
        )
