"""Signatures: the vectors of the official SDKs, and that what oss2 signs is accepted while any change to it is refused.

Run by pytest. Pure: requests are signed by oss2 and handed over without a network, as the wire would carry them.
"""

import time
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import oss2
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.official_sdks import presigned_by_oss2, sign_by_oss2

from sesame.identity.authentication import Authentication
from sesame.identity.signatures import Scope, sign_v1, sign_v4
from sesame.identity.tokens import Grant, Tokens
from sesame.model.account import AccessKey
from sesame.oss.auth import Authenticator
from sesame.oss.errors import OssError
from sesame.oss.request import Request, parse
from sesame.oss.signature import string_to_sign_v4, strings_to_sign_v1

NOW = 1_767_323_045  # Fri, 02 Jan 2026 03:04:05 GMT
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
KEY_ID, SECRET, TOKEN = "STS.NUexample", "secretexample", "tok/en+=="
V4_DATE = "20260102T030405Z"
SCOPE = Scope("20260102", "cn-hangzhou", "oss")


def request(method: str, key: str, headers: dict[str, str], query: dict[str, str] | None = None) -> Request:
    return Request(
        method=method,
        bucket="examplebucket",
        key=key,
        query=query or {},
        headers=headers,
        endpoint="http://127.0.0.1",
        client_ip="127.0.0.1",
        secure=False,
    )


def test_vector_v1_put() -> None:
    headers = {"content-type": "text/plain", "x-oss-meta-a": "1", "x-oss-security-token": TOKEN, "date": DATE}
    signed = strings_to_sign_v1(request("PUT", "dir/k b.txt", headers), DATE)[0]
    assert sign_v1(SECRET, signed) == "S1+9Fzts9QFe6FtoVuxHK7uFLcs="


def test_vector_v1_get_with_subresources() -> None:
    query = {"acl": "", "prefix": "x", "response-content-type": "text/plain"}
    signed = strings_to_sign_v1(request("GET", "k", {"x-oss-security-token": TOKEN, "date": DATE}, query), DATE)[0]
    assert sign_v1(SECRET, signed) == "Nekbsum8OB3nKX1rqKdrpvt9iTs="


def test_vector_v1_link() -> None:
    signed = strings_to_sign_v1(request("GET", "dir/k", {}, {"security-token": TOKEN}), "1767323105")[0]
    assert sign_v1(SECRET, signed) == "rMXnPQJjFB5zocFwpYxOUK6V4mM="


def test_vector_v4_put() -> None:
    headers = {
        "content-type": "text/plain",
        "x-oss-security-token": TOKEN,
        "x-oss-date": V4_DATE,
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
    }
    signed = string_to_sign_v4(request("PUT", "dir/k b.txt", headers), V4_DATE, SCOPE, ())
    assert sign_v4(SECRET, signed, SCOPE) == "290d41a70b9b18c95855b1b71ff79dc79e963250ab32d4530f5f8baae2c1107c"


def test_vector_v4_link() -> None:
    query = {
        "x-oss-security-token": TOKEN,
        "x-oss-date": V4_DATE,
        "x-oss-expires": "60",
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{KEY_ID}/{SCOPE}",
        "x-oss-signature": "left out",
    }
    signed = string_to_sign_v4(request("GET", "dir/k b.txt", {}, query), V4_DATE, SCOPE, ())
    assert sign_v4(SECRET, signed, SCOPE) == "1dc0104bfc54e3b9498cfbb60b8bdfbea3eec0bf5446646faa3973238d70c954"


class Keys:
    """One permanent key."""

    def get(self, access_key_id: str) -> AccessKey | None:
        return AccessKey("LTAIroot", "rootsecret", "42") if access_key_id == "LTAIroot" else None


TOKENS = Tokens(bytes(32), lambda: NOW)
TEMPORARY = TOKENS.issue(Grant("42", "uploader", "r1", "photos"))
AUTHENTICATOR = Authenticator(Authentication(Keys(), TOKENS), lambda: NOW)

