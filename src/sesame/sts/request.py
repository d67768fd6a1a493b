"""Parses a request to STS in either of its two wire forms (reference/companions.md §2.1).

RPC 1.0 has everything in parameters, including the signature; ACS3-HMAC-SHA256 has the action and the signature in
headers. Parameters may be in the query or in a form as the body, with the same meaning. Other bodies are refused.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from sesame.http.request import Request as HttpRequest
from sesame.identity import acs_signature
from sesame.sts.errors import StsError, missing, shown

VERSION = "2015-04-01"
BODY_BYTES_MAX = 64 * 1024
_FORM = b"application/x-www-form-urlencoded"
_METHODS = ("GET", "POST")


class Request(msgspec.Struct, frozen=True):
    """`headers` are keyed by lower-case name, `parameters` are of query and body, `acs` is for ACS3 signatures."""

    http: HttpRequest
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes
    acs: acs_signature.Authorization | None

    @property
    def action(self) -> str:
        return (self.headers.get("x-acs-action", "") if self.acs else "") or self.parameters.get("Action", "")

    @property
    def version(self) -> str:
        return (self.headers.get("x-acs-version", "") if self.acs else "") or self.parameters.get("Version", "")

    def required(self, name: str) -> str:
        """Raises StsError if the parameter is absent or empty."""
        value = self.parameters.get(name, "")
        if not value:
            raise missing(name)
        return value


def wants_xml(http: HttpRequest, body: bytes = b"") -> bool:
    """RPC answers XML unless the request asks for JSON, as in the cloud; with ACS3 the Accept header decides."""
    formats = [value.upper() for name, value in _parameters(http, body) if name == "Format"]
    if formats:
        return formats[0] != "JSON"
    if http.header(b"x-acs-action") is not None:
        return b"xml" in (http.header(b"accept") or b"")
    return True


def parse(http: HttpRequest, body: bytes) -> Request:
    """Raises StsError for a request that the API does not have."""
    if http.method not in _METHODS:
        raise StsError("UnsupportedHTTPMethod")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in http.headers}
    if body and not _is_form(http):
        raise StsError("InvalidParameter", f"The body cannot be read: expected {_FORM.decode()}, or no body.")
    parameters: dict[str, str] = {}
    for name, value in _parameters(http, body):
        if name in parameters:
            raise StsError(
                "InvalidParameter", f"The request has the parameter {shown(name)} more than once: send it once."
            )
        parameters[name] = value
    sent = headers.get("authorization", "").encode("latin-1")
    acs = acs_signature.parse(sent) if sent else None
    if sent and acs is None:
        raise StsError(
            "SignatureDoesNotMatch", f"The Authorization header is not well formed: expected {acs_signature.FORM}."
        )
    request = Request(http, headers, parameters, body, acs)
    if not request.action:
        raise missing("Action")
    if not request.version:
        raise missing("Version")
    if request.version != VERSION:
        raise StsError("NoSuchVersion")
    return request


def _parameters(http: HttpRequest, body: bytes) -> list[tuple[str, str]]:
    """The parameters of the query, and of the body if it is a form."""
    return _items(http.query) + (_items(body) if body and _is_form(http) else [])


def _is_form(http: HttpRequest) -> bool:
    return (http.header(b"content-type") or b"").partition(b";")[0].strip().lower() == _FORM


def _items(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except (UnicodeDecodeError, ValueError) as error:
        raise StsError("InvalidParameter", "The parameters cannot be read: expected at most 100, in UTF-8.") from error
