"""Who calls: what signers make is accepted, one changed byte is refused, and every refusal has its code."""

from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote

import pytest
from fc2.auth import Auth
from hypothesis import assume, given
from hypothesis import strategies as st

from sesame.fc.auth.request_head import read_request
from sesame.fc.auth.verifier import Caller, Verifier
from sesame.model.account import AccessKey
from sesame.model.errors import (
    AccessDenied,
    CallerError,
    InvalidAccessKeyID,
    InvalidArgument,
    MissingRequiredHeader,
    SignatureNotMatch,
)
from sesame.model.role import Principal, PrincipalKind

NOW = 1_700_000_000.0
DATE = formatdate(NOW, usegmt=True)
ACCOUNT = "1234567890123456"
KEY = AccessKey("LTAIkey", "secret0123456789", ACCOUNT)
PATH = "/2016-08-15/services/demo/functions"


class Keys:
    def get(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.access_key_id else None


class Session:
    secret = "temporary-secret"
    account_id = ACCOUNT
    principal = Principal(PrincipalKind.ROLE, ACCOUNT, "role")


class Tokens:
    def verify(self, access_key_id: str, token: str) -> Session | None:
        if access_key_id != "STS.known":
            return None
        if token != "token+/=":
            raise AccessDenied("the security token does not hold")
        return Session()


def verifier(now: float = NOW) -> Verifier:
    return Verifier(Keys(), Tokens(), lambda: now)


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


def refused(kind: type[CallerError], headers: dict[str, str], **options: Any) -> str:
    with pytest.raises(kind) as caught:
        verify(headers, **options)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_signed_request_is_its_key_s_account() -> None:
    assert verify(signed()) == Caller(ACCOUNT, KEY.access_key_id)


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


@pytest.mark.parametrize("value", ["Bearer abc", "FC", "FC :sig", "FC idonly", "acs id:sig"])
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


def test_temporary_keys_need_their_token() -> None:
    known = Auth("STS.known", Session.secret, "token+/=")
    with_token = signed(auth=known, headers={"x-fc-security-token": "token+/="})
    caller = verify(with_token)
    assert caller.account_id == ACCOUNT
    assert isinstance(caller.session, Session)
    assert refused(MissingRequiredHeader, signed(auth=known)).count("x-fc-security-token") == 1
    refused(AccessDenied, signed(auth=known, headers={"x-fc-security-token": "other"}))
    refused(InvalidAccessKeyID, signed(auth=Auth("STS.unknown", "x"), headers={"x-fc-security-token": "t"}))


def test_without_a_token_verifier_no_temporary_key_is_known() -> None:
    headers = signed(auth=Auth("STS.known", "x"), headers={"x-fc-security-token": "t"})
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    with pytest.raises(InvalidAccessKeyID):
        Verifier(Keys(), None, lambda: NOW).verify(read_request("GET", PATH.encode(), pairs))


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
    assert verify(headers, method=method, raw_path=raw) == Caller(ACCOUNT, KEY.access_key_id)


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
        with pytest.raises(CallerError) as caught:
            verify({**headers, where: changed}, method=method, raw_path=raw)
        if where not in ("authorization", "date"):
            assert type(caught.value) is SignatureNotMatch
