"""ACS3-HMAC-SHA256: what the official SDKs sign is accepted, by whichever headers they sign; a changed byte is not."""

import hmac
from hashlib import sha256
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from alibabacloud_openapi_util.client import Client
from hypothesis import given
from hypothesis import strategies as st
from tests.fc.test_auth import KEY, LENT, NOW, THE_ACCOUNT, TOKENS, Keys, verifier
from tests.support.exchanges import FakeExchange

from sesame.fc.auth.request_head import head_of, read_request
from sesame.fc.auth.verifier import BODY_SHA256, Verifier
from sesame.fc.body import body_if_here, read_body
from sesame.fc.refusals import (
    AccessDenied,
    InvalidAccessKeyID,
    InvalidArgument,
    MissingRequiredHeader,
    NonceUsed,
    SignatureNotMatch,
)
from sesame.http.request import Request
from sesame.identity import acs_signature
from sesame.identity.authentication import Authentication
from sesame.identity.nonces import REMEMBERED_S, UsedNonces
from sesame.model.role import PrincipalKind

DATE = "2023-11-14T22:13:20Z"
PATH = "/2021-04-06/services/demo/functions"
EMPTY = sha256(b"").hexdigest()
STRANGER = f"ACS3-HMAC-SHA256 Credential=no,SignedHeaders=x-acs-date,Signature={EMPTY}"


def headers(**more: str) -> dict[str, str]:
    return {
        "host": "127.0.0.1:9000",
        "x-acs-action": "ListFunctions",
        "x-acs-date": DATE,
        "x-acs-content-sha256": EMPTY,
    } | {name.replace("_", "-"): value for name, value in more.items()}


def signed(
    method: str = "GET", query: dict[str, str] | None = None, *, key: Any = KEY, path: str = PATH, **more: str
) -> dict[str, str]:
    """As the SDK for Python signs: every header that it sets."""
    sent = headers(**more)
    request = SimpleNamespace(method=method, pathname=path, query=query or {}, headers=sent)
    digest = sent["x-acs-content-sha256"]
    made = Client.get_authorization(request, "ACS3-HMAC-SHA256", digest, key.access_key_id, key.secret)
    return sent | {"authorization": made}


def signed_some(names: str, **more: str) -> dict[str, str]:
    """As other SDKs sign: only some headers."""
    sent = headers(**more)
    request = acs_signature.Request(b"GET", PATH.encode(), b"", _pairs(sent), EMPTY.encode())
    text = acs_signature.string_to_sign(request, names.encode())
    made = hmac.new(KEY.secret.encode(), text, sha256).hexdigest()
    sent["authorization"] = f"ACS3-HMAC-SHA256 Credential={KEY.access_key_id},SignedHeaders={names},Signature={made}"
    return sent


def _pairs(sent: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]


def verify(sent: dict[str, str], method: str = "GET", query: str = "", path: str = PATH, now: float = NOW) -> Any:
    return verifier(now).verify(read_request(method, path.encode(), _pairs(sent)), query.encode())


def test_what_the_sdk_signs_is_accepted() -> None:
    assert verify(signed()) == THE_ACCOUNT
    assert verify(signed(accept="application/json", x_fc_log_type="Tail")) == THE_ACCOUNT
    assert verify(signed(path="/2021-04-06/services/a%20b"), path="/2021-04-06/services/a%20b") == THE_ACCOUNT


def test_the_scheme_holds_on_every_path() -> None:
    path = "/2016-08-15/services"
    assert verify(signed(path=path), path=path) == THE_ACCOUNT
    head = read_request("GET", path.encode(), _pairs(signed(path=path)))
    assert verifier().verify_trigger(head, b"") == THE_ACCOUNT


@pytest.mark.parametrize("wire", ["a=x%20y&prefix=%E4%B8%AD~", "prefix=%E4%B8%AD%7E&a=x+y"])
def test_the_query_is_signed_however_it_is_encoded(wire: str) -> None:
    sent = signed(query={"prefix": "中~", "a": "x y"})
    assert verify(sent, query=wire) == THE_ACCOUNT
    with pytest.raises(SignatureNotMatch):
        verify(sent, query=wire + "&limit=3")


