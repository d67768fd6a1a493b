"""The keys of a JWKS (RFC 7517), and the verified claims of a token (RFC 7515, RFC 7519).

Called by `control.jwt_auth`, which imports this module when it first reads a key set. Keys are limited here, which
limits the time of a verification. A key names its only algorithm, so that a
token cannot choose another.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from sesame.control import checks
from sesame.model.errors import Duplicate, Invalid, Missing, TooMany, Unusable

KEYS_MAX = 100
TOKEN_BYTES_MAX = 8192
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 4096
_RSA_EXPONENT_BITS_MAX = 32
_HMAC_BYTES_MAX = 512
# No number of an allowed key needs more characters of base64url.
_VALUE_CHARS_MAX = 1024
_KID_CHARS_MAX = 256
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
# RFC 7518 §3.2: a key must not be shorter than the digest.
_DIGEST_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EDDSA = "EdDSA"
ALGORITHMS: tuple[str, ...] = (*_RSA, *_CURVES, _EDDSA, *_DIGEST_BYTES)
# The fields of a JWK that are read, by its `kty`: never those of a private key.
_TYPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "RSA": (("n", "e"), _RSA),
    "EC": (("crv", "x", "y"), tuple(_CURVES)),
    "OKP": (("crv", "x"), (_EDDSA,)),
    "oct": (("k",), tuple(_DIGEST_BYTES)),
}
_EDWARDS = ("Ed25519", "Ed448")
_TIMES = ("exp", "nbf", "iat")
_BAD_BASE64 = "a JWS in compact form: three parts of base64url without padding, parted by '.'"

# The library warns at each token that EdDSA has newer names, and about short keys, which are refused here.
warnings.filterwarnings("ignore", category=SecurityWarning)

Key = RSAKey | ECKey | OKPKey | OctKey


class TokenRefused(Exception):
    """The token is invalid. The message says why, without any content of the token."""


class KeySet(msgspec.Struct, frozen=True):
    """Keys by `kid`; the one without a `kid` is under ""."""

    keys: dict[str, Key]

    def claims(self, token: str, now: float) -> dict[str, Any]:
        """The token's claims, after verifying its signature and times. `now` in Unix seconds.

        Raises `TokenRefused`.
        """
        if len(token) > TOKEN_BYTES_MAX:
            raise TokenRefused(f"it has {len(token)} bytes, more than the {TOKEN_BYTES_MAX} that are allowed")
        parts = token.split(".")
        if len(parts) != 3 or not token.isascii():
            raise TokenRefused(f"it is not {_BAD_BASE64}")
        header = _object(parts[0], "its header")
        key = self._key(header)
        if header.get("alg") != key.alg:
            raise TokenRefused(f"its 'alg' is not the one of the key, '{key.alg}'")
        for extension in ("crit", "b64"):
            if extension in header:
                raise TokenRefused(f"its header has '{extension}', which is not understood here")
        if not _verified(token, key):
            raise TokenRefused("its signature is not one of the key")
        claims = _object(parts[1], "its payload")
        _check_times(claims, now)
        return claims

    def _key(self, header: dict[str, Any]) -> Key:
        """By the token's `kid`; for a token without one, the key without one, or the only key."""
        kid = header.get("kid", "")
        if not isinstance(kid, str):
            raise TokenRefused("its 'kid' is no text")
        key = self.keys.get(kid)
        if key is None and kid == "" and len(self.keys) == 1:
            key = next(iter(self.keys.values()))
        if key is None:
            raise TokenRefused("the JWKS has no key with its 'kid'" if kid else "it has no 'kid', and the keys have")
        return key


def key_set(jwks: Any, field: str) -> KeySet:
    """Reads a JWKS, an object with `keys`. Raises `Rejected`, with fields below `field`."""
    if not isinstance(jwks, dict):
        raise Unusable("is not a JSON Web Key Set: expected an object {keys: [...]}", field=field)
    sent = jwks.get("keys")
    if not isinstance(sent, list) or not sent:
        raise Missing(f"{field}.keys")
    if len(sent) > KEYS_MAX:
        raise TooMany(f"{field}.keys", KEYS_MAX, len(sent))
    keys: dict[str, Key] = {}
    for jwk in sent:
        kid, key = _read(jwk, f"{field}.keys")
        if kid in keys:
            # The cloud allows one key without a `kid`.
            raise Duplicate(f"{field}.keys.kid", checks.shown(kid))
        keys[kid] = key
    return KeySet(keys)


