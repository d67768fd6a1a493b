"""The `authConfig` of `authType` `jwt`: where requests carry the token, which keys verify it, where claims go.

`control.triggers` and `control.domains` check it before storing it; `fc.web.admission` applies it. Names are
case-insensitive, and lists may be comma-separated text, as the vendor's SDKs and tools write them
(docs/compatibility.md).
"""

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec

from sesame.control import checks
from sesame.model.errors import Duplicate, Invalid, Missing, Unusable

if TYPE_CHECKING:
    from sesame.control.jwt_keys import KeySet

JWT = "jwt"
HEADER, QUERY, COOKIE, FORM = "header", "query", "cookie", "form"
PLACES = (HEADER, QUERY, COOKIE, FORM)
CONFIG_BYTES_MAX = 64 * 1024
PATHS_MAX, LOOKUPS_MAX, PASSED_MAX = 200, 20, 100
_NAME_CHARS_MAX = 256
_LISTS = (("whitelist", "white_list"), ("blacklist", "black_list"))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# Headers about the connection or the body, or set by Sesame: no claim may be passed in them.
_NOT_CLAIMS = frozenset(
    {
        "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host", "keep-alive",
        "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection",
    }
)  # fmt: skip
# Servers and frameworks interpret these differently, so that such a path may be another path to the function.
_AMBIGUOUS = re.compile(r"[;\\\x00-\x1f\x7f\ud800-\udfff]|//|/\.\.?(?:/|\Z)|%[0-9A-Fa-f]{2}")


class Lookup(msgspec.Struct, frozen=True):
    """A place that may contain the token. For a header, `prefix` is removed from its value."""

    place: str
    name: str
    prefix: str = ""


class Passed(msgspec.Struct, frozen=True):
    """A claim that the function gets as the parameter `name`; nothing is passed if `claim` is empty."""

    place: str
    claim: str
    name: str


class JwtAuth(msgspec.Struct, frozen=True):
    """`lookups` in order. `paths` are those that need a token (if `deny`; compared by `_as_denied`), or the only ones
    that do not.
    """

    keys: "KeySet"
    lookups: tuple[Lookup, ...]
    passed: tuple[Passed, ...]
    paths: tuple[str, ...]
    deny: bool

    def needs_token(self, path: str) -> bool:
        """Whether a request for this decoded path needs a token.

        POLICY: a path that a function may interpret as another one needs a token, whatever the lists say.
        """
        if not self.paths or _AMBIGUOUS.search(path):
            return True
        if not self.deny:
            return not any(_matches(pattern, path) for pattern in self.paths)
        folded = path.casefold()
        return any(_matches(pattern, each) for pattern in self.paths for each in (folded, _unended(folded)))


async def read_in_thread(sent: Any, field: str) -> JwtAuth:
    """As `read`, on a thread, because the first call imports the library and takes tens of milliseconds."""
    return await asyncio.to_thread(read, sent, field)


def read(sent: Any, field: str) -> JwtAuth:
    """Reads the JSON text of an object, or the object. Raises `Rejected` with fields below `field`."""
    if not sent:
        raise Missing(field)
    size = len(sent if isinstance(sent, str) else msgspec.json.encode(sent))
    if size > CONFIG_BYTES_MAX:
        raise Invalid(field, f"at most {CONFIG_BYTES_MAX} bytes", f"{size} bytes")
    document = _object(sent, field)
    jwks, lookups = document.get("jwks"), _texts(document.get("tokenlookup"), f"{field}.token_lookup")
    if not jwks:
        raise Missing(f"{field}.jwks")
    if not lookups:
        raise Missing(f"{field}.token_lookup")
    from sesame.control import jwt_keys  # few need it, and every start would wait for its library

    keys = jwt_keys.key_set(_object(jwks, f"{field}.jwks", lower=False), f"{field}.jwks")
    passed = _texts(document.get("claimpassby"), f"{field}.claim_pass_by")
    white, black = (_paths(document.get(name), f"{field}.{label}") for name, label in _LISTS)
    if white and black:
        raise Unusable("cannot be set together with whiteList: leave one of them out", field=f"{field}.black_list")
    return JwtAuth(
        keys,
        tuple(
            _lookup(each, f"{field}.token_lookup") for each in _at_most(lookups, LOOKUPS_MAX, f"{field}.token_lookup")
        ),
        _passed(_at_most(passed, PASSED_MAX, f"{field}.claim_pass_by"), f"{field}.claim_pass_by"),
        white or tuple(map(_as_denied, black)),
        deny=bool(black),
    )


