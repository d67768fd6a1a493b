"""Key sets and tokens: the examples of the RFCs, every algorithm, what may not be a key, and forged tokens."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.support.examples import examples
from tests.support.tokens import ec, ed25519, hmac_token, jwks, part, public, rsa, token

from sesame.control.jwt_keys import KEYS_MAX, TOKEN_BYTES_MAX, KeySet, TokenRefused, key_set
from sesame.model.errors import Duplicate, Invalid, Missing, Rejected, TooMany, Unusable

NOW = 1_800_000_000.0
SECRET = b"s" * 32
OCT = {"kty": "oct", "alg": "HS256", "k": part(SECRET)}
# RFC 7515, appendix A: one payload, signed by three keys.
RFC_CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC_EXPIRES = 1300819380
RFC_A1 = (
    {"kty": "oct", "alg": "HS256"}
    | {"k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC_CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
)
RFC_A2 = (
    {
        "kty": "RSA",
        "alg": "RS256",
        "n": (
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2l"
            "ZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBE"
            "Ma2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk"
            "2PAcDTW9gb54h4FRWyuXpoQ"
        ),
        "e": "AQAB",
    },
    f"eyJhbGciOiJSUzI1NiJ9.{RFC_CLAIMS}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7"
    "t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi1"
    "2jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGl"
    "UPQGe77Rw",
)
RFC_A3 = (
    {
        "kty": "EC",
        "alg": "ES256",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    },
    f"eyJhbGciOiJFUzI1NiJ9.{RFC_CLAIMS}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
)
# RFC 8037, appendix A.4: its payload is a sentence.
RFC_8037 = (
    {"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
)


def read(*keys: Any) -> KeySet:
    return key_set(jwks(*keys), "jwks")


def refused(keys: KeySet, text: str, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as caught:
        keys.claims(text, now)
    return str(caught.value)


@pytest.mark.parametrize(("key", "signed"), [RFC_A1, RFC_A2, RFC_A3], ids=["HS256", "RS256", "ES256"])
def test_the_examples_of_rfc_7515(key: Any, signed: str) -> None:
    assert read(key).claims(signed, RFC_EXPIRES - 1) == {
        "iss": "joe", "exp": RFC_EXPIRES, "http://example.com/is_root": True,
    }  # fmt: skip
    assert refused(read(key), signed, RFC_EXPIRES) == "it has expired"
    assert "signature" in refused(read(key), signed[:-6] + "AAAAAA", RFC_EXPIRES - 1)


def test_the_example_of_rfc_8037_is_signed_right_and_is_no_object() -> None:
    key, signed = RFC_8037
    assert "payload is no JSON object" in refused(read(key), signed)
    assert "signature" in refused(read(key), signed.replace(".hgy", ".hgz"))


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        *((rsa, alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (ec, "ES256"),
        (lambda: ec("P-384"), "ES384"),
        (lambda: ec("P-521"), "ES512"),
        (ed25519, "EdDSA"),
        (lambda: OKPKey.generate_key("Ed448"), "EdDSA"),
    ],
)
def test_every_algorithm(key: Any, alg: str) -> None:
    mine = key()
    keys = read(public(mine, alg, kid="a", use="sig", key_ops=["verify"]))
    assert keys.claims(token(mine, {"sub": "me"}, alg, kid="a", typ="JWT", more=1), NOW) == {"sub": "me"}


@pytest.mark.parametrize(("alg", "size"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_secrets_have_the_size_of_the_digest_at_least(alg: str, size: int) -> None:
    secret = b"k" * size
    jwk = {"kty": "oct", "alg": alg, "k": part(secret)}
    assert read(jwk).claims(token(OctKey.import_key(secret), {"a": 1}, alg), NOW) == {"a": 1}
    with pytest.raises(
        Invalid, match=rf"jwks.keys.k: expected {size} to 512 bytes for {alg}, found '{size - 1} bytes'"
    ):
        read(jwk | {"k": part(secret[1:])})


def test_private_parts_are_not_read() -> None:
    """People paste whole keys: the vendor's own examples do."""
    whole = {**rsa().as_dict(private=True), "alg": "RS256", "d": "nonsense!", "p": 1}
    keys = read(whole)
    assert keys.claims(token(rsa(), {}, "RS256"), NOW) == {}
    assert not any(key.is_private for key in keys.keys.values())


