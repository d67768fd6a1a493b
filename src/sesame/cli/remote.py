"""Calls a deployed function over HTTP with a signed request, and gives back everything that was answered.

Used by `sesame invoke --service`. Knows Sesame as any customer would: an endpoint and a key.
"""

import base64
import email.utils
import http.client
import os
from urllib.parse import quote, urlsplit

import msgspec

from sesame.data_dir import DataDir
from sesame.fc.auth import signature
from sesame.model.errors import ConfigurationError

API_VERSION = "2016-08-15"


class Server(msgspec.Struct, frozen=True):
    """Where to call, and with which key."""

    endpoint: str
    access_key_id: str
    access_key_secret: str


class RemoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `error_type` is X-Fc-Error-Type; `refused` is the API's own error, with its code."""

    status: int
    body: bytes
    request_id: str
    error_type: str
    refused: str
    log_tail: bytes
    duration_ms: str
    memory_mb: str


class _Failure(msgspec.Struct, rename="pascal"):
    error_code: str = ""
    error_message: str = ""


def find_server(data_dir: DataDir) -> Server:
    """The Sesame of the data directory; else what `sesame env` exported into the environment."""
    names = ("FC_ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET")
    if (running := data_dir.running()) is not None:
        credentials = data_dir.credentials()
        return Server(running.fc, credentials.access_key_id, credentials.access_key_secret)
    values = [os.environ.get(name, "") for name in names]
    if all(values):
        return Server(*values)
    data_dir.refuse_file()
    raise ConfigurationError(
        f"no Sesame runs on the data directory {data_dir.path}, and {', '.join(names)} are not all set: start one with "
        '`sesame start`, name its --data-dir, or eval "$(sesame env)"'
    )


def call(server: Server, service: str, function: str, event: bytes, *, timeout_s: float) -> RemoteAnswer:
    """Invokes `service[.qualifier]/function` and waits. Raises `ConfigurationError` when nobody answers."""
    path = f"/{API_VERSION}/services/{quote(service, safe='')}/functions/{quote(function, safe='')}/invocations"
    url = urlsplit(server.endpoint)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout_s)
    try:
        connection.request("POST", path, event, _signed_headers(server, path))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ConfigurationError(f"{server.endpoint} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
    header = response.headers
    return RemoteAnswer(
        status=response.status,
        body=body,
        request_id=header.get("X-Fc-Request-Id", ""),
        error_type=header.get("X-Fc-Error-Type", ""),
        refused=_refusal(body) if response.status >= 400 else "",
        log_tail=base64.b64decode(header.get("X-Fc-Log-Result", "")),
        duration_ms=header.get("X-Fc-Invocation-Duration", ""),
        memory_mb=header.get("X-Fc-Max-Memory-Usage", ""),
    )


def _signed_headers(server: Server, path: str) -> dict[str, str]:
    headers = {
        "Date": email.utils.formatdate(usegmt=True),
        "Content-Type": "application/octet-stream",
        "X-Fc-Log-Type": "Tail",
        "X-Fc-Invocation-Type": "Sync",
    }
    signed = signature.Signed(
        method=b"POST",
        content_md5=b"",
        content_type=headers["Content-Type"].encode(),
        date=headers["Date"].encode(),
        fc_headers=signature.canonical_headers(
            (name.lower().encode(), value.encode()) for name, value in headers.items()
        ),
    )
    text = signature.string_to_sign(signed, signature.decoded_path(path.encode()))
    made = signature.sign(server.access_key_secret.encode(), text).decode()
    return headers | {"Authorization": f"FC {server.access_key_id}:{made}"}


def _refusal(body: bytes) -> str:
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")
    return f"{failure.error_code}: {failure.error_message}"
