"""Parses which asynchronous invocations to list.

Called by the routes of every API version, each of which has its own name for the prefix of ids.
"""

from starlette.requests import Request

from sesame.control import listing
from sesame.fc import requests
from sesame.fc.milliseconds import first_at, last_at
from sesame.fc.refusals import InvalidArgument
from sesame.model.async_invocation import AsyncQuery, State
from sesame.model.invocation import Target

ASCENDING, DESCENDING = "asc", "desc"
_MILLISECONDS = "milliseconds since 1970"


def query_of(request: Request, target: Target | None, prefix_item: str, *, stateful_only: bool = True) -> AsyncQuery:
    """Raises `InvalidArgument` for invalid filter values."""
    begin = requests.number(request, "startedTimeBegin", _MILLISECONDS)
    end = requests.number(request, "startedTimeEnd", _MILLISECONDS)
    sent = request.query_params
    order = sent.get("sortOrderByTime", "").lower() or DESCENDING
    if order not in (ASCENDING, DESCENDING):
        raise InvalidArgument.of("SortOrderByTime", f"{ASCENDING} | {DESCENDING}", order[:64])
    return AsyncQuery(
        target=target,
        stateful_only=stateful_only,
        status=_status(sent.get("status", "")),
        started_from=None if begin is None else first_at(begin),
        started_to=None if end is None else last_at(end),
        id_prefix=sent.get(prefix_item, ""),
        newest_first=order == DESCENDING,
        with_payload=requests.flag(request, "includePayload"),
        start=sent.get("nextToken", ""),
        limit=limit_of(request),
    )


def limit_of(request: Request) -> int:
    return listing.limit_of(requests.listing(request))


def _status(sent: str) -> State | None:
    if not sent:
        return None
    try:
        return State(sent)
    except ValueError as error:
        raise InvalidArgument.of("Status", " | ".join(state.value for state in State), sent[:64]) from error
