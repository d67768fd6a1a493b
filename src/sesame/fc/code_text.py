"""Extracts a large package from a JSON body and decodes it in small steps, so that other threads can run.

Called by `fc.requests` in a thread. Decoding a hundred megabytes of JSON and base64 in one step each would block the
event loop for a third of a second, whatever thread they ran in.
"""

import binascii
import io
import re

import msgspec

from sesame.fc.refusals import EntityTooLarge
from sesame.model import limits
from sesame.model.errors import Unusable

# Shorter strings stay in the document.
LONG_BYTES = 256 * 1024
STEP_BYTES = 512 * 1024
PLACEHOLDER = b'"-"'
FIELD = "code.zip_file"

_KEY = re.compile(rb'"zipfile"\s*:\s*\Z', re.IGNORECASE)
_KEY_BYTES = 64
# The longest escape of a single character.
_ESCAPE_BYTES = 6
# The most that a document of the allowed size can have: two quotes for each one-character string and its comma.
_QUOTES_MAX = limits.DOCUMENT_BYTES


class Cut(msgspec.Struct, frozen=True):
    """`document` is the body with PLACEHOLDER instead of the package's text; `archive` is None if there was none."""

    document: bytes
    archive: bytes | None


def cut(body: bytes) -> Cut:
    """Raises `EntityTooLarge` if the rest of the body is too large, `Unusable` if the package is not base64.

    A body that is not JSON may be cut anywhere; the remaining document is not JSON either.
    """
    document, archive, at, quotes = io.BytesIO(), None, 0, 0
    while (opening := body.find(b'"', at)) >= 0:
        closing, seen = _closing_quote(body, opening + 1, _QUOTES_MAX - quotes)
        quotes += seen + 1
        if quotes > _QUOTES_MAX or document.tell() > limits.DOCUMENT_BYTES:
            raise EntityTooLarge(limits.DOCUMENT_BYTES)
        if closing < 0:
            break
        if closing - opening > LONG_BYTES and _KEY.search(body, max(0, opening - _KEY_BYTES), opening):
            document.write(body[at:opening])
            document.write(PLACEHOLDER)
            archive = _decoded(body, opening + 1, closing)
        elif closing - opening > limits.DOCUMENT_BYTES:
            raise EntityTooLarge(limits.DOCUMENT_BYTES)
        else:
            document.write(body[at : closing + 1])
        at = closing + 1
    if len(body) - at > limits.DOCUMENT_BYTES:
        raise EntityTooLarge(limits.DOCUMENT_BYTES)
    document.write(body[at:])
    return Cut(document.getvalue(), archive)


def _closing_quote(body: bytes, start: int, quotes_max: int) -> tuple[int, int]:
    """The position of the string's closing quote, or -1, and the number of quotes examined."""
    at, seen = start, 0
    while seen <= quotes_max:
        at = body.find(b'"', at)
        seen += 1
        if at < 0:
            break
        slashes = at
        while slashes > start and body[slashes - 1] == 0x5C:
            slashes -= 1
        if (at - slashes) % 2 == 0:
            return at, seen
        at += 1
    return -1, seen


def _decoded(body: bytes, start: int, end: int) -> bytes:
    if (end - start) // 4 * 3 > limits.CODE_ZIP_BYTES + limits.MIB:
        raise Unusable(
            f"the code package is too large: found about {(end - start) // 4 * 3} bytes, "
            f"expected at most {limits.CODE_ZIP_BYTES}; put it into a bucket or a layer"
        )
    archive, left, at, ended = io.BytesIO(), b"", start, False
    while at < end:
        stop = _step_end(body, at, end)
        # Some encoders break lines; any other character outside the alphabet is an error.
        text = left + _plain(body[at:stop]).translate(None, b"\r\n")
        at = stop
        whole = len(text) if at == end else len(text) // 4 * 4
        text, left = text[:whole], text[whole:]
        if not text:
            continue
        if ended:
            raise _not_base64("data after the padding")
        ended = text.endswith(b"=")
        try:
            archive.write(binascii.a2b_base64(text, strict_mode=True))
        except binascii.Error as error:
            raise _not_base64(str(error)) from error
    return archive.getvalue()


def _step_end(body: bytes, at: int, end: int) -> int:
    """The end of a step that does not split a JSON escape."""
    stop = min(at + STEP_BYTES, end)
    if stop < end:
        slash = body.rfind(b"\\", stop - _ESCAPE_BYTES, stop)
        if slash > at:
            stop = slash
    return stop


def _plain(text: bytes) -> bytes:
    """Resolves JSON's escapes, which some encoders use for `/`, `+` and `=`."""
    if b"\\" not in text:
        return text
    try:
        plain: str = msgspec.json.decode(b'"%b"' % text, type=str)
        return plain.encode("ascii")
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _not_base64(str(error)) from error


def _not_base64(why: str) -> Unusable:
    return Unusable(f"is not base64 ({why}): expected the base64 text of a zip archive", field=FIELD)
