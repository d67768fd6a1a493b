"""Calls an HTTP function through WSGI and collects its response (reference/runtime.md section 9).

Used by bootstrap.py when a call carries HTTP parameters.
Never streams: the body is read to its end, and `close` of the iterable is not called.

Names and values of headers and the query are bytes. On the wire each byte is one character (Latin-1).
"""

import io
import os
import re
import sys

_TEXT = type(u"")
_PY2 = sys.version_info[0] == 2
_SURROGATES = () if _PY2 else ("surrogateescape",)
_HEADER_NAME = re.compile(u"[!#$%&'*+\\-.^_`|~0-9A-Za-z]+\\Z")
_NOT_IN_A_VALUE = re.compile(u"[\x00-\x08\x0a-\x1f\x7f]")
# A frame's header may have 1 MiB of JSON; the host refuses responses with more than 8 KiB of headers.
_HEADERS_MAX_CHARACTERS = 128 * 1024
_SHOWN_CHARACTERS = 80


class InvalidResponse(Exception):
    """The status or a header cannot be sent; the message says which and why."""


def respond(application, params, body, context):
    """Returns ({"status": int, "headers": [[name, value], ...]}, body). `params` are as in docs/wire-protocol.md.

    Raises what the application raises, `TypeError` for an invalid body, `InvalidResponse` for what cannot be sent.
    """
    response = {"status": "200 OK", "headers": []}
    written = []

    def start_response(status, headers, exc_info=None):
        response["status"] = status
        response["headers"] = [(name, value) for name, value in headers]
        return lambda data: written.append(_bytes(data))

    answer = application(_environ(params, body, context), start_response)
    payload = b"".join(written) + _read(answer)
    # After reading the body: its exceptions take precedence, and the application may call start_response again.
    return {"status": _status(response["status"]), "headers": _headers(response["headers"])}, payload


def _status(value):
    text = _on_the_wire(value).split(u" ", 1)[0]
    if len(text) != 3 or not text.isdigit():
        raise InvalidResponse("the response's status is %s, expected three digits and a reason" % _shown(value))
    return int(text)


def _headers(pairs):
    found = [[_on_the_wire(name), _on_the_wire(value)] for name, value in pairs]
    for name, value in found:
        if not _HEADER_NAME.match(name) or _NOT_IN_A_VALUE.search(value):
            raise InvalidResponse(
                "the response's header %s has characters that are not allowed in headers" % _shown(name)
            )
    size = sum(len(name) + len(value) for name, value in found)
    if size > _HEADERS_MAX_CHARACTERS:
        raise InvalidResponse("the response's headers have %d bytes, more than can be sent" % size)
    return found


def _on_the_wire(value):
    """The bytes that the application means, each as one character.

    Text is Latin-1 as in WSGI; otherwise UTF-8, in which surrogates that stand for bytes become those bytes.
    """
    if not isinstance(value, (bytes, _TEXT)):
        value = str(value)
    if isinstance(value, bytes):
        return bytes.decode(value, "latin-1")
    try:
        return _TEXT.encode(value, "latin-1").decode("latin-1")
    except UnicodeEncodeError:
        pass
    try:
        return _TEXT.encode(value, "utf-8", *_SURROGATES).decode("latin-1")
    except UnicodeEncodeError:
        raise InvalidResponse("%s, in the response's status or a header, cannot be encoded" % _shown(value))


def _shown(value):
    """For messages: the value's repr, without Python 2's prefix for text, and at most a line long."""
    shown = repr(value).lstrip("u")
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."


def _environ(params, body, context):
    environ = dict(os.environ)
    environ.update({
        "REQUEST_METHOD": params["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": _path(params),
        "QUERY_STRING": _from_the_wire(params.get("query") or ""),
        "CONTENT_TYPE": "application/octet-stream",
        "SERVER_NAME": "FCRUNTIME",
        "SERVER_PORT": "9000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "FCRUNTIME/1.0",
        "REMOTE_ADDR": params.get("client_ip") or "",
        "HTTP": "on",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": params.get("scheme") or "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "fc.context": context,
        "fc.request_uri": _from_the_wire(params.get("request_uri") or ""),
    })
    environ.update(_header_variables(params.get("headers") or ()))
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["HTTP_X_FC_FUNCTION_HANDLER"] = context.function.handler
    return environ


def _header_variables(headers):
    variables = {}
    for name, value in headers:
        key, value = _from_the_wire(name).upper().replace("-", "_"), _from_the_wire(value)
        if key == "CONTENT_LENGTH":
            continue
        if key != "CONTENT_TYPE":
            key = "HTTP_" + key
        # In a cookie, a comma would be part of the value (RFC 9113 section 8.2.3).
        separator = "; " if key == "HTTP_COOKIE" else ","
        variables[key] = variables[key] + separator + value if key in variables else value
    return variables


def _path(params):
    if "raw_path" in params:
        return _from_the_wire(params["raw_path"])
    path = params.get("path") or "/"
    return path if _PY2 else path.encode("utf-8").decode("latin-1")


def _from_the_wire(text):
    """The native string of PEP 3333: bytes under Python 2, bytes as Latin-1 characters under Python 3."""
    # Under Python 2 the shim has encoded everything that came as JSON in UTF-8.
    return text.decode("utf-8").encode("latin-1") if _PY2 else text


def _read(answer):
    if isinstance(answer, (bytes, _TEXT)):
        return _bytes(answer)
    try:
        parts = iter(answer)
    except TypeError:
        raise TypeError("invalid response type")
    return b"".join([_bytes(part) for part in parts])


def _bytes(part):
    if isinstance(part, bytes):
        return part
    if isinstance(part, _TEXT):
        return _TEXT.encode(part, "utf-8")
    raise TypeError("invalid response type")