def _read(jwk: Any, field: str) -> tuple[str, Key]:
    if not isinstance(jwk, dict):
        raise Unusable(
            "holds what is not a JSON Web Key: expected an object with 'kty', 'alg' and the key", field=field
        )
    kid = jwk.get("kid") or ""
    if not isinstance(kid, str) or len(kid) > _KID_CHARS_MAX:
        raise Invalid(f"{field}.kid", f"text of at most {_KID_CHARS_MAX} characters", checks.shown(str(kid)))
    checks.one_of(f"{field}.kty", jwk.get("kty"), tuple(_TYPES))
    members, algorithms = _TYPES[jwk["kty"]]
    if not jwk.get("alg"):
        raise Missing(f"{field}.alg")
    checks.one_of(f"{field}.alg", jwk["alg"], algorithms)
    checks.one_of(f"{field}.use", jwk.get("use") or "sig", ("sig",))
    operations = jwk.get("key_ops") or ["verify"]
    if not isinstance(operations, list) or "verify" not in operations:
        raise Invalid(f"{field}.key_ops", "a list with 'verify'", checks.shown(str(operations)))
    public = {"kty": jwk["kty"], "alg": jwk["alg"]}
    for member in members:
        value = jwk.get(member)
        if not value:
            raise Missing(f"{field}.{member}")
        if not isinstance(value, str) or len(value) > _VALUE_CHARS_MAX:
            allowed = f"base64url of at most {_VALUE_CHARS_MAX} characters"
            raise Invalid(f"{field}.{member}", allowed, checks.shown(str(value)))
        public[member] = value
    return kid, _imported(public, field)


def _imported(public: dict[str, Any], field: str) -> Key:
    kind = public["kty"]
    if kind == "EC":
        checks.one_of(f"{field}.crv", public["crv"], (_CURVES[public["alg"]],))
    elif kind == "OKP":
        checks.one_of(f"{field}.crv", public["crv"], _EDWARDS)
    elif kind == "oct":
        _check_secret(public, field)
    try:
        match kind:
            case "RSA":
                return _bounded(RSAKey.import_key(public), field)
            case "EC":
                return ECKey.import_key(public)
            case "OKP":
                return OKPKey.import_key(public)
            case _:
                return OctKey.import_key(public)
    except (JoseError, ValueError) as error:
        found = checks.shown(str(error))
        raise Unusable(
            f"holds a key that cannot be read: expected a valid {kind} key, found: {found}", field=field
        ) from error


def _check_secret(public: dict[str, Any], field: str) -> None:
    least = _DIGEST_BYTES[public["alg"]]
    try:
        found = len(urlsafe_b64decode(public["k"].encode()))
    except ValueError as error:
        raise Invalid(f"{field}.k", "base64url without padding", "other characters") from error
    if not least <= found <= _HMAC_BYTES_MAX:
        raise Invalid(f"{field}.k", f"{least} to {_HMAC_BYTES_MAX} bytes for {public['alg']}", f"{found} bytes")


def _bounded(key: RSAKey, field: str) -> RSAKey:
    bits = key.public_key.key_size
    if not RSA_BITS_MIN <= bits <= RSA_BITS_MAX:
        raise Invalid(f"{field}.n", f"{RSA_BITS_MIN} to {RSA_BITS_MAX} bits", f"{bits} bits")
    exponent = key.public_key.public_numbers().e.bit_length()
    if exponent > _RSA_EXPONENT_BITS_MAX:
        raise Invalid(f"{field}.e", f"at most {_RSA_EXPONENT_BITS_MAX} bits", f"{exponent} bits")
    return key


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(part.encode()), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise TokenRefused(f"{what} is no JSON object in base64url") from error


def _verified(token: str, key: Key) -> bool:
    registry = jws.JWSRegistry(algorithms=[str(key.alg)], strict_check_header=False)
    # The size of the whole token is already limited.
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = TOKEN_BYTES_MAX
    try:
        jws.deserialize_compact(token.encode(), key, registry=registry)
    except (JoseError, ValueError, RecursionError):
        return False
    return True


def _check_times(claims: dict[str, Any], now: float) -> None:
    """Checks those that are present: RFC 7519 requires none. To the second, without leeway."""
    try:
        JWTClaimsRegistry(now=int(now)).validate({name: claims[name] for name in _TIMES if name in claims})
    except ExpiredTokenError as error:
        raise TokenRefused("it has expired") from error
    except InvalidClaimError as error:
        raise TokenRefused("its 'nbf' or 'iat' is in the future, or one of its times is no number") from error
