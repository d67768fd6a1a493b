"""Policies of roles and of resources, and those of form uploads: each decides, or is refused in the API's words."""

import base64
import contextlib
import json

from tests.support.fuzzing import Kind, just

from sesame.identity.policy.evaluator import Decision, MalformedPolicy, Question, parse, parse_resource_policy
from sesame.oss import post_policy
from sesame.oss.errors import OssError

QUESTIONS = (
    Question(action="oss:PutObject", resource="acs:oss:*:1:b/k", context={"acs:sourceip": "10.0.0.1"}),
    Question(
        action="fc:InvokeFunction",
        resource="acs:fc:cn-hangzhou:1:services/s/functions/" + "f" * 60,
        context={
            "acs:sourceip": "fe80::1",
            "acs:currenttime": "2026-01-02T03:04:05Z",
            "acs:securetransport": "true",
            "oss:prefix": "a/" * 200,
        },
    ),
)
FORM_NOW = 1_767_323_045.0


def take(data: bytes) -> None:
    text = data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else ""
    for read in (parse, parse_resource_policy):
        for strict in (True, False):
            with contextlib.suppress(MalformedPolicy):
                policy = read(text, strict=strict)
                for question in QUESTIONS:
                    assert policy.decide(question) in Decision
    fields = {"policy": base64.b64encode(data).decode(), "key": "k/${filename}", "content-type": "text/plain"}
    with contextlib.suppress(OssError):
        post_policy.read_policy(fields, FORM_NOW)
    # The same as it was sent, which need not be base64.
    with contextlib.suppress(OssError):
        post_policy.read_policy({"policy": text}, FORM_NOW)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return b"\xed" not in data
    return True


def policy(*statements: object) -> bytes:
    return json.dumps({"Version": "1", "Statement": statements}).encode()


CONDITIONS = {
    "StringLike": {"oss:Prefix": ["a/*", "*b?c*"]},
    "StringNotEqualsIgnoreCase": {"acs:SecureTransport": "TRUE"},
    "IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]},
    "NotIpAddress": {"acs:SourceIp": "192.168.0.1"},
    "DateLessThan": {"acs:CurrentTime": "2026-01-02T03:04:05+08:00"},
    "NumericGreaterThanEquals": {"oss:MaxKeys": 100.5},
    "Bool": {"acs:SecureTransport": True},
}
KIND = Kind(
    seeds=[
        policy({"Effect": "Allow", "Action": ["oss:Get*", "fc:Invoke?unction"], "Resource": "acs:oss:*:*:b/*"}),
        policy({"Effect": "Deny", "NotAction": "sts:*", "NotResource": ["*"], "Condition": CONDITIONS}),
        policy(
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["fc.aliyuncs.com"]}},
            {"Effect": "Allow", "Action": "*", "Principal": {"RAM": ["acs:ram::1:role/r", "acs:ram::1:root"]}},
        ),
        policy({"Effect": "Allow", "Action": "a*" * 20, "Resource": "*" + "a?*" * 60 + "b"}),
        json.dumps(
            {
                "expiration": "2026-12-01T12:00:00.000Z",
                "conditions": [
                    {"bucket": "photos"}, ["starts-with", "$key", "k/"], ["eq", "$content-type", "text/plain"],
                    ["content-length-range", 1, 1048576], ["in", "$cache-control", ["a", "b"]],
                ],
            }
        ).encode(),
    ],
    words=[
        b'"Version"', b'"Statement"', b'"Effect"', b'"Action"', b'"NotAction"', b'"Resource"', b'"Principal"', b'"RAM"',
        b'"Condition"', b'"Allow"', b'"Deny"', b'"StringLike"', b'"Null"', b'"Bool"', b'"DateEquals"', b'"IpAddress"',
        b'"acs:SourceIp"', b'"acs:CurrentTime"', b"true", b"null", b"1e400", b"::/0", b"0.0.0.0/33", b"**??", b"T24:00",
        b'"expiration"', b'"conditions"', b'"starts-with"', b"$key", b'"content-length-range"', b"9999-12-31T23:59:59",
    ],
    opened=just(take),
)  # fmt: skip
