"""Calls an HTTP function as WSGI does and gathers its response (reference/runtime.md section 9).

Used by bootstrap.py when a call carries HTTP parameters.
Never streams: the body is read to its end, and `close` of the iterable is not called.
"""

import io
import os
import sys

_TEXT = type(u"")
_PY2 = sys.version_info[0] == 2


def respond(application, params, body, context):
    """({"status": int, "headers": [[name, value], ...]}, body). `params` as in docs/wire-protocol.md."""
    response = {"status": 200, "headers": []}
    written = []

    def start_response(status, headers, exc_info=None):
        response["status"] = int(str(status).split(" ", 1)[0])
        response["headers"] = [[_string(name), _string(value)] for name, value in headers]
        return lambda data: written.append(_bytes(data))

    answer = application(_environ(params, body, context), start_response)
    return response, b"".join(written) + _read(answer)


def _environ(params, body, context):
    environ = dict(os.environ)
    environ.update({
        "REQUEST_METHOD": params["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": _wsgi_text(params.get("path") or "/"),
        "QUERY_STRING": params.get("query") or "",
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
        "fc.request_uri": params.get("request_uri") or "",
    })
    environ.update(_header_variables(params.get("headers") or ()))
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["HTTP_X_FC_FUNCTION_HANDLER"] = context.function.handler
    return environ


def _header_variables(headers):
    variables = {}
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_LENGTH":
            continue
        if key != "CONTENT_TYPE":
            key = "HTTP_" + key
        variables[key] = variables[key] + "," + value if key in variables else value
    return variables


def _wsgi_text(text):
    """Text as PEP 3333 wants it: under Python 3 the bytes of UTF-8, each as one character."""
    return text if _PY2 else text.encode("utf-8").decode("latin-1")


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
        return part.encode("utf-8")
    raise TypeError("invalid response type")


def _string(value):
    if isinstance(value, bytes) and not _PY2:
        return value.decode("latin-1")
    return value if isinstance(value, (bytes, _TEXT)) else str(value)
