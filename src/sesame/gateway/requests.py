"""What every route does with a request and an answer: names from paths, lists' parameters, bodies, JSON.

Called by the files in `gateway/routes/`.
Never knows an operation.
"""

from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sesame.control.inputs import Listing, Page
from sesame.gateway import wire_json
from sesame.gateway.body import read_body
from sesame.gateway.targets import qualified
from sesame.model import limits
from sesame.model.errors import InvalidArgument
from sesame.model.records import Record

T = TypeVar("T", bound=msgspec.Struct)


def name(request: Request, part: str) -> str:
    """A part of the path, decoded: the router matched the path as it was sent."""
    return unquote(request.path_params[part])


def qualified_service(request: Request) -> tuple[str, str]:
    """The service and its qualifier, "" where that means the latest state."""
    service, qualifier = qualified(name(request, "service"))
    return service, "" if qualifier == limits.LATEST else qualifier


def latest_service(request: Request) -> str:
    """The service of an operation that changes it: only its latest state can be changed."""
    service, qualifier = qualified_service(request)
    if qualifier:
        raise InvalidArgument.of("Qualifier", "LATEST: versions and aliases cannot be changed this way", qualifier)
    return service


def if_match(request: Request) -> str | None:
    return request.headers.get("if-match")


async def body(request: Request, shape: type[T]) -> T:
    """The JSON body, whatever its Content-Type."""
    length = request.headers.get("content-length", "").encode()
    return wire_json.decode(await read_body(request.receive, length, limits.MANAGEMENT_BODY_BYTES), shape)


def listing(request: Request) -> Listing:
    """`prefix`, `startKey`, `nextToken` and `limit` of a list (reference/api.md §2)."""
    query = request.query_params
    return Listing(
        prefix=query.get("prefix", ""),
        start_key=query.get("startKey", ""),
        next_token=query.get("nextToken", ""),
        limit=_limit(query.get("limit", "")),
    )


def _limit(text: str) -> int | None:
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise InvalidArgument.of("Limit", f"1 to {limits.LIST_LIMIT_MAX}", text[:64])
    return int(text)


def answer(document: Any, record: Record | None = None) -> Response:
    """200 with JSON, and the record's Etag where the document is one record."""
    headers = None if record is None else {"Etag": record.etag}
    return Response(msgspec.json.encode(document), headers=headers, media_type="application/json")


def page_answer(key: str, items: list[dict[str, Any]], page: Page) -> Response:
    """A list under its key; `nextToken` only where there is more (reference/api.md §2)."""
    document: dict[str, Any] = {key: items}
    if page.next_token is not None:
        document["nextToken"] = page.next_token
    return answer(document)


def no_content() -> Response:
    """204 without any body or content type: one official client parses what claims to be JSON."""
    return Response(status_code=204)
