"""The signature algorithms V1 and V4, which several products share.

Used by the endpoints that verify signatures and by the clients that create them. Each product defines the signed text.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import msgspec

V4_TERMINATOR = "aliyun_v4_request"


class Scope(msgspec.Struct, frozen=True):
    """What a V4 signature is bound to: the day (YYYYMMDD), the region and the product."""

    date: str
    region: str
    product: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.product}/{V4_TERMINATOR}"


def sign_v1(secret: str, string_to_sign: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), string_to_sign, hashlib.sha1)).decode()


def sign_v4(secret: str, string_to_sign: bytes, scope: Scope) -> str:
    key = f"aliyun_v4{secret}".encode()
    for part in (scope.date, scope.region, scope.product, V4_TERMINATOR):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.digest(key, string_to_sign, hashlib.sha256).hex()


def v4_time(text: str) -> float:
    """Unix seconds of the date that V4 signs, such as `20260102T030405Z`. Raises ValueError."""
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
