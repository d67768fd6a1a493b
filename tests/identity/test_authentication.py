"""Whose key it is: lasting and temporary keys, with and without tokens."""

import pytest

from sesame.identity.authentication import Authentication, Caller
from sesame.identity.tokens import CredentialsRefused, Grant, Refusal, Tokens
from sesame.model.account import AccessKey
from sesame.model.role import Principal, PrincipalKind

KEY = AccessKey("LTAIkey", "secret", "42")
NOW = 1_767_323_045.0


class OneKey:
    def get(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.access_key_id else None


TOKENS = Tokens(bytes(32), lambda: NOW)
LENT = TOKENS.issue(Grant(account_id="42", role="uploader", role_id="r", session="s"))
FOREIGN = Tokens(b"x" * 32, lambda: NOW).issue(Grant(account_id="42", role="uploader", role_id="r", session="s"))
EXPIRED = TOKENS.issue(Grant(account_id="42", role="uploader", role_id="r", session="s"), valid_s=0)


def test_the_account_s_own_key_is_a_principal_with_a_secret() -> None:
    caller = Authentication(OneKey(), TOKENS).identify("LTAIkey", "")
    assert caller == Caller(Principal(PrincipalKind.ACCOUNT, "42"), "LTAIkey", "secret")


def test_a_temporary_key_with_its_token_is_a_role() -> None:
    caller = Authentication(OneKey(), TOKENS).identify(LENT.access_key_id, LENT.security_token)
    assert (caller.principal.kind, caller.principal.role) == (PrincipalKind.ROLE, "uploader")
    assert caller.secret == LENT.access_key_secret


@pytest.mark.parametrize(
    ("access_key_id", "token", "refusal"),
    [
        ("LTAInobody", "", Refusal.UNKNOWN_KEY),
        ("LTAInobody", LENT.security_token, Refusal.UNKNOWN_KEY),
        ("", "", Refusal.UNKNOWN_KEY),
        (LENT.access_key_id, "", Refusal.MISSING_TOKEN),
        (LENT.access_key_id, "nonsense", Refusal.FORGED_TOKEN),
        (LENT.access_key_id, FOREIGN.security_token, Refusal.FORGED_TOKEN),
        (LENT.access_key_id, EXPIRED.security_token, Refusal.TOKEN_OF_ANOTHER_KEY),
        (EXPIRED.access_key_id, EXPIRED.security_token, Refusal.EXPIRED_TOKEN),
        ("LTAIkey", "nonsense", Refusal.FORGED_TOKEN),
        ("LTAIkey", " ", Refusal.FORGED_TOKEN),
        ("LTAIkey", FOREIGN.security_token, Refusal.FORGED_TOKEN),
        ("LTAIkey", LENT.security_token, Refusal.TOKEN_OF_ANOTHER_KEY),
        ("LTAIkey", EXPIRED.security_token, Refusal.TOKEN_OF_ANOTHER_KEY),
    ],
    ids=range(13),
)
def test_credentials_that_do_not_hold_are_told_apart(access_key_id: str, token: str, refusal: Refusal) -> None:
    with pytest.raises(CredentialsRefused) as caught:
        Authentication(OneKey(), TOKENS).identify(access_key_id, token)
    assert caught.value.refusal is refusal
