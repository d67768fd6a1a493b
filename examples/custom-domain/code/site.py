"""The pages of a shop."""


def handler(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return ["<h1>{}</h1>".format(environ["PATH_INFO"]).encode()]