@pytest.mark.parametrize("name", ["名", "a[0]", "a b", "tag_x/y"])
def test_names_of_a_query_may_be_signed_encoded_as_the_vendor_documents_it(name: str) -> None:
    wire = f"{quote(name)}=1"
    sent = headers()
    request = acs_signature.Request(b"GET", PATH.encode(), b"", _pairs(sent), EMPTY.encode())
    text = acs_signature.string_to_sign(request, b"x-acs-date", f"{quote(name, safe='~')}=1".encode())
    made = hmac.new(KEY.secret.encode(), text, sha256).hexdigest()
    sent["authorization"] = f"ACS3-HMAC-SHA256 Credential={KEY.access_key_id},SignedHeaders=x-acs-date,Signature={made}"
    assert verify(sent, query=wire) == THE_ACCOUNT
    with pytest.raises(SignatureNotMatch):
        verify(sent, query=wire + "&b=2")


def test_only_the_named_headers_count() -> None:
    sent = signed_some("host;x-acs-action;x-acs-content-sha256;x-acs-date")
    assert verify(sent) == THE_ACCOUNT
    assert verify(sent | {"x-fc-log-type": "Tail"}) == THE_ACCOUNT
    with pytest.raises(SignatureNotMatch):
        verify(sent | {"x-acs-action": "DeleteService"})
    with pytest.raises(InvalidArgument, match=r"SignedHeaders .*x-acs-date among them"):
        verify(signed_some("host"))


