"""Packages in JSON bodies: taken out and decoded in steps, the rest of the body as it was."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sesame.fc import code_text
from sesame.fc.code_text import LONG_BYTES, STEP_BYTES, cut
from sesame.fc.refusals import EntityTooLarge
from sesame.model import limits
from sesame.model.errors import Unusable

ARCHIVE = bytes(range(256)) * (3 * STEP_BYTES // 256)


def body(text: str, **others: Any) -> bytes:
    return json.dumps({"functionName": "f", **others, "code": {"zipFile": text}}).encode()


def test_a_large_package_is_taken_out_and_the_rest_stays() -> None:
    sent = body(base64.b64encode(ARCHIVE).decode(), description='quote " and slash \\', handler="a.b")
    parted = cut(sent)
    assert parted.archive == ARCHIVE
    expected = json.loads(sent)
    expected["code"]["zipFile"] = "-"
    assert json.loads(parted.document) == expected


@pytest.mark.parametrize("key", ['"ZIPFILE"', '"zipFile" \n ', '"zipfile"\t'])
def test_the_key_counts_in_any_case(key: str) -> None:
    sent = body(base64.b64encode(ARCHIVE).decode()).replace(b'"zipFile"', key.encode())
    assert cut(sent).archive == ARCHIVE


def test_escapes_and_broken_lines_are_read() -> None:
    text = base64.encodebytes(ARCHIVE[:-1]).decode()
    for sent in (
        body(text),
        body(text).replace(b"/", b"\\/"),
        body(text).replace(b"+", b"\\u002B").replace(b"=", b"\\u003d"),
        body(text.replace("\n", "\r\n")),
    ):
        assert cut(sent).archive == ARCHIVE[:-1]


@settings(max_examples=30)
@given(st.integers(0, 40), st.sampled_from(["/", "+", "="]), st.integers(1, 7))
def test_where_a_step_ends_makes_no_difference(padding: int, escaped: str, missing: int) -> None:
    archive = ARCHIVE[: STEP_BYTES + padding * 1000 - missing]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_text, "STEP_BYTES", 997 + padding)
        sent = body(base64.b64encode(archive).decode()).replace(escaped.encode(), b"\\u%04x" % ord(escaped))
        assert cut(sent).archive == archive


def test_small_strings_and_other_strings_stay() -> None:
    small = body(base64.b64encode(bytes(1000)).decode())
    assert cut(small) == code_text.Cut(small, None)
    other = json.dumps({"description": "a" * (LONG_BYTES + 1)}).encode()
    assert cut(other) == code_text.Cut(other, None)


@pytest.mark.parametrize(
    "sent", [b'{"a": "b', b'"', b'{"code": {"zipFile": "' + b"A" * (LONG_BYTES * 2), b"", b"[1, 2]"]
)
def test_what_is_no_json_stays_so(sent: bytes) -> None:
    assert cut(sent) == code_text.Cut(sent, None)


@pytest.mark.parametrize("wrong", ["!", "=AAA", "\u4e2d", "\\", "AA=A"])
def test_what_is_no_base64_is_refused(wrong: str) -> None:
    text = base64.b64encode(ARCHIVE).decode()
    for at in (100, len(text) // 2, len(text) - 4):
        with pytest.raises(Unusable, match="is not base64"):
            cut(body(text[:at] + wrong + text[at:]))


@pytest.mark.parametrize(
    "sent",
    [
        b'{"description": "%b"}' % (b"a" * (limits.DOCUMENT_BYTES + 2)),
        b'"a",' * limits.DOCUMENT_BYTES,
        b'"' + b'\\"' * (limits.DOCUMENT_BYTES + 2) + b'"',
        b"0" * (limits.DOCUMENT_BYTES + 2),
    ],
)
def test_what_is_large_without_a_package_is_refused(sent: bytes) -> None:
    with pytest.raises(EntityTooLarge):
        cut(sent)


def test_a_package_beyond_the_limit_is_not_decoded() -> None:
    with pytest.raises(Unusable, match="too large"):
        cut(b'{"code": {"zipFile": "%b"}}' % (b"A" * (limits.CODE_ZIP_BYTES // 3 * 4 + 8 * 1024 * 1024)))
