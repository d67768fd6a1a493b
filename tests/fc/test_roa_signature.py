"""ROA's HMAC-SHA1: what the official SDK signs is accepted; a changed byte, an old date and a second use are not."""

from typing import Any

import pytest
from aliyunsdkcore.auth.algorithm import sha_hmac1
from aliyunsdkcore.auth.composer import roa_signature_composer
from tests.fc.test_auth import DATE, KEY, LENT, NOW, THE_ACCOUNT, verifier

from sesame.fc.auth.request_head import read_request
from sesame.fc.refusals import (
    AccessDenied,
    InvalidAccessKeyID,
    InvalidArgument,
    MissingRequiredHeader,
    NonceUsed,
    SignatureNotMatch,
)
from sesame.model.role import PrincipalKind

PATH = "/2023-03-30/functions"


def signed(query: dict[str, Any] | None = None, path: str = PATH, key: Any = KEY, **more: str) -> dict[str, str]:
    """As the SDK signs for Python; the provider for Terraform does the same."""
    sent = {
        "Accept": "application/json", "Content-Type": "application/json; charset=utf-8", "Date": DATE,
        "x-acs-signature-method": "HMAC-SHA1", "x-acs-signature-version": "1.0", "x-acs-version": "2023-03-30",
        "x-acs-signature-nonce": "n-1", **{name.replace("_", "-"): value for name, value in more.items()},
    }  # fmt: skip
    text = roa_signature_composer.compose_string_to_sign("GET", dict(query or {}), path, sent)
    claimed = sha_hmac1.get_sign_string(text, key.secret)
    lower = {name.lower(): value for name, value in sent.items()}
    return lower | {"authorization": f"acs {key.access_key_id}:{claimed}"}


def head(sent: dict[str, str], path: str = PATH, method: str = "GET") -> Any:
    return read_request(method, path.encode(), [(name.encode(), value.encode()) for name, value in sent.items()])


def verify(sent: dict[str, str], query: str = "", path: str = PATH, now: float = NOW, method: str = "GET") -> Any:
    return verifier(now).verify(head(sent, path, method), query.encode())


def test_what_the_sdk_signs_is_accepted() -> None:
    assert verify(signed()) == THE_ACCOUNT
    assert verify(signed({"limit": "5", "a": "x y", "e": ""}), "limit=5&e=&a=x%20y") == THE_ACCOUNT
    assert verify(signed({"limit": "5", "e": None}), "e=&limit=5") == THE_ACCOUNT
    assert verify(signed(path=PATH + "/a b"), path=PATH + "/a%20b") == THE_ACCOUNT
    assert verify(signed(path=PATH + "/a%20b"), path=PATH + "/a%20b") == THE_ACCOUNT


@pytest.mark.parametrize(
    "changed", ["accept", "date", "content-type", "content-md5", "x-acs-version", "x-acs-signature-nonce", "x-acs-new"]
)
def test_what_was_signed_counts(changed: str) -> None:
    sent = signed()
    value = DATE.replace("2023", "2022") if changed == "date" else "other"
    with pytest.raises(SignatureNotMatch):
        verify(sent | {changed: value})


def test_method_path_and_query_count() -> None:
    changes: list[dict[str, Any]] = [{"method": "DELETE"}, {"path": PATH + "/f"}, {"query": "limit=1"}]
    for options in changes:
        with pytest.raises(SignatureNotMatch):
            verify(signed(), **options)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"authorization": "acs nobody"}, InvalidArgument),
        ({"authorization": "acs nobody:c2ln"}, InvalidAccessKeyID),
        ({"x-acs-signature-method": "HMAC-MD5"}, InvalidArgument),
        ({"date": "now"}, InvalidArgument),
        ({"date": ""}, MissingRequiredHeader),
    ],
)
def test_what_cannot_be_verified(changed: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        verify(signed() | changed)


def test_an_old_signature_is_refused() -> None:
    with pytest.raises(AccessDenied, match="clock"):
        verify(signed(), now=NOW + 3600)


def test_a_signed_nonce_is_used_once() -> None:
    checking = verifier()
    request = head(signed())
    assert checking.verify(request) == THE_ACCOUNT
    assert checking.nonce_of(request) is not None
    with pytest.raises(NonceUsed):
        checking.verify(head(signed()))
    # Another agent has checked it, and has led the request here.
    assert checking.verify(head(signed()), proven=True) == THE_ACCOUNT


def test_a_token_counts() -> None:
    class Lent:
        access_key_id, secret = LENT.access_key_id, LENT.access_key_secret

    caller = verify(signed(key=Lent, x_acs_security_token=LENT.security_token))
    assert caller.principal.kind is PrincipalKind.ROLE
    with pytest.raises(MissingRequiredHeader):
        verify(signed(key=Lent))
