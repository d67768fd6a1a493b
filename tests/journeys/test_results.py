"""What a call gives back, as it is on the wire: values, errors of functions, failures to load, deaths.

Under the oldest and the newest runtime (reference/runtime.md §5, §6). One deployment serves a whole table.
"""

import re
from pathlib import Path
from typing import Any

import fc2
import requests
from tests.journeys.conftest import Deploy
from tests.support.signer import Api

VALUES = {
    "text": b"plain",
    "unicode": "你好".encode(),
    "bytes": b"\x00\xff raw",
    "empty": b"",
    "none": b"null",
    "true": b"true",
    "int": b"1",
    "float": b"1.5",
    "list": b'[\n    1,\n    "two",\n    null\n]',
    "decimal": b'{\n    "price": 1.25\n}',
    "dict": b'{\n    "a": "\\u4f60",\n    "b": 1,\n    "nested": {\n        "c": null,\n        "d": [\n'
    b"            1,\n            2\n        ]\n    }\n}",
}
OF_PYTHON_3 = {
    "date": b'{\n    "at": "2020-01-02T03:04:05",\n    "on": "2020-01-02"\n}',
    "to_json": b'{\n    "written": true\n}',
}
UNWRITABLE = ["opaque", "set", "bytearray", "bytes_inside"]
DIED = re.compile(
    r"Process exited unexpectedly before completing request \(duration: \d+ms, maxMemoryUsage: [\d.]+MB\)"
)


