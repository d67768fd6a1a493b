"""What a function finds around it: variables, directories, the path of its modules (reference/runtime.md §2, §11)."""

import json
from typing import Any

import fc2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, REGION, Deploy
from tests.support.signer import Api

RESERVED = ["FC_MINE", "FC_FUNC_CODE_PATH", "accessKeyID", "accessKeySecret", "securityToken", "topic"]


@pytest.fixture
def around(deploy: Deploy, service: str, api: Api) -> dict[str, Any]:
    mine = {"MINE": "值", "EMPTY": "", "PATH_OF_MINE": "/a:/b"}
    deploy("surroundings", handler="index.handler", environmentVariables=mine, name="f")
    return dict(json.loads(api.invoke(service, "f").content))


def test_variables(around: dict[str, Any], service: str, runtime: str) -> None:
    seen = around["environ"]
    assert (seen["MINE"], seen["EMPTY"], seen["PATH_OF_MINE"]) == ("值", "", "/a:/b")
    for name, expected in {
        "FC_ACCOUNT_ID": ACCOUNT_ID,
        "FC_REGION": REGION,
        "FC_SERVICE_NAME": service,
        "FC_FUNCTION_NAME": "f",
        "FC_FUNCTION_HANDLER": "index.handler",
        "FC_FUNCTION_MEMORY_SIZE": "128",
        "FC_QUALIFIER": "LATEST",
        "FC_RUNTIME_VERSION": runtime,
        "LANG": "C.UTF-8",
    }.items():
        assert seen[name] == expected, name
    assert seen["FC_INSTANCE_ID"].startswith("c-")
    minor = "3.6" if runtime == "python3" else runtime.removeprefix("python")
    assert seen["PYTHON_VERSION"].startswith(f"{minor}.")
    assert seen["FC_SERVER_LOG_PATH"] == ""
    assert ("FC_FUNCTION_VERSION" in seen) == (runtime == "python3.12")
    for name in ("accessKeyID", "accessKeySecret", "securityToken"):
        assert seen.get(name, "") == "", name
    assert not [name for name in seen if name.startswith(("SESAME", "VIRTUAL_ENV", "PYTEST", "SSH", "SUDO"))]


def test_directories_and_names(around: dict[str, Any]) -> None:
    assert around["name"] == "index"
    assert around["file"].endswith(("/index.py", "/index.pyc"))
    assert around["path"][0].rstrip("/") == around["environ"]["FC_FUNC_CODE_PATH"].rstrip("/")
    assert around["cwd"].rstrip("/") == around["environ"]["FC_FUNC_CODE_PATH"].rstrip("/")
    assert around["time"] == "UTC"
    assert around["main"] == []
    assert not [path for path in around["path"] if path.endswith(("/runtime", "/shim", "/src"))]
    assert not [name for name in around["modules"] if "sesame" in name]


def test_the_time_zone_is_honoured(deploy: Deploy, service: str, api: Api) -> None:
    deploy("surroundings", handler="index.handler", environmentVariables={"TZ": "Asia/Shanghai"}, name="f")
    assert json.loads(api.invoke(service, "f").content)["time"] == "CST"


def test_files_of_the_code_are_read_relative_and_absolute(deploy: Deploy, service: str, api: Api) -> None:
    deploy("reads", handler="index.my_handler")
    assert json.loads(api.invoke(service, "reads").content) == ["beside the code", "beside the code"]


def test_temporary_files_live_as_long_as_the_instance(deploy: Deploy, service: str, api: Api) -> None:
    deploy("scratch", handler="index.my_handler")
    assert [api.invoke(service, "scratch").content for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_refused(client: fc2.Client, service: str, api: Api, name: str) -> None:
    body = {
        "functionName": "f",
        "runtime": "python3",
        "handler": "index.handler",
        "environmentVariables": {name: "x"},
        "code": {"zipFile": ""},
    }
    answer = api("POST", f"/services/{service}/functions", json.dumps(body))
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert name in answer.json()["ErrorMessage"]
    assert client.list_functions(service).data["functions"] == []
