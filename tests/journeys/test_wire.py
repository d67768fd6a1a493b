"""What the SDKs of other languages rely on, byte by byte (reference/api.md §0): sent and received below the SDK."""

import base64
import json
import time
import zipfile
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import fc2
import pytest
import requests
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, Sesame
from tests.support.signer import API, Api

HELLO = str(FUNCTIONS / "journey_hello")
LOWERED = {"content-length", "transfer-encoding", "connection"}


def packed(text: str = "def my_handler(event, context):\n    return 'hello world'\n") -> str:
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("index.py", text)
    return base64.b64encode(held.getvalue()).decode()


@pytest.fixture
def function(client: fc2.Client, service: str) -> str:
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    return f"/services/{service}/functions/f"


def canonical(name: str) -> bool:
    return name in LOWERED or all(part[:1].isupper() or part[:1].isdigit() for part in name.split("-"))


def test_names_of_headers_keep_their_case(api: Api, function: str, client: fc2.Client, service: str) -> None:
    client.create_function(service, "g", "python3", "index.absent", codeDir=HELLO)
    failing = f"/services/{service}/functions/g/invocations"
    tail = {"x-fc-log-type": "Tail"}
    wanted = {
        ("GET", f"/services/{service}"): ["X-Fc-Request-Id", "Etag", "Date", "Content-Type"],
        ("GET", "/services/nowhere"): ["X-Fc-Request-Id", "Date", "Content-Type"],
        ("POST", f"{function}/invocations"): ["X-Fc-Request-Id", "X-Fc-Log-Result", "X-Fc-Code-Checksum"],
        ("POST", failing): ["X-Fc-Request-Id", "X-Fc-Error-Type", "X-Fc-Log-Result", "X-Fc-Invocation-Duration"],
        ("DELETE", f"/services/{service}/functions/g"): ["X-Fc-Request-Id", "Date"],
    }
    for (method, path), names in wanted.items():
        _, headers, _ = api.exchange_signed(method, path, headers=tail)
        assert set(names) <= set(headers), (path, sorted(headers))
        assert all(canonical(name) for name in headers), sorted(headers)
        assert len(headers["X-Fc-Request-Id"]) == 36


def test_deletions_have_neither_body_nor_type(api: Api, function: str, service: str) -> None:
    for path in (function, f"/services/{service}"):
        status, headers, body = api.exchange_signed("DELETE", path)
        assert status.split(" ")[1] == "204"
        assert body == b""
        assert "Content-Type" not in headers
        assert "transfer-encoding" not in headers
        assert headers.get("content-length", "0") == "0"