Wire = dict[str, Any]
"""An ASGI scope, as far as the endpoint reads it."""


def provider(kind: str) -> Any:
    if kind == "root":
        return oss2.credentials.StaticCredentialsProvider("LTAIroot", "rootsecret")
    return oss2.credentials.StaticCredentialsProvider(
        TEMPORARY.access_key_id, TEMPORARY.access_key_secret, TEMPORARY.security_token
    )


AUTHS = {"v1": oss2.ProviderAuth, "v2": oss2.ProviderAuthV2, "v4": oss2.ProviderAuthV4}


def signed_by_oss2(version: str, kind: str, method: str, key: str, **parts: dict[str, str]) -> Wire:
    """What requests would put on the wire for a call that oss2 signed."""
    auth = AUTHS[version](provider(kind))
    url = "http://127.0.0.1:9001/examplebucket/" + oss2.compat.urlquote(key, "")
    call = oss2.http.Request(method, url, region="cn-hangzhou", product="oss", **parts)
    with frozen_time():
        sign_by_oss2(auth, call, "examplebucket", key)
    return on_the_wire(requests.Request(call.method, call.url, params=call.params, headers=call.headers))


def link_by_oss2(version: str, kind: str, key: str, **parts: dict[str, str]) -> Wire:
    auth = AUTHS[version](provider(kind))
    url = "http://127.0.0.1:9001/examplebucket/" + oss2.compat.urlquote(key, "")
    call = oss2.http.Request("GET", url, region="cn-hangzhou", product="oss", **parts)
    with frozen_time():
        link = presigned_by_oss2(auth, call, "examplebucket", key, 60)
    return on_the_wire(requests.Request("GET", link))


def on_the_wire(call: requests.Request) -> Wire:
    prepared = requests.Session().prepare_request(call)
    parts = urlsplit(prepared.url or "")
    headers = [(b"host", b"127.0.0.1:9001")]
    for name, value in prepared.headers.items():
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        headers.append((name.lower().encode() if isinstance(name, str) else name.lower(), data))
    return {
        "type": "http",
        "method": prepared.method,
        "scheme": "http",
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }


class frozen_time:
    """oss2's clocks stand at NOW."""

    def __enter__(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW))
        moment = mock.Mock()
        moment.utcnow.return_value.strftime.return_value = stamp
        self._patches = [
            mock.patch("oss2.auth.time.time", return_value=NOW),
            mock.patch("oss2.utils.http_date", return_value=DATE),
            mock.patch("oss2.auth.datetime", moment),
        ]
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_error: object) -> None:
        for patch in self._patches:
            patch.stop()


def accepted(wire: Wire) -> bool:
    try:
        caller = AUTHENTICATOR.authenticate(parse(wire, ()))
    except OssError:
        return False
    return caller.principal.account_id == "42"


keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    # As a whole path segment `.` and `..` are eaten by the HTTP library below oss2.
    lambda key: key[0] not in "/\\" and key not in (".", "..")
)
header_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": header_text,
        "Content-MD5": header_text,
        "x-oss-meta-one": header_text,
        "X-Oss-Meta-Two": header_text,
        "Range": st.just("bytes=0-1"),
    },
)
params = st.fixed_dictionaries(
    {},
    optional={
        "acl": st.just(""),
        "uploadId": st.text(max_size=8),
        "prefix": st.text(max_size=8),
        "response-content-type": st.text(max_size=8),
        "continuation-token": st.text("AZaz+/=", max_size=8),
    },
)
versions = st.sampled_from(["v1", "v2", "v4"])
kinds = st.sampled_from(["root", "role"])
methods = st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"])


@settings(deadline=None, max_examples=examples(60))
@given(versions, kinds, methods, keys, headers, params)
def test_what_oss2_signs_is_accepted(
    version: str, kind: str, method: str, key: str, said: dict[str, str], asked: dict[str, str]
) -> None:
    assert accepted(signed_by_oss2(version, kind, method, key, headers=said, params=asked))


