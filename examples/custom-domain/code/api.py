"""The API of a shop."""

import json


def handler(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"path": environ["PATH_INFO"], "host": environ["HTTP_HOST"]}).encode()]