def function_error(answer: requests.Response) -> dict[str, Any]:
    """The body of a function's error, which comes with status 200 and says so in a header."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.headers["X-Fc-Request-Id"]) == 36
    body = answer.json()
    assert set(body) <= {"errorMessage", "errorType", "stackTrace"}
    return dict(body)


def test_values(deploy: Deploy, service: str, api: Api, runtime: str) -> None:
    deploy("returns", handler="index.handler")
    table = VALUES if runtime == "python2.7" else {**VALUES, **OF_PYTHON_3}
    for name, expected in table.items():
        answer = api.invoke(service, "returns", name)
        assert (answer.status_code, answer.content) == (200, expected), name
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert "X-Fc-Error-Type" not in answer.headers


def test_values_that_cannot_be_written(deploy: Deploy, service: str, api: Api, runtime: str) -> None:
    deploy("returns", handler="index.handler")
    for name in [*UNWRITABLE, *(OF_PYTHON_3 if runtime == "python2.7" else ["mixed_keys"])]:
        body = function_error(api.invoke(service, "returns", name))
        wanted = "UnicodeDecodeError" if (name, runtime) == ("bytes_inside", "python2.7") else "TypeError"
        assert body["errorType"] == wanted, name
    assert (
        function_error(api.invoke(service, "returns", "opaque"))["errorMessage"] == "<Opaque> is not JSON serializable"
    )
    assert api.invoke(service, "returns", "text").content == b"plain"


def test_the_largest_value_and_one_byte_more(client: fc2.Client, service: str, api: Api) -> None:
    folder = str(Path(__file__).parents[1] / "functions" / "returns")
    client.create_function(service, "f", "python3.10", "index.handler", codeDir=folder, memorySize=1024)
    assert len(api.invoke(service, "f", "largest").content) == 32 * 1024 * 1024
    body = function_error(api.invoke(service, "f", "large"))
    assert "33554433" in body["errorMessage"]


def test_errors_of_functions(deploy: Deploy, client: fc2.Client, service: str, api: Api) -> None:
    deploy("raises", handler="index.handler")
    assert function_error(api.invoke(service, "raises", "{}")) == {
        "errorMessage": "'key'",
        "errorType": "KeyError",
        "stackTrace": [
            ['File "/code/index.py"', "line 19", "in handler", "return inner(json.loads(event))"],
            ['File "/code/index.py"', "line 23", "in inner", "return evt['key']"],
        ],
    }
    client.update_function(service, "raises", handler="index.custom")
    custom = function_error(api.invoke(service, "raises"))
    assert (custom["errorType"], custom["errorMessage"]) == ("Custom", "it broke, badly")
    client.update_function(service, "raises", handler="index.text")
    assert function_error(api.invoke(service, "raises"))["errorMessage"] == "你好"
    client.update_function(service, "raises", handler="index.base")
    assert DIED.fullmatch(function_error(api.invoke(service, "raises"))["errorMessage"])


def test_five_ways_to_fail_to_load(deploy: Deploy, service: str, api: Api, runtime: str) -> None:
    missing = (
        "ImportError: No module named {}" if runtime == "python2.7" else "ModuleNotFoundError: No module named '{}'"
    )
    deploy("broken_import", handler="index.handler")
    assert function_error(api.invoke(service, "broken_import")) == {
        "errorMessage": "Unable to import module 'index'",
        "errorType": "ImportModuleError",
        "stackTrace": [missing.format("no_such_module_anywhere")],
    }
    deploy("broken_syntax", handler="index.handler")
    syntax = function_error(api.invoke(service, "broken_syntax"))
    assert (syntax["errorType"], syntax["errorMessage"]) == ("UserCodeSyntaxError", "Syntax error in module 'index'")
    assert syntax["stackTrace"][:3] == ['File "/code/index.py"', "line 6", "return )"]
    deploy("hello", name="nodot", handler="nodot")
    assert function_error(api.invoke(service, "nodot")) == {
        "errorMessage": "Invalid handler 'nodot'",
        "errorType": "InvalidHandleName",
    }
    deploy("hello", name="absent", handler="index.absent")
    assert function_error(api.invoke(service, "absent")) == {
        "errorMessage": "Handler 'absent' is missing on module 'index'",
        "errorType": "HandlerNotFound",
        "stackTrace": ["HandlerNotFound: Handler 'absent' is missing on module 'index'"],
    }
    deploy("broken_value", handler="index.handler")
    value = api.invoke(service, "broken_value")
    assert function_error(value)["errorType"] == "UserCodeError"
    assert function_error(value)["errorMessage"] == "Module initialization error: 'cannot start'"
    again = api.invoke(service, "broken_value")
    assert again.content == b"repaired", "a failed load was remembered"
    assert again.headers["X-Fc-Instance-Id"] == value.headers["X-Fc-Instance-Id"]


def test_failures_to_load_are_gone_with_the_next_code(
    deploy: Deploy, client: fc2.Client, service: str, api: Api, tmp_path: Path
) -> None:
    deploy("broken_syntax", handler="index.handler")
    assert function_error(api.invoke(service, "broken_syntax"))["errorType"] == "UserCodeSyntaxError"
    (tmp_path / "index.py").write_text("def handler(event, context):\n    return 'repaired'\n")
    client.update_function(service, "broken_syntax", codeDir=str(tmp_path))
    assert api.invoke(service, "broken_syntax").content == b"repaired"


def test_deaths(deploy: Deploy, client: fc2.Client, service: str, api: Api) -> None:
    deploy("exits", handler="index.by_sys")
    seen = set()
    for handler in ("by_sys", "with_text", "hard", "by_signal", "crashes", "with_thread"):
        client.update_function(service, "exits", handler=f"index.{handler}")
        answer = api.invoke(service, "exits")
        assert DIED.fullmatch(function_error(answer)["errorMessage"]), handler
        assert set(answer.json()) == {"errorMessage"}
        seen.add(answer.headers["X-Fc-Instance-Id"])
    assert len(seen) == 6
    client.update_function(service, "exits", handler="index.in_thread")
    assert api.invoke(service, "exits").content == b"alive"


def test_more_memory_than_there_is(deploy: Deploy, client: fc2.Client, service: str, api: Api) -> None:
    deploy("hogs", handler="index.memory", memorySize=128)
    assert DIED.fullmatch(function_error(api.invoke(service, "hogs", "300"))["errorMessage"])
    client.update_function(service, "hogs", handler="index.briefly")
    answer = api.invoke(service, "hogs", "10")
    assert answer.content == str(10 * 1024 * 1024).encode()
    assert 1 < float(answer.headers["X-Fc-Max-Memory-Usage"]) < 128


def test_headers_of_an_answer(deploy: Deploy, service: str, client: fc2.Client, api: Api) -> None:
    deploy("hello", handler="index.handler", name="f")
    checksum = client.get_function(service, "f").data["codeChecksum"]
    answer = api.invoke(service, "f")
    assert answer.headers["X-Fc-Code-Checksum"] == checksum
    assert answer.headers["X-Fc-Invocation-Service-Version"] == "LATEST"
    assert int(answer.headers["X-Fc-Invocation-Duration"]) < 10_000
    assert re.fullmatch(r"\d+\.\d\d", answer.headers["X-Fc-Max-Memory-Usage"])
    assert re.fullmatch(r"c-[0-9a-f-]{36}", answer.headers["X-Fc-Instance-Id"])
    assert "x-fc-log-result" in answer.headers["Access-Control-Expose-Headers"]
    assert "X-Fc-Log-Result" not in answer.headers
    assert answer.headers["Date"].endswith("GMT")
