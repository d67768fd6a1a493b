"""Who calls: what signers make is accepted, one changed byte is refused, and every refusal has its code."""

import base64
import hmac
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from fc2.auth import Auth
from hypothesis import assume, given
from hypothesis import strategies as st

from sesame.fc.auth.request_head import read_request
from sesame.fc.auth.verifier import Verifier
from sesame.fc.refusals import (
    AccessDenied,
    ApiError,
    InvalidAccessKeyID,
    InvalidArgument,
    MissingRequiredHeader,
    SignatureNotMatch,
)
from sesame.identity.authentication import Authentication, Caller
from sesame.identity.tokens import Grant, Tokens
from sesame.model.account import AccessKey
from sesame.model.role import Principal, PrincipalKind

NOW = 1_700_000_000.0
DATE = formatdate(NOW, usegmt=True)
ACCOUNT = "1234567890123456"
KEY = AccessKey("LTAIkey", "secret0123456789", ACCOUNT)
PATH = "/2016-08-15/services/demo/functions"


class Keys:
    def get(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.access_key_id else None


GRANT = Grant(account_id=ACCOUNT, role="role", role_id="r", session="s")
TOKENS = Tokens(bytes(32), lambda: NOW)
LENT = TOKENS.issue(GRANT)
EXPIRED = TOKENS.issue(GRANT, valid_s=0)
THE_ACCOUNT = Caller(Principal(PrincipalKind.ACCOUNT, ACCOUNT), KEY.access_key_id, KEY.secret)


def verifier(now: float = NOW) -> Verifier:
    return Verifier(Authentication(Keys(), TOKENS), lambda: now)


def signed(
    method: str = "GET", path: str = PATH, headers: dict[str, str] | None = None, auth: Auth | None = None
) -> dict[str, str]:
    """Headers as the official SDK signs them; `path` is the decoded one."""
    sent = {"date": DATE, "content-type": "application/json", **(headers or {})}
    signer = auth or Auth(KEY.access_key_id, KEY.secret)
    return {**sent, "authorization": signer.sign_request(method, path, sent)}


def verify(headers: dict[str, str], *, method: str = "GET", raw_path: str = PATH, now: float = NOW) -> Caller:
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return verifier(now).verify(read_request(method, raw_path.encode(), pairs))


def refused(kind: type[ApiError], headers: dict[str, str], **options: Any) -> str:
    with pytest.raises(kind) as caught:
        verify(headers, **options)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_signed_request_is_its_key_s_account() -> None:
    assert verify(signed()) == THE_ACCOUNT


def test_the_method_counts() -> None:
    refused(SignatureNotMatch, signed("GET"), method="PUT")


def test_decoded_path_then_raw_path() -> None:
    raw = "/2016-08-15/layerarn/acs%3Afc%3Ax%3Alayers%2Fl"
    assert verify(signed(path=unquote(raw)), raw_path=raw).account_id == ACCOUNT
    assert verify(signed(path=raw), raw_path=raw).account_id == ACCOUNT
    refused(SignatureNotMatch, signed(path="/2016-08-15/layerarn/other"), raw_path=raw)


def test_header_values_that_were_signed_in_utf8_and_sent_in_latin1() -> None:
    assert verify(signed(headers={"x-fc-note": "señor"})).account_id == ACCOUNT


def test_an_empty_account_header_is_as_good_as_none_but_is_signed() -> None:
    headers = signed(headers={"x-fc-account-id": ""})
    assert verify(headers).account_id == ACCOUNT
    del headers["x-fc-account-id"]
    refused(SignatureNotMatch, headers)


def test_another_account_is_denied() -> None:
    assert verify(signed(headers={"x-fc-account-id": ACCOUNT})).account_id == ACCOUNT
    text = refused(AccessDenied, signed(headers={"x-fc-account-id": "999"}))
    assert text == "The service or function doesn't belong to you."


@pytest.mark.parametrize(("missing", "name"), [("authorization", "Authorization"), ("date", "Date")])
def test_missing_headers(missing: str, name: str) -> None:
    headers = signed()
    del headers[missing]
    assert refused(MissingRequiredHeader, headers) == f"required HTTP header {name} was not specified"


def test_x_fc_date_stands_in_for_a_date_that_browsers_cannot_send() -> None:
    headers = signed(headers={"x-fc-date": DATE})
    del headers["date"]
    assert verify(headers).account_id == ACCOUNT


@pytest.mark.parametrize("value", ["Bearer abc", "FC", "FC :sig", "FC idonly", "acsid:sig"])
def test_an_authorization_of_another_form(value: str) -> None:
    assert "FC {accessKeyId}:{signature}" in refused(InvalidArgument, {**signed(), "authorization": value})


def test_an_unknown_key() -> None:
    text = refused(InvalidAccessKeyID, signed(auth=Auth("nobody", "x")))
    assert text == "invalid access key ID 'nobody'"


def test_a_wrong_secret() -> None:
    assert refused(SignatureNotMatch, signed(auth=Auth(KEY.access_key_id, "other"))).startswith("The request signature")


@pytest.mark.parametrize("date", ["yesterday", "2023-11-14T22:13:20Z", "é"])
def test_a_date_that_is_none(date: str) -> None:
    assert "RFC 1123" in refused(InvalidArgument, signed(headers={"date": date}))


@pytest.mark.parametrize("seconds", [-900, 900])
def test_fifteen_minutes_of_skew_are_allowed(seconds: int) -> None:
    assert verify(signed(), now=NOW + seconds).account_id == ACCOUNT


@pytest.mark.parametrize("seconds", [-901, 901])
def test_more_skew_is_not(seconds: int) -> None:
    assert "15 minutes" in refused(AccessDenied, signed(), now=NOW + seconds)


def code_of(headers: dict[str, str], **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        verify(headers, **options)
    assert caught.value.status in (400, 403)
    return caught.value.code


def test_temporary_keys_need_their_token() -> None:
    known = Auth(LENT.access_key_id, LENT.access_key_secret, LENT.security_token)
    caller = verify(signed(auth=known, headers={"x-fc-security-token": LENT.security_token}))
    assert (caller.principal.kind, caller.principal.role) == (PrincipalKind.ROLE, "role")
    assert refused(MissingRequiredHeader, signed(auth=known)).count("x-fc-security-token") == 1
    assert code_of(signed(auth=known, headers={"x-fc-security-token": "other"})) == "InvalidSecurityToken"
    unknown = Auth("STS.unknown", "x")
    assert code_of(signed(auth=unknown, headers={"x-fc-security-token": "t"})) == "InvalidSecurityToken"
    late = Auth(EXPIRED.access_key_id, EXPIRED.access_key_secret)
    assert code_of(signed(auth=late, headers={"x-fc-security-token": EXPIRED.security_token})) == "SecurityTokenExpired"


FOREIGN_TOKENS = [
    ("nonsense", "InvalidSecurityToken"),
    (LENT.security_token, "AccessKeyIdAndSecurityTokenNotMatch"),
    (EXPIRED.security_token, "AccessKeyIdAndSecurityTokenNotMatch"),
]


@pytest.mark.parametrize(("token", "code"), FOREIGN_TOKENS, ids=["forged", "foreign", "expired"])
def test_a_lasting_key_has_no_token(token: str, code: str) -> None:
    assert code_of(signed(headers={"x-fc-security-token": token})) == code


def link(auth: Auth, path: str, items: dict[str, str]) -> bytes:
    """The query of a presigned link, as the official Go SDK signs it."""
    items = {"x-fc-access-key-id": auth.id, "x-fc-expires": str(int(NOW) + 60), **items}
    text = f"GET\n\n\n{items['x-fc-expires']}\n{path}\n" + "\n".join(sorted(f"{k}={v}" for k, v in items.items()))
    made = base64.b64encode(hmac.digest(auth.secret.encode(), text.encode(), "sha256")).decode()
    return urlencode({**items, "x-fc-signature": made}).encode()


def verify_link(auth: Auth, items: dict[str, str], headers: dict[str, str] | None = None) -> Caller:
    path = "/2016-08-15/proxy/s/f/"
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return verifier().verify_trigger(read_request("GET", path.encode(), pairs), link(auth, path, items))


def test_a_link_with_its_token() -> None:
    mine = Auth(KEY.access_key_id, KEY.secret)
    assert verify_link(mine, {}) == THE_ACCOUNT
    temporary = Auth(LENT.access_key_id, LENT.access_key_secret)
    assert verify_link(temporary, {"x-fc-security-token": LENT.security_token}).principal.role == "role"


@pytest.mark.parametrize(("token", "code"), FOREIGN_TOKENS, ids=["forged", "foreign", "expired"])
def test_a_link_of_a_lasting_key_has_no_token_in_url_or_header(token: str, code: str) -> None:
    mine = Auth(KEY.access_key_id, KEY.secret)
    presented = {"x-fc-security-token": token}
    for items, headers in ((presented, {}), ({}, presented), (presented, presented)):
        with pytest.raises(AccessDenied) as caught:
            verify_link(mine, items, headers)
        assert caught.value.code == code


def test_two_different_tokens_are_refused() -> None:
    temporary = Auth(LENT.access_key_id, LENT.access_key_secret)
    with pytest.raises(AccessDenied):
        verify_link(
            temporary, {"x-fc-security-token": LENT.security_token}, {"x-fc-security-token": EXPIRED.security_token}
        )


@pytest.mark.parametrize(("token", "code"), FOREIGN_TOKENS, ids=["forged", "foreign", "expired"])
def test_a_token_in_the_url_of_a_request_signed_in_its_headers_counts(token: str, code: str) -> None:
    path = "/2016-08-15/proxy/s/f/"
    sent = {"date": DATE}
    text = f"GET\n\n\n{DATE}\n{path}\nx-fc-security-token={token}"
    made = base64.b64encode(hmac.digest(KEY.secret.encode(), text.encode(), "sha256")).decode()
    sent["authorization"] = f"FC {KEY.access_key_id}:{made}"
    pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
    with pytest.raises(AccessDenied) as caught:
        verifier().verify_trigger(
            read_request("GET", path.encode(), pairs), urlencode({"x-fc-security-token": token}).encode()
        )
    assert caught.value.code == code


def test_what_a_connection_proved_is_asked_again_for_key_and_time() -> None:
    now, keys = [NOW], {KEY.access_key_id: KEY}

    class Changing:
        def get(self, access_key_id: str) -> AccessKey | None:
            return keys.get(access_key_id)

    changing = Verifier(Authentication(Changing(), TOKENS), lambda: now[0])
    pairs = [(name.encode(), value.encode()) for name, value in signed().items()]
    head = read_request("GET", PATH.encode(), pairs)
    assert changing.verify(head) == changing.verify(head)
    now[0] += 901
    with pytest.raises(AccessDenied, match="15 minutes"):
        changing.verify(head)
    now[0] = NOW
    keys[KEY.access_key_id] = AccessKey(KEY.access_key_id, "another", ACCOUNT)
    with pytest.raises(SignatureNotMatch):
        changing.verify(head)
    keys.clear()
    with pytest.raises(InvalidAccessKeyID):
        changing.verify(head)


def test_the_form_of_dates_that_clients_send_is_read_as_the_library_reads_it() -> None:
    for moment in range(0, 2**32, 12_345_677):
        text = formatdate(moment, usegmt=True)
        headers = signed(headers={"date": text})
        assert verify(headers, now=float(moment)).account_id == ACCOUNT


@pytest.mark.parametrize(
    "date",
    [
        "Tue, 14 Nov 2023 24:00:00 GMT", "Tue, 14 Nov 2023 22:61:20 GMT", "Tue, 32 Nov 2023 22:13:20 GMT",
        "Tue, 14 Foo 2023 22:13:20 GMT", "Tue, 14 Nov 0000 22:13:20 GMT", "Tue, 14 Nov 2023 22-13-20 GMT", "x" * 65,
    ],
)  # fmt: skip
def test_dates_that_are_almost_right(date: str) -> None:
    refused(InvalidArgument, signed(headers={"date": date}))


segments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str]]:
    """Method, path as sent, headers as signed by the official SDK."""
    decoded = "/2016-08-15/services/" + draw(segments) + "/functions/" + draw(segments)
    raw = quote(decoded, safe="/" if draw(st.booleans()) else "/:@!$&'()*+,;=~")
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    fc_headers = draw(st.dictionaries(st.from_regex(r"x-fc-[a-z]{1,8}", fullmatch=True), visible, max_size=3))
    fc_headers.pop("x-fc-date", None)
    headers = signed(method, decoded, {"content-type": draw(visible), "content-md5": draw(visible), **fc_headers})
    return method, raw, headers


@given(requests())
def test_what_the_official_signer_signs_is_accepted(request: tuple[str, str, dict[str, str]]) -> None:
    method, raw, headers = request
    assert verify(headers, method=method, raw_path=raw) == THE_ACCOUNT


@given(requests(), st.data())
def test_one_changed_byte_is_refused(request: tuple[str, str, dict[str, str]], data: st.DataObject) -> None:
    method, raw, headers = request
    where = data.draw(st.sampled_from(["path", *(name for name, value in headers.items() if value)]))
    text = raw if where == "path" else headers[where]
    index = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = text[:index] + letter + text[index + 1 :]
    if where == "path":
        assume(unquote(changed) != unquote(raw))
        with pytest.raises(SignatureNotMatch):
            verify(headers, method=method, raw_path=changed)
    else:
        assume(changed != text)
        with pytest.raises(ApiError) as caught:
            verify({**headers, where: changed}, method=method, raw_path=raw)
        if where not in ("authorization", "date"):
            assert type(caught.value) is SignatureNotMatch
