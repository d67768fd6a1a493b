"""Calls the handler with what the platform gives it; then deploys the project to a Sesame of the tests, and calls it there."""
import json
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "code"))

import index  # noqa: E402


class Context:
    request_id = "test"


def test_it_greets():
    assert json.loads(index.handler(b'{"name": "Ada"}', Context())) == {"greeting": "Hello Ada"}


def test_it_greets_when_it_is_deployed(sesame):
    """The fixture comes with Sesame: pip install 'sesame-fc[testing]'."""
    function = sesame.deploy_template(os.path.join(ROOT, "s.yaml"))["x/hello"]
    assert function.invoke({"name": "Ada"}).json() == {"greeting": "Hello Ada"}
    function.assert_logged("greeting Ada")