def _object(sent: Any, field: str, *, lower: bool = True) -> dict[str, Any]:
    if isinstance(sent, str):
        try:
            sent = msgspec.json.decode(sent.encode())
        except (ValueError, RecursionError) as error:
            raise Unusable(f"is not JSON: {error}", field=field) from error
    if not isinstance(sent, dict):
        raise Unusable("is not a JSON object", field=field)
    return {key.lower(): value for key, value in sent.items()} if lower else sent


def _texts(sent: Any, field: str) -> list[str]:
    parts = sent.split(",") if isinstance(sent, str) else [] if sent is None else sent
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise Unusable("is neither a list of texts nor texts parted by commas", field=field)
    return [part for part in map(str.lstrip, parts) if part]


def _at_most(found: list[str], most: int, field: str) -> list[str]:
    if len(found) > most:
        raise Invalid(field, f"at most {most} of them", f"{len(found)}")
    return found


def _lookup(text: str, field: str) -> Lookup:
    place, _colon, rest = text.partition(":")
    name, colon, prefix = rest.partition(":")
    checks.one_of(field, place, PLACES)
    name = name.strip()
    if not name or len(name) > _NAME_CHARS_MAX or (colon and place != HEADER):
        raise Invalid(field, "header:NAME[:PREFIX] | query:NAME | cookie:NAME | form:NAME", checks.shown(text))
    if place in (HEADER, COOKIE) and not _TOKEN.match(name):
        raise Invalid(field, f"a name that a {place} can have", checks.shown(name))
    return Lookup(place, name.lower() if place == HEADER else name, prefix)


def _passed(texts: list[str], field: str) -> tuple[Passed, ...]:
    found: dict[tuple[str, str], Passed] = {}
    for text in texts:
        parts = [part.strip() for part in text.split(":")]
        if len(parts) != 3 or len(text) > 2 * _NAME_CHARS_MAX:
            raise Invalid(field, "PLACE:CLAIM:NAME", checks.shown(text))
        place, claim, name = parts
        checks.one_of(field, place, PLACES)
        if not name:
            # The vendor's tools write `query::` if nothing is passed.
            continue
        if place in (HEADER, COOKIE) and not _TOKEN.match(name):
            raise Invalid(field, f"a name that a {place} can have", checks.shown(name))
        key = (place, header_key(name) if place == HEADER else name)
        if place == HEADER and (key[1] in _NOT_CLAIMS or key[1].startswith(("x-fc-", "x-forwarded-"))):
            raise Invalid(field, "a header that is not the connection's, the body's or Function Compute's", name)
        if key in found:
            raise Duplicate(field, f"{place}:{name}")
        found[key] = Passed(place, claim, name)
    return tuple(found.values())


def header_key(name: str) -> str:
    """Headers with the same key are the same to some functions: WSGI spells `X_Name` and `X-Name` alike."""
    return name.lower().replace("_", "-")


def _paths(sent: Any, field: str) -> tuple[str, ...]:
    found = _at_most([text.rstrip() for text in _texts(sent, field)], PATHS_MAX, field)
    for path in found:
        if not path.startswith("/") or "*" in path[:-1] or _AMBIGUOUS.search(path):
            raise Invalid(field, "a path that begins with '/' and has '*' at its end or nowhere", checks.shown(path))
    return tuple(found)


def _as_denied(pattern: str) -> str:
    """Frameworks such as Express ignore a path's case, and a slash at its end."""
    return pattern.casefold() if pattern.endswith("*") else _unended(pattern.casefold())


def _unended(path: str) -> str:
    return path.rstrip("/") or "/"


def _matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
