"""A refusal names the part of the project that was refused, and a plan what does not run here; with fake servers."""

from pathlib import Path

import pytest

from sesame.cli.client import Answer, Refused
from sesame.deploy.apply import apply
from sesame.deploy.plan import Plan, Step, plan
from sesame.deploy.project import Code, Function, Place, Project


class Refusing:
    def ask(self, method: str, path: str, document: object = None) -> None:
        body = b'{"ErrorCode": "InvalidArgument", "ErrorMessage": "Runtime is set to an invalid value"}'
        raise Refused(Answer(status=400, body=body, headers={"x-fc-request-id": "rid"}))

    def pages(self, path: str, key: str) -> None:
        raise AssertionError(path)


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    made = Plan((Step(action="create", what="function shop/order", method="POST", path="/x", document={}),), ())
    with pytest.raises(Refused, match=r"^function shop/order: InvalidArgument: Runtime is set .* \(HTTP 400") as raised:
        apply(made, Refusing(), lambda step: None)  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.message) == ("InvalidArgument", "Runtime is set to an invalid value")


class Empty(Refusing):
    def ask(self, method: str, path: str, document: object = None) -> None:
        raise Refused(Answer(status=404, body=b"{}", headers={}))


def test_a_runtime_that_does_not_run_here_is_noted(tmp_path: Path) -> None:
    code = Code(bucket="b", object="o")
    functions = tuple(
        Function(service="s", name=name, fields={"runtime": runtime}, code=code, place=Place("t.yml", 3))
        for name, runtime in (("old", "php7.2"), ("new", "python3.12"))
    )
    made = plan(Project(source=tmp_path, functions=functions), Empty())  # type: ignore[arg-type]
    (note,) = made.notes
    assert (str(note.place), note.error) == ("t.yml:3", False)
    assert note.text == "function s/old: php7.2 does not run here: its calls are refused"
