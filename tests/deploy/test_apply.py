"""A refusal names the part of the project that was refused. Run by pytest; the server is a fake."""

from pathlib import Path

import pytest

from sesame.cli.client import Answer, Refused
from sesame.deploy.apply import apply
from sesame.deploy.plan import Plan, Step


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
