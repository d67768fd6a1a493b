"""Bad input through the endpoint: each its exact code and status, in JSON, and nothing left behind."""

import base64
import io
import json
import stat
import zipfile
from collections.abc import Callable
from typing import Any

import fc2
import pytest
import requests
from fc2.auth import Auth
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, SECRET, Sesame, failure
from tests.support.official_sdks import headers_by_fc2

from sesame.model.limits import RUNTIMES

HELLO = str(FUNCTIONS / "journey_hello")
CODE = "def my_handler(event, context):\n    return 'ok'\n"
NO_CODE = "Either ossBucketName/ossObjectName or zipFile must be set"
DATE = "Mon, 01 Jan 2001 00:00:00 GMT"


def send(
    sesame: Sesame, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> requests.Response:
    """One request signed like the SDK's, but with any body and headers; those given here come after the signing."""
    path = "/2016-08-15" + path
    probe = fc2.Client(endpoint=sesame.endpoint, accessKeyID=KEY_ID, accessKeySecret=SECRET)
    signed = headers_by_fc2(probe, method, path)
    return requests.request(
        method, sesame.endpoint + path, data=body, headers={**signed, **(headers or {})}, timeout=30
    )


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as made:
        for name, content in entries:
            made.writestr(name, content)
    return held.getvalue()


def link() -> bytes:
    entry = zipfile.ZipInfo("index.py")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return archive((entry, "/etc/passwd"))


def bomb() -> bytes:
    """Made in pieces, and packed quickly: 600 MB take two seconds otherwise."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("index.py", CODE)
        with made.open("zeros", "w") as zeros:
            for _ in range(600):
                zeros.write(bytes(1 << 20))
    return buffer.getvalue()


def function(zipped: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "functionName": "f",
        "runtime": "python3",
        "handler": "index.my_handler",
        "code": {"zipFile": base64.b64encode(archive(("index.py", CODE)) if zipped is None else zipped).decode()},
    }
    return {**document, **changes}


NAME = "letters, digits, '_' or '-', beginning with a letter or '_'"


def invalid(field: str, allowed: str, actual: str) -> str:
    return f"{field} is set to an invalid value (allowed: {allowed}, actual: '{actual}')"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"functionName": None}, "FunctionName is required but not provided"),
        ({"functionName": "1f"}, invalid("FunctionName", f"1 to 64 {NAME}", "1f")),
        ({"functionName": "-f"}, invalid("FunctionName", f"1 to 64 {NAME}", "-f")),
        ({"functionName": "f" * 65}, invalid("FunctionName", f"1 to 64 {NAME}", "f" * 65)),
        ({"functionName": "a/b"}, invalid("FunctionName", f"1 to 64 {NAME}", "a/b")),
        ({"functionName": 7}, invalid("FunctionName", "string", "7")),
        ({"runtime": None}, "Runtime is required but not provided"),
        ({"runtime": "10"}, invalid("Runtime", " | ".join(RUNTIMES), "10")),
        ({"runtime": "python3.8"}, invalid("Runtime", " | ".join(RUNTIMES), "python3.8")),
        ({"handler": None}, "Handler is required but not provided"),
        ({"handler": "h" * 200}, invalid("Handler", "at most 128 characters", "200 characters")),
        ({"code": None}, NO_CODE),
        ({"code": {}}, NO_CODE),
        ({"code": {"zipFile": ""}}, NO_CODE),
        ({"code": {"zipFile": "!!!"}}, "code.zipFile is not base64"),
        ({"code": {"ossBucketName": "nowhere", "ossObjectName": "x"}}, ""),
        ({"timeout": 0}, invalid("Timeout", "1 to 86400", "0")),
        ({"timeout": 86401}, invalid("Timeout", "1 to 86400", "86401")),
        ({"timeout": "60"}, invalid("Timeout", "integer", '"60"')),
        ({"initializationTimeout": 301}, invalid("InitializationTimeout", "1 to 300", "301")),
        ({"memorySize": 64}, invalid("MemorySize", "128 to 32768 in steps of 64", "64")),
        ({"memorySize": 130}, invalid("MemorySize", "128 to 32768 in steps of 64", "130")),
        ({"memorySize": 1 << 20}, invalid("MemorySize", "128 to 32768 in steps of 64", "1048576")),
        ({"instanceConcurrency": 0}, invalid("InstanceConcurrency", "1 to 200", "0")),
        ({"diskSize": 1}, invalid("DiskSize", "512 | 10240", "1")),
        (
            {"environmentVariables": {"1A": "x"}},
            invalid("EnvironmentVariables", "names of letters, digits and '_' that begin with a letter", "1A"),
        ),
        ({"environmentVariables": {"FC_X": "x"}}, "EnvironmentVariables is set to an invalid value (allowed: names"),
        ({"environmentVariables": {"A": 1}}, invalid("EnvironmentVariables[A]", "string", "1")),
        (
            {"environmentVariables": {"A": "x" * 5000}},
            invalid("EnvironmentVariables", "at most 4096 bytes in all", "5001 bytes"),
        ),
        ({"description": "d" * 300}, invalid("Description", "at most 256 characters", "300 characters")),
    ],
)
def test_functions_that_cannot_be(sesame: Sesame, service: str, changes: dict[str, Any], text: str) -> None:
    answer = send(sesame, "POST", f"/services/{service}/functions", json.dumps(function(**changes)).encode())
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["ErrorCode"] == "InvalidArgument"
    assert answer.json()["ErrorMessage"].startswith(text)
    assert sesame.client().list_functions(service).data == {"functions": []}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param(b"", NO_CODE, id="empty"),
        pytest.param(b"not a zip", "the code package cannot be read: found 9 bytes that are not a zip", id="no zip"),
        pytest.param(archive(("index.py", CODE))[:-30], "the code package cannot be read: found ", id="cut off"),
        pytest.param(archive(("../index.py", CODE)), "the code package is not accepted at entry '../", id="parent"),
        pytest.param(archive(("a/../../x", CODE)), "the code package is not accepted at entry 'a/..", id="inside"),
        pytest.param(archive(("/index.py", CODE)), "the code package is not accepted at entry '/index", id="absolute"),
        pytest.param(link(), "the code package is not accepted at entry 'index.py': found a link", id="link"),
        pytest.param(bomb, "the code package is too large when unpacked: found 629145648 bytes", id="bomb"),
    ],
)
def test_archives_that_are_refused(sesame: Sesame, service: str, code: bytes | Callable[[], bytes], text: str) -> None:
    if callable(code):
        # Made here, because making it takes two seconds and every process collects this file.
        code = code()
    kept = sorted((sesame.data_dir / "packages").rglob("*"))
    answer = send(sesame, "POST", f"/services/{service}/functions", json.dumps(function(code)).encode())
    assert answer.status_code == 400, answer.text
    assert answer.json()["ErrorCode"] == "InvalidArgument"
    assert answer.json()["ErrorMessage"].startswith(text)
    assert sesame.client().list_functions(service).data == {"functions": []}
    assert sorted((sesame.data_dir / "packages").rglob("*")) == kept
    assert not (sesame.data_dir.parent / "index.py").exists()


def test_an_extra_outer_folder_is_hinted_at(sesame: Sesame, service: str) -> None:
    code = archive(("outer/index.py", CODE))
    answer = send(sesame, "POST", f"/services/{service}/functions", json.dumps(function(code)).encode())
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert answer.json()["ErrorMessage"].startswith(
        "module 'index' of handler 'index.my_handler' is not at the top of the code package but in its folder 'outer'"
    )
    assert sesame.client().list_functions(service).data == {"functions": []}


def test_a_handler_without_a_dot(sesame: Sesame, service: str) -> None:
    created = send(sesame, "POST", f"/services/{service}/functions", json.dumps(function(handler="nodot")).encode())
    assert created.status_code == 200
    seen = failure(sesame.client().invoke_function, service, "f")
    assert seen["status"] == 200
    assert seen["errorType"] == "InvalidHandleName"
    assert "nodot" in seen["errorMessage"]


def test_what_does_not_exist(sesame: Sesame, client: fc2.Client, service: str) -> None:
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    for call, code, text in (
        (lambda: client.invoke_function("nowhere", "f"), "ServiceNotFound", "service 'nowhere' does not exist"),
        (
            lambda: client.invoke_function(service, "g"),
            "FunctionNotFound",
            f"function 'g' does not exist in service '{service}'",
        ),
        (lambda: client.get_function(service, "g"), "FunctionNotFound", "function 'g' does not exist"),
        (lambda: client.delete_function(service, "g"), "FunctionNotFound", "function 'g' does not exist"),
        (lambda: client.update_service("nowhere", "x"), "ServiceNotFound", "service 'nowhere' does not exist"),
        (lambda: client.invoke_function(service, "f", qualifier="7"), "VersionNotFound", "version '7' of service"),
        (lambda: client.invoke_function(service, "f", qualifier="prod"), "AliasNotFound", "alias 'prod' of service"),
        (lambda: client.get_service(service, qualifier="7"), "VersionNotFound", "version '7' of service"),
    ):
        seen = failure(call)
        assert (seen["status"], seen["code"]) == (404, code)
        assert text in seen["ErrorMessage"]


def test_what_exists_already(client: fc2.Client, service: str) -> None:
    assert failure(client.create_service, service)["code"] == "ServiceAlreadyExists"
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    again = failure(client.create_function, service, "f", "python3", "index.my_handler", codeDir=HELLO)
    assert (again["status"], again["code"]) == (409, "FunctionAlreadyExists")


@pytest.mark.parametrize("name", ["1st", "-x", "a b", "a.b", "x" * 129, "中文"])
def test_services_with_broken_names(sesame: Sesame, name: str) -> None:
    answer = send(sesame, "POST", "/services", json.dumps({"serviceName": name}).encode())
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert "ServiceName" in answer.json()["ErrorMessage"]


def test_who_is_not_known(sesame: Sesame) -> None:
    wrong_key = failure(sesame.client(accessKeyID="nobody").list_services)
    assert (wrong_key["status"], wrong_key["code"]) == (403, "InvalidAccessKeyID")
    assert wrong_key["ErrorMessage"] == "invalid access key ID 'nobody'"
    wrong_secret = failure(sesame.client(accessKeySecret="wrong").list_services)
    assert (wrong_secret["status"], wrong_secret["code"]) == (403, "SignatureNotMatch")
    other = failure(sesame.client().list_services, headers={"x-fc-account-id": "42"})
    assert (other["status"], other["code"]) == (403, "AccessDenied")
    assert "services" in sesame.client().list_services(headers={"x-fc-account-id": ACCOUNT_ID}).data


def test_dates_that_do_not_hold(sesame: Sesame) -> None:
    headers = {"date": DATE}
    headers["authorization"] = Auth(KEY_ID, SECRET).sign_request("GET", "/2016-08-15/services", headers)
    late = requests.get(sesame.endpoint + "/2016-08-15/services", headers=headers, timeout=60)
    assert (late.status_code, late.json()["ErrorCode"]) == (403, "AccessDenied")
    headers = {"date": "some day"}
    headers["authorization"] = Auth(KEY_ID, SECRET).sign_request("GET", "/2016-08-15/services", headers)
    broken = requests.get(sesame.endpoint + "/2016-08-15/services", headers=headers, timeout=60)
    assert (broken.status_code, broken.json()["ErrorCode"]) == (400, "InvalidArgument")


def test_missing_headers(sesame: Sesame) -> None:
    answer = requests.get(sesame.endpoint + "/2016-08-15/services", timeout=60)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "MissingRequiredHeader")


def test_options_of_calls(client: fc2.Client, service: str) -> None:
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    for headers, text in (
        ({"x-fc-log-type": "Invalid"}, "LogType is set to an invalid value (allowed: Tail | None, actual: 'Invalid')"),
        ({"x-fc-invocation-type": "Never"}, "InvocationType is set to an invalid value"),
        ({"x-fc-invocation-type": "Async", "x-fc-async-delay": "3601"}, "AsyncDelay is set to an invalid value"),
        (
            {"x-fc-invocation-type": "Async", "x-fc-log-type": "Tail"},
            "LogType is set to an invalid value (allowed: None, actual: 'Tail')",
        ),
    ):
        seen = failure(client.invoke_function, service, "f", headers=headers)
        assert (seen["status"], seen["code"]) == (400, "InvalidArgument")
        assert text in seen["ErrorMessage"]


def test_an_event_over_the_limit(client: fc2.Client, service: str) -> None:
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    seen = failure(client.invoke_function, service, "f", payload=b"x" * (32 * 1024 * 1024 + 1))
    assert (seen["status"], seen["code"]) == (400, "EntityTooLarge")
    assert seen["ErrorMessage"] == "payload size exceeds maximum allowed size (33554432 bytes)"


def test_a_role_that_does_not_exist_is_refused(client: fc2.Client) -> None:
    seen = failure(client.create_service, "with-role", role="acs:ram::1234567890123456:role/never-made")
    assert (seen["status"], seen["code"]) == (400, "InvalidArgument")
    assert failure(client.get_service, "with-role")["code"] == "ServiceNotFound"


def test_a_runtime_that_is_only_kept(client: fc2.Client, service: str) -> None:
    client.create_function(service, "f", "php7.2", "index.handler", codeDir=HELLO)
    seen = failure(client.invoke_function, service, "f")
    assert (seen["status"], seen["code"]) == (400, "InvalidArgument")
    assert seen["ErrorMessage"].startswith("runtime 'php7.2' of function 'f' cannot be run here")
