"""The policy of a form upload: its signer, its expiry and its conditions on the form.

Called by `oss.post_object`. Pure functions of a form's fields (reference/companions.md §1.12).
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from sesame.identity.signatures import sign_v1, sign_v4
from sesame.oss.credentials import V4_ALGORITHM, parse_credential
from sesame.oss.errors import OssError

POLICY_CHARS_MAX = 64 * 1024
CONDITIONS_MAX = 200
_EXPIRATION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z")

# A form with any of these fields claims to be signed.
_PROOF = frozenset({"policy", "ossaccesskeyid", "signature", "x-oss-credential", "x-oss-signature"})

Condition = dict[str, str] | list[str | int | list[str]]


class Policy(msgspec.Struct, frozen=True):
    expiration: str
    conditions: list[Condition]


class Signed(msgspec.Struct, frozen=True):
    """The credentials in a form; `date` and `scope` only with V4."""

    access_key_id: str
    token: str
    signature: str
    v4: bool = False


def signed(fields: Mapping[str, str]) -> Signed | None:
    """The form's credentials; None for an anonymous form, without policy and signature.

    Raises OssError InvalidArgument.
    """
    if not _PROOF & fields.keys():
        return None
    _need(fields, "policy")
    token = fields.get("x-oss-security-token", "")
    version = fields.get("x-oss-signature-version", "")
    if version == V4_ALGORITHM:
        access_key_id, scope = parse_credential(_need(fields, "x-oss-credential"))
        if not _need(fields, "x-oss-date").startswith(scope.date):
            raise OssError("InvalidArgument", "The date of the credential is not that of the form.")
        return Signed(access_key_id, token, _need(fields, "x-oss-signature"), v4=True)
    if version:
        raise OssError("NotImplemented", details={"Field": "x-oss-signature-version"})
    return Signed(_need(fields, "ossaccesskeyid"), token, _need(fields, "signature"))


def check_signature(fields: Mapping[str, str], proof: Signed, secret: str) -> None:
    """Verifies the signature over the policy as sent. Raises OssError SignatureDoesNotMatch."""
    policy = fields["policy"].encode()
    if proof.v4:
        _, scope = parse_credential(fields["x-oss-credential"])
        right = sign_v4(secret, policy, scope)
    else:
        right = sign_v1(secret, policy)
    if not hmac.compare_digest(right.encode(), proof.signature.encode()):
        raise OssError("SignatureDoesNotMatch", details={"OSSAccessKeyId": proof.access_key_id})


def read_policy(fields: Mapping[str, str], now: float) -> Policy:
    """Parses the policy. Raises OssError InvalidPolicyDocument, and AccessDenied if it has expired."""
    try:
        if len(fields["policy"]) > POLICY_CHARS_MAX:
            raise ValueError("too long")
        policy = msgspec.json.decode(base64.b64decode(fields["policy"], validate=True), type=Policy)
        if not _EXPIRATION.match(policy.expiration) or len(policy.conditions) > CONDITIONS_MAX:
            raise ValueError(policy.expiration)
        expires_at = datetime.fromisoformat(policy.expiration.removesuffix("Z")).replace(tzinfo=UTC).timestamp()
    except (binascii.Error, ValueError, RecursionError) as error:
        raise OssError("InvalidPolicyDocument") from error
    if expires_at < now:
        raise OssError("AccessDenied", "Invalid according to Policy: Policy expired.")
    return policy


def check_fields(policy: Policy, fields: Mapping[str, str]) -> None:
    """Raises OssError AccessDenied if the form violates a condition."""
    for condition in policy.conditions:
        if isinstance(condition, dict):
            if len(condition) != 1:
                raise OssError("InvalidPolicyDocument")
            ((name, value),) = condition.items()
            met = fields.get(name.lower()) == value
        else:
            met = _is_met(condition, fields)
        if not met:
            raise failed(condition)


def length_range(policy: Policy) -> tuple[Condition | None, int, int | None]:
    """The narrowest size limits in the policy: the condition, and the minimum and maximum size of the file in bytes."""
    stated: Condition | None = None
    least, most = 0, None
    for condition in policy.conditions:
        if isinstance(condition, list) and condition[:1] == ["content-length-range"]:
            low, high = (condition[1], condition[2]) if len(condition) == 3 else (None, None)
            if not isinstance(low, int) or not isinstance(high, int):
                raise OssError("InvalidPolicyDocument")
            stated, least, most = condition, max(least, low), high if most is None else min(most, high)
    return stated, least, most


def failed(condition: Condition) -> OssError:
    written = msgspec.json.encode(condition).decode()
    return OssError("AccessDenied", f"Invalid according to Policy: Policy Condition failed: {written}")


def _is_met(condition: list[str | int | list[str]], fields: Mapping[str, str]) -> bool:
    if condition[:1] == ["content-length-range"]:
        return True  # `length_range` checks the file's size.
    if len(condition) != 3 or not isinstance(condition[0], str) or not isinstance(condition[1], str):
        raise OssError("InvalidPolicyDocument")
    operator, name, wanted = condition
    value = fields.get(str(name).removeprefix("$").lower())
    if operator == "eq" and isinstance(wanted, str):
        return value == wanted
    if operator == "starts-with" and isinstance(wanted, str):
        return value is not None and value.startswith(wanted)
    if operator in ("in", "not-in") and isinstance(wanted, list):
        return (value in wanted) == (operator == "in")
    raise OssError("InvalidPolicyDocument")


def _need(fields: Mapping[str, str], name: str) -> str:
    if not fields.get(name):
        raise OssError("InvalidArgument", details={"ArgumentName": name, "ArgumentValue": ""})
    return fields[name]


def file_digest(content_md5: str) -> bytes | None:
    """Decodes Content-MD5; None if empty. Raises OssError InvalidDigest."""
    if not content_md5:
        return None
    try:
        digest = base64.b64decode(content_md5, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OssError("InvalidDigest", details={"Content-MD5": content_md5[:64]}) from error
    if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
        raise OssError("InvalidDigest", details={"Content-MD5": content_md5[:64]})
    return digest
