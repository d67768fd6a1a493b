"""Evaluates conditional headers and the Range header against the current object.

Called by the read and copy operations. Pure functions (reference/companions.md §1.11).
"""

import re

import msgspec

from sesame.http.dates import unix_time
from sesame.model import etags
from sesame.model.object import StoredObject
from sesame.oss.errors import OssError
from sesame.oss.metadata import brief_headers
from sesame.oss.request import Request

# Units are case-insensitive (RFC 9110 §14.1); a number may exceed any object's size.
_RANGE = re.compile(r"bytes=(\d{0,99})-(\d{0,99})\Z", re.ASCII | re.IGNORECASE)


class Range(msgspec.Struct, frozen=True):
    start: int
    length: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def range_of(request: Request, stored: StoredObject) -> Range | None:
    """The range to send; None for the whole object, also if the range is not inside the object, and if the object no
    longer is the one that If-Range names, of which the client has a part (RFC 9110 §13.1.5).

    With `x-oss-range-behavior: standard`, HTTP's rules apply instead, and a range outside the object raises
    OssError InvalidRange.
    """
    size = stored.size
    header = request.header("range") if _is_still(request.header("if-range"), stored) else ""
    if request.header("x-oss-range-behavior") != "standard":
        return range_inside(header, size)
    bounds = _bounds(header, size)
    if bounds is None:
        return None
    start, end = max(bounds[0], 0), min(bounds[1], size - 1)
    if start > end:
        raise OssError("InvalidRange", headers={"Content-Range": f"bytes */{size}"})
    return Range(start, end - start + 1)


def _is_still(validator: str, stored: StoredObject) -> bool:
    """Whether the object has this ETag, or was modified at exactly this time, in whole seconds."""
    if not validator or validator.startswith('"'):
        return not validator or validator == f'"{stored.etag}"'
    return _time(validator) == int(stored.modified_at)


def range_inside(header: str, size: int) -> Range | None:
    """The range of a `bytes=a-b` header, if it lies entirely inside the object; otherwise None."""
    bounds = _bounds(header, size)
    if bounds is None or not 0 <= bounds[0] <= bounds[1] < size:
        return None
    return Range(bounds[0], bounds[1] - bounds[0] + 1)


def _bounds(header: str, size: int) -> tuple[int, int] | None:
    """The first and last byte requested, which may lie outside; None unless the header is one valid range."""
    match = _RANGE.match(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return size - int(match[2]), size - 1
    start = int(match[1])
    end = int(match[2]) if match[2] else max(start, size - 1)
    return (start, end) if start <= end else None


def check_read(request: Request, stored: StoredObject) -> None:
    """Raises OssError PreconditionFailed (412) or NotModified (304)."""
    _check(request, stored, prefix="if-")


def check_copy(request: Request, stored: StoredObject) -> None:
    _check(request, stored, prefix="x-oss-copy-source-if-")


def _check(request: Request, stored: StoredObject, prefix: str) -> None:
    modified_at = int(stored.modified_at)
    wanted = request.header(f"{prefix}match")
    if wanted and not etags.names(wanted, stored.etag):
        raise OssError("PreconditionFailed", details={"Condition": "If-Match"})
    unmodified_since = _time(request.header(f"{prefix}unmodified-since"))
    if unmodified_since is not None and modified_at > unmodified_since:
        raise OssError("PreconditionFailed", details={"Condition": "If-Unmodified-Since"})
    unwanted = request.header(f"{prefix}none-match")
    if unwanted:
        # Proxies that compress an answer mark its ETag as weak; the client's copy is still current.
        if etags.names(unwanted, stored.etag, weakly=True):
            raise OssError("NotModified", headers=brief_headers(stored))
        # A matching ETag decides: it distinguishes contents written within one second (RFC 9110 §13.1.3).
        return
    modified_since = _time(request.header(f"{prefix}modified-since"))
    if modified_since is not None and modified_at <= modified_since:
        raise OssError("NotModified", headers=brief_headers(stored))


def _time(header: str) -> float | None:
    """Parses Unix seconds; None for an invalid date, whose condition is ignored."""
    try:
        return unix_time(header)
    except (ValueError, OverflowError):
        return None
