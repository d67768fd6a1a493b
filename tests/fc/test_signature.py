"""The string-to-sign and the signature, against the vendor's own vectors and the official SDK's signer."""

import pytest
from fc2.auth import Auth
from hypothesis import given
from hypothesis import strategies as st

from sesame.fc.auth import signature
from sesame.fc.auth.signature import Signed

# reference/api.md §1.1: fixtures of fc-go-sdk and fc-java-sdk; the keys are public dummies.
LONG_SECRET = b"S9MWOBG0AOWHSO9HPASP216QOPHT5YR4NLH3A"
CHINESE = "/test/path/中文".encode()
VECTORS = [
    (
        LONG_SECRET,
        Signed(b"GET", b"ef5b43a0fe1d5b401b62c3ba33a7a3d6", b"text/json", b"1583221068", b"x-fc-trace-id:trace-id\n"),
        b"/2016-08-15/proxy/service.LATEST/func/abc%20123",
        b"x=xyz&x=456&a=123%2045&x-fc-access-key-id=akID&x-fc-expires=1583221068&x-fc-security-token=stsToken",
        b"QFdNhz0Dl+onUM/MvpX940WFH3H8OHayZHbby1c01aI=",
    ),
    (
        b"akSec",
        Signed(b"GET", b"", b"", b"1583339600", b""),
        b"/2016-08-15/proxy/service/func/",
        b"x-fc-access-key-id=akid&x-fc-expires=1583339600&x-fc-security-token=stsToken",
        b"Yi0jCBQ6cTZc+tN8wtYUz9FbYNijx5jDiE3sVNW6XwA=",
    ),
    (
        b"akSec",
        Signed(b"POST", b"dummy-md5", b"application/json", b"1583844558", b"x-fc-trace-id:trace-id\n"),
        b"/2016-08-15/proxy/service.LATEST/funcName/test/path/%E4%B8%AD%E6%96%87",
        b"a=1&x=a&x=b&x-fc-access-key-id=akID&x-fc-expires=1583844558&x-fc-security-token=stsToken",
        b"PoEmPVmMfNAhQGYUsQhDD+qj+rv4YRCjybLgjtRMJ1U=",
    ),
    (
        b"akSec",
        Signed(b"POST", b"dummy-md5", b"application/json", b"1583844558", b"x-fc-trace-id:trace-id\n"),
        b"/test/path/%E4%B8%AD%E6%96%87",
        b"a=1&x=a&x=b&x-fc-access-key-id=akID&x-fc-expires=1583844558&x-fc-security-token=stsToken",
        b"q6nscsHhckwZh3oIa7fP+E3JlY8NBOjVHtGMJqvlfbA=",
    ),
]


@pytest.mark.parametrize(("secret", "signed", "path", "query", "expected"), VECTORS)
def test_vendor_vectors_of_presigned_links(
    secret: bytes, signed: Signed, path: bytes, query: bytes, expected: bytes
) -> None:
    with_own_item = query + b"&x-fc-signature=" + expected.replace(b"+", b"%2B").replace(b"=", b"%3D")
    first = signature.trigger_resources(path, with_own_item)[0]
    assert signature.sign(secret, signature.string_to_sign(signed, first)) == expected


def test_the_first_vector_spelled_out() -> None:
    text = signature.string_to_sign(
        VECTORS[0][1], signature.trigger_resources(b"/2016-08-15/proxy/service.LATEST/func/abc%20123", b"a=123+45")[0]
    )
    assert text == (
        b"GET\nef5b43a0fe1d5b401b62c3ba33a7a3d6\ntext/json\n1583221068\nx-fc-trace-id:trace-id\n"
        b"/2016-08-15/proxy/service.LATEST/func/abc 123\na=123 45"
    )


def test_a_trigger_without_a_query_keeps_the_line_feed() -> None:
    assert signature.trigger_resources(b"/p", b"") == (b"/p\n",)


def test_items_are_tried_sorted_and_then_as_they_stand() -> None:
    assert signature.trigger_resources(b"/p", b"b=2&a=1") == (b"/p\na=1\nb=2", b"/p\nb=2\na=1")


def test_an_empty_value_is_tried_with_and_without_its_sign() -> None:
    tried = signature.trigger_resources(b"/p", b"a&b=")
    assert b"/p\na\nb" in tried
    assert b"/p\na=\nb=" in tried
    assert tried[0] == b"/p\na\nb="


def test_the_raw_path_is_tried_after_the_decoded_one() -> None:
    assert signature.trigger_resources(b"/a%20b", b"") == (b"/a b\n", b"/a%20b\n")


def test_headers_are_sorted_by_name_and_kept_as_sent() -> None:
    headers = [(b"x-fc-trace-id", b" a  b "), (b"date", b"now"), (b"x-fc-account-id", b"")]
    assert signature.canonical_headers(headers) == b"x-fc-account-id:\nx-fc-trace-id: a  b \n"


def test_no_headers_give_nothing() -> None:
    assert signature.canonical_headers([(b"host", b"x")]) == b""


header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    own=st.dictionaries(st.sampled_from(["content-md5", "content-type", "date"]), header_text),
    fc=st.dictionaries(st.from_regex(r"x-fc-[a-z-]{1,10}", fullmatch=True), header_text, max_size=4),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
)
def test_agrees_with_the_official_signer(
    method: str, path: str, own: dict[str, str], fc: dict[str, str], secret: str
) -> None:
    theirs = Auth("id", secret).sign_request(method, path, {**own, **fc})
    signed = Signed(
        method.encode(),
        own.get("content-md5", "").encode(),
        own.get("content-type", "").encode(),
        own.get("date", "").encode(),
        signature.canonical_headers((name.encode(), value.encode()) for name, value in fc.items()),
    )
    text = signature.string_to_sign(signed, path.encode())
    assert theirs == f"FC id:{signature.sign(secret.encode(), text).decode()}"