@settings(deadline=None, max_examples=examples(40))
@given(versions, kinds, keys, params)
def test_links_that_oss2_signs_are_accepted(version: str, kind: str, key: str, asked: dict[str, str]) -> None:
    assert accepted(link_by_oss2(version, kind, key, params=asked))


def signed_parts(version: str, wire: Wire) -> list[tuple[str, int]]:
    """Where the bytes stand that the signature covers: the method, the path, and headers by their place."""
    places = [("method", -1), ("raw_path", -1)]
    covered = {
        "v1": (b"date", b"content-type", b"content-md5"),
        "v2": (b"date", b"content-type", b"content-md5", b"range"),
    }
    names = covered.get(version, (b"content-type", b"content-md5"))
    for at, (name, value) in enumerate(wire["headers"]):
        if value and (name in names or name.startswith(b"x-oss-") or name == b"authorization"):
            places.append(("headers", at))
    return places


def with_one_byte_changed(data: bytes, draw: st.DataObject, alphabet: str) -> bytes:
    at = draw.draw(st.integers(0, len(data) - 1), label="at")
    new = draw.draw(st.sampled_from(alphabet).map(str.encode).filter(lambda b: b != data[at : at + 1]), label="to")
    return data[:at] + new + data[at + 1 :]


PRINTABLE = "".join(map(chr, range(33, 127)))
UNRESERVED = "abcXYZ019-_.~/"


@settings(deadline=None, max_examples=examples(120))
@given(versions, kinds, methods, keys, headers, st.data())
def test_any_changed_byte_of_what_is_signed_is_refused(
    version: str, kind: str, method: str, key: str, said: dict[str, str], data: st.DataObject
) -> None:
    wire = signed_by_oss2(version, kind, method, key, headers=said, params={"acl": ""})
    assert accepted(wire)
    part, at = data.draw(st.sampled_from(signed_parts(version, wire)), label="where")
    changed = dict(wire)
    if part == "method":
        changed["method"] = data.draw(methods.filter(lambda m: m != method))
    elif part == "raw_path":
        changed["raw_path"] = with_one_byte_changed(wire["raw_path"], data, UNRESERVED)
        if meaning(changed) == meaning(wire):
            return
    else:
        name, value = wire["headers"][at]
        new = with_one_byte_changed(value, data, PRINTABLE)
        changed["headers"] = [*wire["headers"][:at], (name, new), *wire["headers"][at + 1 :]]
    assert not accepted(changed)


@settings(deadline=None, max_examples=examples(60))
@given(versions, kinds, keys, st.data())
def test_any_changed_byte_of_a_link_is_refused(version: str, kind: str, key: str, data: st.DataObject) -> None:
    wire = link_by_oss2(version, kind, key, params={"acl": ""})
    assert accepted(wire)
    part = data.draw(st.sampled_from(["raw_path", "query_string"]))
    changed = {**wire, part: with_one_byte_changed(wire[part], data, UNRESERVED)}
    if meaning(changed) != meaning(wire):
        assert not accepted(changed)


def meaning(wire: Wire) -> Any:
    """Two spellings of one request (`%2f` and `/`, `%2F` and `%2f`) are the same request."""
    try:
        request = parse(wire, ())
    except OssError:
        return None
    return request.bucket, request.key, request.query


def test_parameters_that_are_not_signed_do_not_matter_but_new_subresources_do() -> None:
    wire = signed_by_oss2("v1", "root", "GET", "k", headers={}, params={})
    assert accepted({**wire, "query_string": b"prefix=x"})
    assert not accepted({**wire, "query_string": b"acl="})
    assert not accepted({**wire, "query_string": b"uploadId=1"})


@pytest.mark.parametrize("version", ["v1", "v2", "v4"])
def test_an_added_oss_header_is_refused(version: str) -> None:
    wire = signed_by_oss2(version, "role", "PUT", "k", headers={}, params={})
    assert not accepted({**wire, "headers": [*wire["headers"], (b"x-oss-object-acl", b"public-read")]})