def test_bodies_in_chunks_and_of_any_type(api: Api, service: str) -> None:
    document = json.dumps(
        {"functionName": "f", "runtime": "python3", "handler": "index.my_handler", "code": {"zipFile": packed()}}
    ).encode()
    chunks = [document[at : at + 100] for at in range(0, len(document), 100)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    sent = {"transfer-encoding": "chunked", "content-type": "application/octet-stream"}
    status, _, answer = api.exchange_signed("POST", f"/services/{service}/functions", body, sent)
    assert status.split(" ")[1] == "200", answer
    assert json.loads(answer)["functionName"] == "f"
    event = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    status, _, answer = api.exchange_signed("POST", f"/services/{service}/functions/f/invocations", event, sent)
    assert (status.split(" ")[1], answer) == ("200", b"hello world")


def test_keys_in_any_case_and_null_as_absent(api: Api, service: str) -> None:
    document: dict[str, Any] = {
        "FunctionName": "f",
        "RUNTIME": "python3",
        "Handler": "index.my_handler",
        "Code": {"ZipFile": packed(), "OSSBucketName": None},
        "memorysize": 256,
        "EnvironmentVariables": {"CaseKept": "Yes"},
        "initializer": None,
        "layers": None,
        "timeout": None,
        "unknown": {"is": "ignored"},
    }
    made = api("POST", f"/services/{service}/functions", json.dumps(document))
    assert made.status_code == 200, made.text
    seen = made.json()
    assert (seen["memorySize"], seen["timeout"]) == (256, 3)
    assert seen["environmentVariables"] == {"CaseKept": "Yes"}
    assert "code" not in seen
    changed = api("PUT", f"/services/{service}/functions/f", '{"Description": "new", "memorySize": null}')
    assert (changed.json()["description"], changed.json()["memorySize"]) == ("new", 256)


def test_an_account_id_may_be_present_and_empty(api: Api) -> None:
    assert api("GET", "/services", headers={"x-fc-account-id": ""}).status_code == 200
    assert api("GET", "/services", headers={"x-fc-account-id": ACCOUNT_ID}).status_code == 200


def test_a_host_without_its_port(api: Api, function: str) -> None:
    _, _, body = api.exchange_signed("GET", f"{function}/code", headers={"host": "127.0.0.1"})
    assert requests.get(json.loads(body)["url"], timeout=60).status_code == 200


def test_the_path_may_be_signed_as_it_was_sent(api: Api, service: str) -> None:
    path = f"{API}/services/{service.replace('-', '%2D')}"
    for signed_path in (path, path.replace("%", "%25")):
        head = "".join(f"{name}: {value}\r\n" for name, value in api.signed("GET", signed_path).items())
        answer = api.exchange(f"GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{head}\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert f'"serviceName":"{service}"'.encode() in answer.replace(b" ", b"")


@pytest.mark.parametrize("name", ["a%2Fb", "..%2Fx", "%2e%2e%2f", "a%2Ffunctions%2Ff"])
def test_an_escaped_slash_parts_no_name(api: Api, function: str, service: str, name: str) -> None:
    for path in (f"/services/{name}", f"/services/{service}/functions/{name}"):
        for method in ("GET", "DELETE"):
            answer = api(method, path)
            assert answer.status_code in (400, 404), answer.text
            assert set(answer.json()) == {"ErrorCode", "ErrorMessage"}
    assert api("GET", f"/services/{service}%2Ffunctions%2Ff").status_code in (400, 404)
    assert api("GET", function).status_code == 200


def test_a_signature_over_other_headers_or_another_path_is_refused(sesame: Sesame, api: Api, service: str) -> None:
    path = f"{API}/services/{service}"
    good = api.signed("GET", path)
    assert requests.get(sesame.endpoint + path, headers=good, timeout=60).status_code == 200
    for method, where, headers in (
        ("GET", f"{API}/services", good),
        ("DELETE", path, good),
        ("GET", path, {**good, "x-fc-extra": "1"}),
        ("GET", path, {**good, "content-type": "text/plain"}),
        ("GET", path, {**good, "content-md5": "abc"}),
        ("GET", path, {**good, "authorization": good["authorization"][:-4] + "AAA="}),
    ):
        answer = requests.request(method, sesame.endpoint + where, headers=headers, timeout=60)
        assert answer.status_code == 403
        assert answer.json() == {
            "ErrorCode": "SignatureNotMatch",
            "ErrorMessage": "The request signature we calculated does not match the signature you provided. "
            "Check your access key and signing method",
        }
    assert api("GET", f"/services/{service}").status_code == 200


@pytest.mark.parametrize("authorization", ["", "FC", "FC :", f"FC {KEY_ID}", f"FC {KEY_ID}:", "Basic eDp5", "FC a:b:c"])
def test_an_authorization_that_is_none(sesame: Sesame, api: Api, authorization: str) -> None:
    headers = {**api.signed("GET", f"{API}/services"), "authorization": authorization}
    answer = requests.get(f"{sesame.endpoint}{API}/services", headers=headers, timeout=60)
    assert answer.status_code in (400, 403), answer.text
    assert set(answer.json()) == {"ErrorCode", "ErrorMessage"}
    assert answer.headers["Content-Type"] == "application/json"


def test_a_temporary_key_that_was_never_issued_is_refused(sesame: Sesame) -> None:
    answer = sesame.api("STS.made-up", "secret")("GET", "/services", headers={"x-fc-security-token": "made up"})
    assert answer.status_code == 403
    assert answer.json()["ErrorCode"] == "InvalidSecurityToken"


def test_a_body_too_long_is_refused_before_it_is_sent(api: Api, function: str) -> None:
    for path, limit in ((f"{function}/invocations", 32 << 20), ("/services", None)):
        began = time.monotonic()
        status, _, body = api.exchange_signed("POST", path, headers={"content-length": str(1 << 30)})
        assert time.monotonic() - began < 10
        assert status.split(" ")[1] == "400"
        assert json.loads(body)["ErrorCode"] == "EntityTooLarge"
        if limit:
            assert json.loads(body)["ErrorMessage"] == f"payload size exceeds maximum allowed size ({limit} bytes)"


@pytest.mark.parametrize(
    "body", ["{", "[]", '"text"', "null", "7", b"\xff\xfe", '{"serviceName": 7}', '{"serviceName": ["x"]}', "{}", ""]
)
def test_bodies_that_are_no_document(api: Api, client: fc2.Client, body: str | bytes) -> None:
    before = client.list_services(limit=100).data
    answer = api("POST", "/services", body)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert answer.headers["Content-Type"] == "application/json"
    assert client.list_services(limit=100).data == before


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("PATCH", "/services"), ("DELETE", "/services"), ("GET", "/services/a/functions/f/nothing")],
)
def test_paths_that_are_none(api: Api, method: str, path: str) -> None:
    answer = api(method, path)
    assert answer.status_code == 400
    assert answer.json() == {
        "ErrorCode": "PathNotSupported",
        "ErrorMessage": f"'{method}' against '{API}{path}' is not supported",
    }


def test_connections_are_kept(sesame: Sesame, api: Api, function: str) -> None:
    path = f"{API}{function}/invocations"
    with requests.Session() as session:
        for _ in range(20):
            answer = session.post(sesame.endpoint + path, headers=api.signed("POST", path), timeout=30)
            assert answer.content == b"hello world"
        adapters = [each for each in session.adapters.values() if isinstance(each, requests.adapters.HTTPAdapter)]
        managers = [adapter.poolmanager for adapter in adapters]
        pools = [manager.pools.get(key) for manager in managers for key in manager.pools.keys()]  # noqa: SIM118
        opened = [pool.num_connections for pool in pools if pool is not None]
    assert opened == [1]


def test_malformed_http_harms_no_other_client(sesame: Sesame, api: Api, function: str) -> None:
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"):
        assert api.exchange(garbage).startswith(b"HTTP/1.1 4")
    assert urlsplit(sesame.endpoint).hostname == "127.0.0.1"
    assert api("POST", f"{function}/invocations").content == b"hello world"
