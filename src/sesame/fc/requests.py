"""Helpers for routes: names in paths, list parameters, bodies, and JSON answers.

Called by the routes of every API version.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.inputs import Listing
from sesame.fc import code_text, wire_json
from sesame.fc.body import read_body
from sesame.fc.links import base_url
from sesame.fc.refusals import InvalidArgument
from sesame.fc.targets import Naming, segment
from sesame.http.interface import Exchange
from sesame.identity.authorization import Requester
from sesame.model import limits
from sesame.model.natural import whole
from sesame.model.records import Record

T = TypeVar("T", bound=msgspec.Struct)
# Larger documents are decoded in a thread.
DECODED_AT_ONCE_BYTES = 16 * 1024
Handler = Callable[[Request], Awaitable[Response]]
Done = Callable[[Request], Response]
"""Builds the answer to a change that has no result."""
# Keys of the scope that `fc.app` sets: the exchange of the request,
EXCHANGE = "sesame.exchange"
# the request's id, for answers that repeat it,
REQUEST_ID = "sesame.request_id"
# the authenticated caller, for operations that require further permissions,
REQUESTER = "sesame.requester"
# and how the request's API version names functions.
NAMING = "sesame.naming"


def name(request: Request, part: str) -> str:
    """A decoded part of the path; the router matches the raw path."""
    return segment(request.path_params[part].encode("latin-1"))


def qualified_service(request: Request) -> tuple[str, str]:
    """The service and its qualifier; "" means LATEST."""
    naming: Naming = request.scope[NAMING]
    service, qualifier = naming.qualified(name(request, "service"), request.scope["query_string"])
    return service, "" if qualifier == limits.LATEST else qualifier


def qualified_function(request: Request) -> tuple[str, str, str]:
    """Service, function and qualifier; "" means LATEST."""
    service, qualifier = qualified_service(request)
    return service, name(request, "function"), qualifier


def latest_service(request: Request) -> str:
    """The service of an operation that changes it. Raises for a qualifier, as only the latest state can be changed."""
    service, qualifier = qualified_service(request)
    if qualifier:
        raise InvalidArgument.of("Qualifier", "LATEST: versions and aliases cannot be changed this way", qualifier)
    return service


def base(request: Request) -> str:
    """The `http://host:port` under which the caller can reach this server again."""
    return base_url(request.scope["scheme"], request.scope["server"], request.headers.get("host", ""))


def requester(request: Request) -> Requester:
    """The caller; present for all paths of the API, whose callers are authenticated."""
    found: Requester = request.scope[REQUESTER]
    return found


def internet_fact(allowed: bool) -> dict[str, str]:
    """The condition key of what is being created or changed (reference/companions.md §3.2)."""
    return {"fc:EnableServiceInternetAccess": "true" if allowed else "false"}


def if_match(request: Request) -> str:
    """Lines of the same name are one list (RFC 9110 §5.3); "" without the header."""
    return ", ".join(request.headers.getlist("if-match"))


async def body(request: Request, shape: type[T]) -> T:
    """The JSON body, whatever its Content-Type. Only bodies that may contain code may be large."""
    exchange: Exchange = request.scope[EXCHANGE]
    limit = limits.MANAGEMENT_BODY_BYTES if "code" in shape.__struct_fields__ else limits.DOCUMENT_BYTES
    sent = await read_body(exchange, limit)
    if len(sent) <= DECODED_AT_ONCE_BYTES:
        return wire_json.decode(sent, shape)
    return await asyncio.to_thread(_decoded, sent, shape)


def _decoded(sent: bytes, shape: type[T]) -> T:
    if len(sent) <= code_text.LONG_BYTES:
        return wire_json.decode(sent, shape)
    parted = code_text.cut(sent)
    document = wire_json.decode(parted.document, shape)
    code = getattr(document, "code", UNSET)
    if parted.archive is None or not isinstance(code, msgspec.Struct):
        return document
    return msgspec.structs.replace(document, code=msgspec.structs.replace(code, zip_file=parted.archive))


def listing(request: Request) -> Listing:
    """`prefix`, `startKey`, `nextToken` and `limit` of a list (reference/api.md §2)."""
    query = request.query_params
    return Listing(
        prefix=query.get("prefix", ""),
        start_key=query.get("startKey", ""),
        next_token=query.get("nextToken", ""),
        limit=number(request, "limit", f"1 to {limits.LIST_LIMIT_MAX}"),
    )


def number(request: Request, item: str, allowed: str) -> int | None:
    """An integer query parameter; None if it is absent."""
    text = request.query_params.get(item, "")
    if not text:
        return None
    found = whole(text)
    if found is None:
        raise InvalidArgument.of(item[0].upper() + item[1:], allowed, text[:64])
    return found


def limit(request: Request, most: int, default: int) -> int:
    """The `limit` of a list that has a maximum of its own."""
    allowed = f"1 to {most}"
    found = number(request, "limit", allowed)
    if found is None:
        return default
    if not 1 <= found <= most:
        raise InvalidArgument.of("Limit", allowed, found)
    return found


def repeated(request: Request, item: str) -> list[str]:
    """The values of a repeatable parameter, sent as `item=a&item=b` or `item.1=a&item.2=b`; an empty one is absent."""
    sent = request.query_params.multi_items()
    return [text for key, text in sent if text and (key == item or _numbered(key, item))]


def _numbered(key: str, item: str) -> bool:
    name, _dot, number_ = key.rpartition(".")
    return name == item and number_.isdigit()


def flag(request: Request, item: str) -> bool:
    """A boolean query parameter, in any case; False if it is absent."""
    text = request.query_params.get(item, "").lower()
    if text not in ("", "true", "false"):
        raise InvalidArgument.of(item[0].upper() + item[1:], "true | false", text[:64])
    return text == "true"


def answer(document: Any, record: Record | None = None) -> Response:
    """200 with JSON, and an Etag if the document is a single record."""
    headers = None if record is None or not record.etag else {"Etag": record.etag}
    return Response(msgspec.json.encode(document), headers=headers, media_type="application/json")


class Paged(Protocol):
    @property
    def next_token(self) -> str | None: ...


def page_answer(key: str, items: Sequence[Any] | None, page: Paged, **others: Any) -> Response:
    """A list under its key; with `nextToken` only if there are more items (reference/api.md §2)."""
    document: dict[str, Any] = {key: items, **others}
    if page.next_token is not None:
        document["nextToken"] = page.next_token
    return answer(document)


def no_content() -> Response:
    """204 without a content type, because one official client parses every body declared as JSON."""
    return Response(status_code=204)
