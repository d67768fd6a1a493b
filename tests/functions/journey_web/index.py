# -*- coding: utf-8 -*-
import base64
import json

visits = []


def my_handler(environ, start_response):
    visits.append(1)
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise ValueError("no such visit")
    if path == "/binary":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return [bytes(bytearray(range(256)))]
    if path == "/statuses":
        start_response("418 I'm a teapot", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Fc-Mine", "no")])
        return [b"short and stout"]
    shown = {key: value for key, value in environ.items() if key.startswith(("HTTP_", "REQUEST", "QUERY", "PATH_INFO"))}
    seen = {
        "environ": shown,
        "body": base64.b64encode(body).decode(),
        "uri": environ["fc.request_uri"],
        "request_id": environ["fc.context"].request_id,
        "function": environ["fc.context"].function.name,
        "visits": len(visits),
        "scheme": environ["wsgi.url_scheme"],
    }
    start_response("202 Accepted", [("Content-Type", "application/json"), ("X-Made-By", "wsgi")])
    return [json.dumps(seen).encode("ascii")]
