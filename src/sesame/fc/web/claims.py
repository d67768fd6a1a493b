"""Finds a request's token and passes its claims to the function; only a token can set the parameters of claims.

Called by `fc.web.admission`. A parameter that receives claims is never taken from the caller, even if the path needs no
token or the token lacks the claim.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from sesame.control import jwt_auth
from sesame.control.jwt_auth import COOKIE, FORM, HEADER, QUERY, JwtAuth, Lookup, header_key
from sesame.fc.refusals import AccessDenied
from sesame.fc.web import forms
from sesame.fc.web.response_heads import HEADERS_BYTES_MAX
from sesame.fc.web.ways import URL_BYTES_MAX, Way
from sesame.http.request import Request

Header = tuple[bytes, bytes]

_COOKIE = b"cookie"
_PARTED = re.compile(r"[\s,]")
# Larger forms are parsed and built in a thread.
_AT_ONCE_BYTES = 64 * 1024
# RFC 6265: what a cookie's value may contain besides letters and digits.
_COOKIE_SAFE = "!#$%&'()*+-./:<=>?@[]^_`{|}~"


class Incoming(msgspec.Struct, frozen=True):
    """A request and its way so far."""

    request: Request
    way: Way
    form: forms.Form


def callers_own(way: Way, headers: Iterable[Header]) -> Iterator[Header]:
    """The headers that the caller may set."""
    if not way.withheld:
        return iter(headers)
    return (header for header in headers if header_key(header[0].decode("latin-1")) not in way.withheld)


async def of_token(auth: JwtAuth, incoming: Incoming, now: float) -> dict[str, Any]:
    """The claims of the first token found. Raises `AccessDenied` if there is none or it is invalid."""
    from sesame.control.jwt_keys import TokenRefused  # its library was imported with the keys

    for lookup in auth.lookups:
        found = await _found(lookup, incoming)
        if len(found) > 1:
            _refuse(f"{lookup.place} '{lookup.name}' holds {len(found)} of them, expected one")
        if found:
            try:
                return auth.keys.claims(found[0], now)
            except TokenRefused as error:
                _refuse(str(error))
    places = ", ".join(f"{lookup.place} '{lookup.name}'" for lookup in auth.lookups)
    raise AccessDenied(f"the JSON Web Token is missing: expected it in {places}")


async def passed(auth: JwtAuth, incoming: Incoming, claimed: dict[str, Any] | None) -> Way:
    """The way with the claims added; claims passed in a form are then in the form's body."""
    names: dict[str, set[str]] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    for each in auth.passed:
        names.setdefault(each.place, set()).add(each.name)
        value = (claimed or {}).get(each.claim) if each.claim else None
        if value is not None:
            pairs.setdefault(each.place, []).append((each.name, _text(value)))
    way = _with_headers(incoming, names, pairs)
    if QUERY in names:
        way = _with_query(incoming, way, names[QUERY], pairs.get(QUERY, []))
    if FORM in names:
        forms.require_no_other_form(incoming.request)
        await _into_form(incoming.form, names[FORM], pairs.get(FORM, []))
    return way


async def _into_form(form: forms.Form, names: set[str], pairs: list[tuple[str, str]]) -> None:
    body = await form.get()
    if body is not None and len(body) > _AT_ONCE_BYTES:
        form.body = await asyncio.to_thread(forms.replaced, body, names, pairs)
    elif body is not None:
        form.body = forms.replaced(body, names, pairs)


async def _found(lookup: Lookup, incoming: Incoming) -> list[str]:
    """All non-empty values at this place."""
    match lookup.place:
        case jwt_auth.HEADER:
            name = lookup.name.encode()
            values = [
                _unprefixed(value.decode("latin-1"), lookup.prefix)
                for sent, value in incoming.request.headers
                if sent == name
            ]
        case jwt_auth.COOKIE:
            parts = [part for sent, part in _cookies(incoming.request.headers) if sent == lookup.name]
            values = [part.partition("=")[2].strip().strip('"') for part in parts]
        case jwt_auth.QUERY:
            values = forms.values(incoming.way.query, lookup.name)
        case _:
            values = await _of_form(incoming.form, lookup.name)
    return [value for value in values if value]


async def _of_form(form: forms.Form, name: str) -> list[str]:
    body = await form.get()
    if body is None:
        return []
    if len(body) > _AT_ONCE_BYTES:
        return await asyncio.to_thread(forms.values, body, name)
    return forms.values(body, name)


def _unprefixed(value: str, prefix: str) -> str:
    """ "" if the value has another prefix, so is not a token. Like schemes (RFC 9110), prefixes match in any case."""
    if value[: len(prefix)].lower() != prefix.lower():
        return ""
    return value[len(prefix) :].strip()


def _cookies(headers: Iterable[Header]) -> Iterator[tuple[str, str]]:
    """The name of each cookie, and the whole cookie as it was sent."""
    for name, value in headers:
        if name == _COOKIE:
            for part in value.decode("latin-1").split(";"):
                yield part.partition("=")[0].strip(), part.strip()


def _names_in(part: str) -> set[str]:
    """All cookie names that a function may find in it: some also split at white space and commas."""
    return {each.partition("=")[0] for each in _PARTED.split(part)} | {part.partition("=")[0].strip()}


def _with_headers(incoming: Incoming, names: dict[str, set[str]], pairs: dict[str, list[tuple[str, str]]]) -> Way:
    way = incoming.way
    withheld = {header_key(name) for name in names.get(HEADER, ())}
    given = [(name.lower().encode(), _header_value(name, value)) for name, value in pairs.get(HEADER, ())]
    if COOKIE in names:
        withheld.add("cookie")
        kept = [part for _name, part in _cookies(_all(incoming)) if part and not names[COOKIE] & _names_in(part)]
        kept += [f"{name}={quote(value, safe=_COOKIE_SAFE)}" for name, value in pairs.get(COOKIE, ())]
        if kept:
            given.append((_COOKIE, "; ".join(kept).encode("latin-1")))
    if not withheld:
        return way
    former = [header for header in way.given if header_key(header[0].decode()) not in withheld]
    if sum(len(name) + len(value) for name, value in given) > HEADERS_BYTES_MAX:
        _refuse(f"its claims take more than the {HEADERS_BYTES_MAX} bytes that headers may have in all")
    return msgspec.structs.replace(way, given=(*former, *given), withheld=way.withheld | withheld)


def _all(incoming: Incoming) -> list[Header]:
    return [*callers_own(incoming.way, incoming.request.headers), *incoming.way.given]


def _with_query(incoming: Incoming, way: Way, names: set[str], pairs: list[tuple[str, str]]) -> Way:
    """Also updates the original query, which some functions see besides the rewritten one."""
    original_query = incoming.request.query if way.asked_query is None else way.asked_query
    query = forms.replaced(way.query, names, pairs)
    if pairs and len(query) > URL_BYTES_MAX:
        _refuse(f"with its claims the query has {len(query)} bytes, more than the {URL_BYTES_MAX} that are allowed")
    return msgspec.structs.replace(way, query=query, asked_query=forms.replaced(original_query, names, pairs))


def _header_value(name: str, value: str) -> bytes:
    """Encodes the value in UTF-8, the usual encoding for headers with text that is not ASCII."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        _refuse(f"the claim for header '{name}' has control characters, which no header may have")
    return value.encode("utf-8", "replace")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _refuse(reason: str) -> NoReturn:
    raise AccessDenied(f"the JSON Web Token is refused: {reason}")
