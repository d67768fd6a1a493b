"""Keys and JSON Web Tokens for tests. Tokens are put together by hand, so that they can be wrong in any way."""

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Jwk = dict[str, Any]


@functools.cache
def rsa(bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits)


@functools.cache
def ec(curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve)


@functools.cache
def ed25519() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def public(key: RSAKey | ECKey | OKPKey, alg: str, **more: Any) -> Jwk:
    return {**key.as_dict(private=False), "alg": alg, **more}


def jwks(*keys: Jwk) -> dict[str, Any]:
    return {"keys": list(keys)}


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def token(key: Any, claims: Any, alg: str, **header: Any) -> str:
    """Signed by the key with the algorithm; `header` says more, or something else, than that."""
    signed = f"{part({'alg': alg, **header})}.{part(claims)}"
    return f"{signed}.{part(JWSRegistry.algorithms[alg].sign(signed.encode(), key))}"


def hmac_token(secret: bytes, claims: Any, **header: Any) -> str:
    signed = f"{part({'alg': 'HS256', **header})}.{part(claims)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
