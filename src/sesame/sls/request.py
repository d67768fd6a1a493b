"""Parses project, path, query and headers of a request to the Log Service.

Called first by `sls.app`; all later steps use the `Request` created here.
"""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from sesame.http.request import Request as HttpRequest
from sesame.sls.errors import SlsError

QUERY_PARAMETERS_MAX = 100
NUMBER_MAX = 10**18 - 1
HASH_KEY = re.compile(r"[0-9a-fA-F]{32}\Z")
_PORT = re.compile(r":[0-9]*\Z")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{1,126}[a-z0-9]\Z")
# The cloud's public, internal and accelerated hosts, below which a first label names a project.
_CLOUD_HOST = re.compile(r"[a-z0-9-]{1,63}\.(log|sls)\.aliyuncs\.com\Z")
_IPV4_HOST = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\Z")


class Request(msgspec.Struct, frozen=True):
    """`project` is "" for the service itself. `path` is decoded, `raw_path` is as sent; header names are lower case.

    `host` is the Host header without its port, and `port` the part cut off (`:9002`).
    """

    method: str
    project: str
    path: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    host: str
    port: str
    client_ip: str
    secure: bool

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name, default)


def parse(request: HttpRequest, own_hosts: Collection[str]) -> Request:
    """`own_hosts`: names of this machine, below which a first label names a project. Raises SlsError."""
    headers = _headers(request)
    sent_host = headers.get("host", "").lower()
    if not sent_host:
        raise SlsError("MissingHost")
    found = _PORT.search(sent_host)
    port = found.group() if found else ""
    host = sent_host.removesuffix(port)
    return Request(
        method=request.method,
        project=project_of_host(host, own_hosts),
        path=_decoded(request.raw_path),
        raw_path=request.raw_path.decode("latin-1"),
        query=_query(request.query),
        headers=headers,
        host=host,
        port=port,
        client_ip=request.client[0],
        secure=request.scheme == "https",
    )


def project_of_host(host: str, own_hosts: Collection[str]) -> str:
    """The project in `host`, which has no port; "" if it names the service.

    POLICY: the first label of any other domain is a project too, since a resolver or a hosts file may point such
    names to Sesame.
    """
    if host in own_hosts or "." not in host or host.startswith("["):
        return ""
    if _IPV4_HOST.match(host) or _CLOUD_HOST.match(host):
        return ""
    return host.partition(".")[0]


def check_project_name(name: str) -> None:
    """Raises SlsError for an invalid project name."""
    if not _PROJECT.match(name):
        raise SlsError(
            "ParameterInvalid",
            f"projectName '{name}' is invalid: expected 3 to 128 lower-case letters, digits, '-' or '_', with a letter "
            "or a digit at both ends",
        )


def _headers(request: HttpRequest) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in request.headers:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("utf-8", "replace").strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _query(raw: bytes) -> dict[str, str]:
    """Parses form data. Repeated names are refused, since one of the values would be ignored."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_PARAMETERS_MAX
        )
    except ValueError as error:
        raise SlsError(
            "ParameterInvalid", f"the query string cannot be read ({error}): expected form data in UTF-8"
        ) from error
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise SlsError("ParameterInvalid", f"parameter {name} is invalid: expected it once, found it twice")
        query[name] = value
    return query


def _decoded(raw_path: bytes) -> str:
    try:
        return unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise SlsError("ParameterInvalid", "the path is no UTF-8") from error
