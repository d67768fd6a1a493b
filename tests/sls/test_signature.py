"""The signatures of the Log Service, against vectors that the official client made with its clock held still."""

import hashlib

from aliyun.log.auth import AuthV4

from sesame.identity.signatures import Scope, sign_v1, sign_v4
from sesame.sls.request import Request
from sesame.sls.signature import string_to_sign_v1, strings_to_sign_v4

DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


def request(method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Request:
    return Request(method, "p", path, path, query, headers, "p.127.0.0.1", ":9002", "127.0.0.1", False)


def test_v1_is_that_of_the_official_client() -> None:
    query = {"type": "log", "from": "1", "to": "2", "query": "a b:c"}
    headers = {
        "date": DATE,
        "x-log-date": DATE,
        "x-log-bodyrawsize": "0",
        "x-log-apiversion": "0.6.0",
        "x-log-signaturemethod": "hmac-sha1",
        "x-acs-security-token": "TOK",
        "x-log-meta-who": "not signed",
    }
    text = string_to_sign_v1(request("GET", "/logstores/ls", query, headers))
    assert sign_v1("SK", text) == "rXj2Rhg2Msjko+Mp18x1Sf0bQdg="


def test_v4_is_that_of_the_official_client() -> None:
    body, at, scope = b'{"from": 1}', "20260102T030405Z", Scope("20260102", "cn-hangzhou", "sls")
    query = {"type": "log", "query": "a b~c:ü", "empty": ""}
    headers = {
        "host": "p.127.0.0.1",
        "content-type": "application/json",
        "x-log-apiversion": "0.6.0",
        "x-log-date": at,
        "x-log-content-sha256": hashlib.sha256(body).hexdigest(),
    }
    signed = "content-type;host;x-log-apiversion;x-log-content-sha256;x-log-date"
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = AuthV4.build_canonical_request(
        "POST", "/logstores/l/logs", query, lines, signed, headers["x-log-content-sha256"]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    expected = AuthV4.build_sign_key("SK", scope.region, scope.date, f"SLS4-HMAC-SHA256\n{at}\n{scope}\n{digest}")
    texts = strings_to_sign_v4(request("POST", "/logstores/l/logs", query, headers), scope)
    assert expected in [sign_v4("SK", text, scope) for text in texts]
