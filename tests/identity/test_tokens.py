"""Temporary credentials: what was issued verifies, and nothing else does; renewal comes in time.

Run by pytest, with an injected clock.
"""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.identity.tokens import SESSION_BYTES, SESSIONS_BYTES_MAX, CredentialsRefused, Grant, Refusal, Tokens
from sesame.model.role import PrincipalKind

MASTER = bytes(range(32))
GRANT = Grant(account_id="42", role="uploader", role_id="r1", session="photos", policy='{"Version":"1"}')


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_323_045.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(MASTER, clock)


def refusal(tokens: Tokens, access_key_id: str, token: str) -> Refusal:
    with pytest.raises(CredentialsRefused) as caught:
        tokens.verify(access_key_id, token)
    return caught.value.refusal


def test_what_was_issued_says_who_it_is_in_every_process_with_the_key(tokens: Tokens, clock: Clock) -> None:
    credentials = tokens.issue(GRANT)
    elsewhere = Tokens(MASTER, clock)
    for verifier in (tokens, elsewhere):
        session = verifier.verify(credentials.access_key_id, credentials.security_token)
        principal = session.principal
        assert principal.kind is PrincipalKind.ROLE
        assert (principal.account_id, principal.role, principal.role_id) == ("42", "uploader", "r1")
        assert (principal.session, principal.session_policy) == ("photos", GRANT.policy)
        assert session.secret == credentials.access_key_secret
        assert session.account_id == "42"
        assert session.expires_at == clock.now + 6 * 3600


def test_ids_look_like_the_clouds_and_secrets_differ(tokens: Tokens) -> None:
    one, two = tokens.issue(GRANT), tokens.issue(GRANT)
    assert one.access_key_id.startswith("STS.NU")
    assert len(one.access_key_id) == len("STS.NU") + 24
    assert one.access_key_secret != two.access_key_secret
    assert one.security_token != two.security_token


@given(st.text(max_size=40), st.text(max_size=40))
def test_tokens_hold_the_characters_that_careless_quoting_breaks(session: str, role: str) -> None:
    grant = Grant(account_id="42", role=role, role_id="r", session=session)
    issuer = Tokens(MASTER, Clock())
    credentials = issuer.issue(grant)
    assert set("+/=") <= set(credentials.security_token)
    assert Tokens(MASTER, Clock()).verify(credentials.access_key_id, credentials.security_token).principal.role == role


def test_a_token_keeps_its_content_to_itself(tokens: Tokens) -> None:
    token = base64.b64decode(tokens.issue(GRANT).security_token)
    assert b"uploader" not in token
    assert b"photos" not in token


def test_each_refusal_is_told_apart(tokens: Tokens, clock: Clock) -> None:
    mine, other = tokens.issue(GRANT), tokens.issue(GRANT)
    assert refusal(tokens, mine.access_key_id, "") is Refusal.MISSING_TOKEN
    assert refusal(tokens, mine.access_key_id, "nonsense") is Refusal.FORGED_TOKEN
    assert refusal(tokens, mine.access_key_id, "ü") is Refusal.FORGED_TOKEN
    assert refusal(tokens, mine.access_key_id, "AQ==") is Refusal.FORGED_TOKEN
    assert refusal(tokens, mine.access_key_id, other.security_token) is Refusal.TOKEN_OF_ANOTHER_KEY
    assert refusal(Tokens(MASTER[::-1], clock), mine.access_key_id, mine.security_token) is Refusal.FORGED_TOKEN
    clock.now += 6 * 3600 - 1
    assert tokens.verify(mine.access_key_id, mine.security_token).account_id == "42"
    clock.now += 1
    assert refusal(tokens, mine.access_key_id, mine.security_token) is Refusal.EXPIRED_TOKEN
    assert refusal(Tokens(MASTER, clock), mine.access_key_id, mine.security_token) is Refusal.EXPIRED_TOKEN


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    tokens = Tokens(MASTER, Clock())
    credentials = tokens.issue(GRANT)
    token = credentials.security_token
    at = data.draw(st.integers(0, len(token) - 1))
    alphabet = st.characters(codec="ascii").filter(lambda c: c != token[at])
    changed = token[:at] + data.draw(alphabet) + token[at + 1 :]
    assert refusal(tokens, credentials.access_key_id, changed) is Refusal.FORGED_TOKEN


@given(st.data())
def test_any_cut_or_growth_is_noticed(data: st.DataObject) -> None:
    tokens = Tokens(MASTER, Clock())
    credentials = tokens.issue(GRANT)
    token = credentials.security_token
    cut = token[: data.draw(st.integers(1, len(token) - 1))]
    grown = token + data.draw(st.text("Aa0+/=\n ", min_size=1, max_size=4))
    assert refusal(tokens, credentials.access_key_id, cut) is Refusal.FORGED_TOKEN
    assert refusal(tokens, credentials.access_key_id, grown) is Refusal.FORGED_TOKEN


def test_only_so_many_bytes_of_sessions_are_remembered(tokens: Tokens) -> None:
    first = tokens.issue(GRANT)
    session = tokens.verify(first.access_key_id, first.security_token)
    assert tokens.verify(first.access_key_id, first.security_token) is session
    wide = msgspec.structs.replace(GRANT, policy="x" * 9 * SESSION_BYTES)
    for _ in range(SESSIONS_BYTES_MAX // (10 * SESSION_BYTES) + 1):
        more = tokens.issue(wide)
        tokens.verify(more.access_key_id, more.security_token)
    assert tokens.verify(first.access_key_id, first.security_token) is not session


def test_a_short_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Tokens(b"short", Clock())