@pytest.mark.parametrize(
    ("jwk", "error", "text"),
    [
        ("text", Unusable, "expected an object with 'kty'"),
        ({}, Invalid, "jwks.keys.kty: expected RSA | EC | OKP | oct"),
        ({"kty": "RSA"}, Missing, "jwks.keys.alg"),
        ({"kty": "RSA", "alg": "HS256"}, Invalid, "jwks.keys.alg: expected RS256 | RS384"),
        ({"kty": "oct", "alg": "RS256"}, Invalid, "jwks.keys.alg: expected HS256"),
        ({"kty": "RSA", "alg": "none"}, Invalid, "found 'none'"),
        ({"kty": "RSA", "alg": "RS256", "use": "enc"}, Invalid, "jwks.keys.use: expected sig, found 'enc'"),
        ({"kty": "RSA", "alg": "RS256", "key_ops": ["encrypt"]}, Invalid, "jwks.keys.key_ops"),
        ({"kty": "RSA", "alg": "RS256"}, Missing, "jwks.keys.n"),
        ({"kty": "RSA", "alg": "RS256", "n": "AQ", "e": 3}, Invalid, "jwks.keys.e"),
        ({"kty": "RSA", "alg": "RS256", "n": "A" * 1025, "e": "AQAB"}, Invalid, "at most 1024 characters"),
        ({"kty": "RSA", "alg": "RS256", "n": "!", "e": "AQAB"}, Unusable, "expected a valid RSA key"),
        ({"kty": "RSA", "alg": "RS256", "n": "_" * 342, "e": "Ag"}, Unusable, "expected a valid RSA key"),
        ({"kty": "EC", "alg": "ES256", "crv": "P-384", "x": "A", "y": "A"}, Invalid, "jwks.keys.crv: expected P-256"),
        ({"kty": "EC", "alg": "ES256", "crv": "P-256", "x": "AAAA", "y": "AAAA"}, Unusable, "a valid EC key"),
        ({"kty": "OKP", "alg": "EdDSA", "crv": "X25519", "x": "AAAA"}, Invalid, "Ed25519 | Ed448"),
        ({"kty": "oct", "alg": "HS256", "k": "=="}, Invalid, "jwks.keys.k: expected base64url"),
        ({"kty": "RSA", "alg": "RS256", "kid": 7}, Invalid, "jwks.keys.kid"),
    ],
)
def test_what_is_no_key(jwk: Any, error: type[Rejected], text: str) -> None:
    with pytest.raises(error) as caught:
        read(jwk)
    assert text in str(caught.value)


def test_rsa_keys_are_bounded() -> None:
    """Verification takes time that rises with both numbers."""
    with pytest.raises(Invalid, match="2048 to 4096 bits, found '1024 bits'"):
        read(_rsa(1024))
    with pytest.raises(Invalid, match="2048 to 4096 bits, found '6000 bits'"):
        read(_rsa(6000))
    with pytest.raises(Invalid, match=r"jwks.keys.e: expected at most 32 bits, found '33 bits'"):
        read(_rsa(2048, e=(1 << 32) + 1))


def _rsa(bits: int, e: int = 65537) -> dict[str, str]:
    n = (1 << (bits - 1)) + 1
    return {
        "kty": "RSA",
        "alg": "RS256",
        "n": part(n.to_bytes(bits // 8, "big")),
        "e": part(e.to_bytes(8, "big").lstrip(b"\0")),
    }


def test_sets_are_bounded_and_their_kids_differ() -> None:
    with pytest.raises(Duplicate):
        read(OCT, OCT | {"kid": ""})
    with pytest.raises(Duplicate):
        read(OCT | {"kid": "a"}, OCT | {"kid": "a"})
    with pytest.raises(TooMany):
        read(*({**OCT, "kid": str(i)} for i in range(KEYS_MAX + 1)))
    nothing: list[Any] = [{}, {"keys": []}, {"keys": {}}]
    for empty in nothing:
        with pytest.raises(Missing):
            key_set(empty, "jwks")
    with pytest.raises(Unusable):
        key_set([], "jwks")


def test_the_kid_chooses_the_key() -> None:
    first, second = public(rsa(), "RS256", kid="a"), public(ec(), "ES256", kid="b")
    keys = read(first, second, OCT)
    assert keys.claims(token(rsa(), {}, "RS256", kid="a"), NOW) == {}
    assert keys.claims(token(ec(), {}, "ES256", kid="b"), NOW) == {}
    assert keys.claims(hmac_token(SECRET, {}), NOW) == {}
    assert "'alg'" in refused(keys, token(ec(), {}, "ES256", kid="a"))
    assert "no key with its 'kid'" in refused(keys, token(rsa(), {}, "RS256", kid="c"))
    assert "'alg'" in refused(keys, token(rsa(), {}, "RS256"))
    assert "no text" in refused(keys, token(rsa(), {}, "RS256", kid=["a"]))
    # Without a key that has no `kid`, a token without one has the only key there is.
    assert read(first).claims(token(rsa(), {}, "RS256"), NOW) == {}
    assert "the keys have" in refused(read(first, second), token(rsa(), {}, "RS256"))
    assert "no key with its 'kid'" in refused(read(public(rsa(), "RS256")), token(rsa(), {}, "RS256", kid="a"))


def test_a_token_does_not_choose_its_algorithm() -> None:
    keys = read(public(rsa(), "RS256"))
    unsigned = f"{part({'alg': 'none'})}.{part({})}."
    assert "'alg'" in refused(keys, unsigned)
    assert "'alg'" in refused(keys, token(rsa(), {}, "PS256"))
    for secret in (rsa().as_pem(private=False), str(rsa().as_dict(private=False)["n"]).encode()):
        assert "'alg'" in refused(keys, hmac_token(secret, {}))
        assert "signature" in refused(keys, hmac_token(secret, {}, alg="RS256"))
    assert "'alg'" in refused(keys, f"{part({'typ': 'JWT'})}.{part({})}.")


def test_keys_in_a_token_are_not_used() -> None:
    other = RSAKey.generate_key(2048)
    forged = token(other, {}, "RS256", jwk=other.as_dict(private=False), jku="https://example.com/jwks", x5c=["MA=="])
    assert "signature" in refused(read(public(rsa(), "RS256")), forged)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a.b", "a.b.c.d.e", "ä.b.c", "{}.{}.{}", f"{part([])}.{part({})}.x",
        f"{part(b'{')}.{part({})}.x", f"{part(b'[' * 3000)}.{part({})}.x", f"{part(b'{}')}=.{part({})}.x",
    ],
)  # fmt: skip
def test_what_is_no_token(text: str) -> None:
    assert refused(read(OCT), text)