def test_a_token_counts() -> None:
    class Lent:
        access_key_id, secret = LENT.access_key_id, LENT.access_key_secret

    caller = verify(signed(key=Lent, x_acs_security_token=LENT.security_token))
    assert caller.principal.kind is PrincipalKind.ROLE
    with pytest.raises(MissingRequiredHeader):
        verify(signed(key=Lent))


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"x-acs-date": ""}, InvalidArgument),
        ({"x-acs-date": "2023-11-14T22:13:21Z"}, SignatureNotMatch),
        ({"x-acs-content-sha256": sha256(b"x").hexdigest()}, SignatureNotMatch),
        ({"host": "elsewhere"}, SignatureNotMatch),
        ({"authorization": "ACS3-HMAC-SHA256 Credential=nobody"}, InvalidArgument),
        ({"authorization": "ACS3-RSA-SHA256 Credential=a,SignedHeaders=b,Signature=c"}, InvalidArgument),
        (
            {"authorization": f"ACS3-HMAC-SHA256 Credential=no,SignedHeaders=x-acs-date,Signature={EMPTY}"},
            InvalidAccessKeyID,
        ),
    ],
)
def test_what_is_changed_is_refused(changed: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        verify(signed() | changed)


@pytest.mark.parametrize("name", ["x-acs-date", "x-acs-content-sha256"])
def test_headers_that_must_be_there(name: str) -> None:
    sent = signed()
    del sent[name]
    with pytest.raises(MissingRequiredHeader, match=name):
        verify(sent)


def test_the_clocks_must_agree() -> None:
    with pytest.raises(AccessDenied, match="differs by more than 15 minutes"):
        verify(signed(), now=NOW + 16 * 60)


def test_a_nonce_is_good_for_one_request() -> None:
    now = [NOW]
    at = Verifier(Authentication(Keys(), TOKENS), lambda: now[0])

    def ask(sent: dict[str, str]) -> Any:
        return at.verify(read_request("GET", PATH.encode(), _pairs(sent)), b"")

    first = signed(x_acs_signature_nonce="one")
    # What is refused uses up nothing.
    with pytest.raises(SignatureNotMatch):
        ask(first | {"host": "elsewhere"})
    assert ask(first) == THE_ACCOUNT
    now[0] += 899
    with pytest.raises(NonceUsed) as caught:
        ask(first)
    assert (caught.value.status, caught.value.code) == (400, "SignatureNonceUsed")
    # Also when the rest of the request is another one.
    with pytest.raises(NonceUsed):
        ask(signed(x_acs_signature_nonce="one", accept="text/plain"))
    assert ask(signed(x_acs_signature_nonce="two")) == THE_ACCOUNT
    with pytest.raises(NonceUsed):
        at.verify_trigger(read_request("GET", PATH.encode(), _pairs(first)), b"")


def test_a_head_that_its_connection_repeats_is_a_repeat() -> None:
    at = verifier()
    head = read_request("GET", PATH.encode(), _pairs(signed(x_acs_signature_nonce="one")))
    assert at.verify(head, b"") == THE_ACCOUNT
    with pytest.raises(NonceUsed):
        at.verify(head, b"")


@pytest.mark.parametrize("names", ["host;x-acs-date", "host;x-acs-content-sha256;x-acs-date"])
def test_without_a_signed_nonce_nothing_is_remembered(names: str) -> None:
    at = verifier()
    sent = signed_some(names, x_acs_signature_nonce="one")
    for _ in range(2):
        assert at.verify(read_request("GET", PATH.encode(), _pairs(sent)), b"") == THE_ACCOUNT


def test_nonces_are_remembered_for_as_long_as_their_requests_are_valid_and_not_without_bound() -> None:
    now = [NOW]
    nonces = UsedNonces(lambda: now[0], generation_max=3)
    assert nonces.use("a", b"1")
    assert nonces.use("b", b"1")
    now[0] += REMEMBERED_S - 1
    assert not nonces.use("a", b"1")
    now[0] += 2
    assert nonces.use("a", b"2")
    assert not nonces.use("a", b"1")
    now[0] += REMEMBERED_S + 1
    assert nonces.use("a", b"3")
    assert nonces.use("a", b"1")
    for number in range(10, 30):
        assert nonces.use("a", b"%d" % number)
    assert [nonces.use("a", b"%d" % number) for number in (29, 28, 27, 10)] == [False, False, False, True]


def _exchange(body: bytes, signed_body: bytes, *, proven: bool = True) -> FakeExchange:
    sent = signed("POST", x_acs_content_sha256=sha256(signed_body).hexdigest().upper())
    target = (PATH.encode(), b"")
    request = Request("POST", target, tuple(_pairs(sent)), "1.1", ("http", ("", 0), ("", 0)))
    if proven:
        verifier().verify(head_of(request), b"")
    return FakeExchange(request, [body])


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_a_body_must_be_the_one_that_was_signed(size: int) -> None:
    body = b"x" * size
    assert await read_body(_exchange(body, body), 400_000) == body
    assert body_if_here(_exchange(body, body)) in (body, None)
    with pytest.raises(SignatureNotMatch):
        await read_body(_exchange(body + b"y", body), 400_000)
    assert await read_body(_exchange(body + b"y", body, proven=False), 400_000) == body + b"y"


def test_heads_of_other_schemes_ask_nothing_of_the_body() -> None:
    head = read_request("GET", PATH.encode(), _pairs(headers()))
    assert BODY_SHA256 not in head.memory


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.dictionaries(words.filter(lambda text: text.isalnum() and text.isascii()), words, max_size=4))
def test_any_query_that_the_sdk_signs_is_accepted(query: dict[str, str]) -> None:
    wire = "&".join(f"{name}={quote_plus(value)}" for name, value in query.items())
    assert verify(signed(query=query), query=wire) == THE_ACCOUNT


def test_a_name_cannot_hide_the_items_that_were_signed() -> None:
    """One that decodes to `a=1&qualifier=2` would be signed as those two items."""
    signed_query = acs_signature.canonical_query(b"a=1&qualifier=2")
    assert acs_signature.canonical_query(b"a%3D1%26qualifier=2") != signed_query
    assert acs_signature.canonical_query(b"a%253D1%2526qualifier=2") not in (
        signed_query,
        acs_signature.canonical_query(b"a%3D1%26qualifier=2"),
    )
