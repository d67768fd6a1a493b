"""A function's error is told on, whatever the function has sent as its body."""

import pytest

from sesame.engine.error_bodies import message_of


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"errorMessage": "it failed", "errorType": "E"}', "it failed"),
        (b'{"errorMessage": 7}', "7"),
        (b"", ""),
        (b"plain", "plain"),
        (b"[]", "[]"),
        (b'{"errorType": "E"}', '{"errorType": "E"}'),
        (b"\xff", "\ufffd"),
        (b'{"errorMessage": "\xff"}', '{"errorMessage": "\ufffd"}'),
        (b'{"errorMessage":' + b"[" * 100_000, '{"errorMessage":' + "[" * 100_000),
        (b'{"errorMessage":' + b"9" * 5_000 + b"}", None),
    ],
    ids=["usual", "number", "empty", "text", "list", "no message", "no UTF-8", "no UTF-8 in it", "deep", "long"],
)
def test_its_message_or_the_body_itself(body: bytes, message: str | None) -> None:
    said = message_of(body)
    assert message is None or said == message