def test_what_must_be_understood_is_refused() -> None:
    for header in ({"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"b64": True}):
        assert "not understood" in refused(read(OCT), hmac_token(SECRET, {}, **header))


def test_huge_tokens_are_not_looked_at() -> None:
    text = hmac_token(SECRET, {"a": "x" * TOKEN_BYTES_MAX})
    assert f"more than the {TOKEN_BYTES_MAX}" in refused(read(OCT), text)
    inside = hmac_token(SECRET, {"a": "x" * 5000}, more="y" * 700)
    assert read(OCT).claims(inside, NOW)["a"] == "x" * 5000
    nested = hmac_token(SECRET, b'{"a":' + b"[" * 4000 + b"]" * 1 + b"}")
    assert "payload" in refused(read(OCT), nested)


@pytest.mark.parametrize(
    ("claims", "holds"),
    [
        ({"exp": NOW + 1}, True), ({"exp": NOW}, False), ({"exp": NOW - 1}, False), ({"exp": NOW + 0.5}, True),
        ({"nbf": NOW}, True), ({"nbf": NOW + 1}, False), ({"iat": NOW}, True), ({"iat": NOW + 1}, False),
        ({"exp": str(NOW + 9)}, False), ({"exp": None}, False), ({"exp": True}, False), ({"nbf": []}, False),
        (b'{"exp": 1e400}', False), (b'{"exp": NaN}', False), (b'{"exp": Infinity}', False), ({"exp": 10**400}, True),
        ({"sub": 7, "aud": {}, "iss": None, "jti": 1}, True), ([], False), (b"7", False),
    ],
)  # fmt: skip
def test_times(claims: Any, holds: bool) -> None:
    text = hmac_token(SECRET, claims)
    if holds:
        read(OCT).claims(text, NOW)
    else:
        assert refused(read(OCT), text)


def test_signatures_are_written_in_one_way() -> None:
    """One that a lax reader takes for the same would be another token to those who compare texts."""
    good = hmac_token(SECRET, {})
    for other in (good + "=", good + "A", good.replace(".", " .", 1), good + ".", good + "\n"):
        assert refused(read(OCT), other)


def test_ec_signatures_of_odd_sizes() -> None:
    keys = read(public(ec(), "ES256"))
    head = token(ec(), {}, "ES256").rpartition(".")[0]
    for odd in (b"", b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\0" * 200):
        assert "signature" in refused(keys, f"{head}.{part(odd)}")
    assert isinstance(keys.keys[""], ECKey)


@given(st.data())
@settings(max_examples=examples(200), deadline=None)
def test_no_change_of_a_token_holds(data: st.DataObject) -> None:
    """Whatever a caller sends, nothing else comes out than the claims that were signed, or a refusal."""
    keys = read(public(ec(), "ES256", kid="a"), OCT)
    good = data.draw(st.sampled_from([token(ec(), {"sub": "me"}, "ES256", kid="a"), hmac_token(SECRET, {"sub": "me"})]))
    at = data.draw(st.integers(0, len(good)))
    sent = good[:at] + data.draw(st.text(max_size=4)) + good[at + data.draw(st.integers(0, 3)) :]
    if sent == good:
        assert keys.claims(sent, NOW) == {"sub": "me"}
    else:
        assert refused(keys, sent)


@given(st.text(max_size=80), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
@settings(max_examples=examples(100), deadline=None)
def test_headers_of_any_kind_are_refused(text: str, value: Any) -> None:
    for forged in (text, f"{part(text.encode(errors='replace'))}.{part({})}.x", f"{part({'alg': value})}.{part({})}."):
        assert refused(read(OCT), forged)
    for name in ("kid", "typ", "crit", "jwk", "x5c"):
        header = f"{part({'alg': 'HS256', name: value})}.{part({})}.{part(b'x' * 32)}"
        assert refused(read(OCT), header)
