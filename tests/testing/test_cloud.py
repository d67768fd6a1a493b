"""What the fixture `sesame` offers, asked by tests as users write them: this file uses the installed plugin.

Run by pytest. Starts one Sesame for each process that runs it, on free ports of 127.0.0.1.
"""

import json
import os
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fc2
import pytest
from alibabacloud_sts20150401.client import Client as Sts
from alibabacloud_tea_openapi.models import Config
from aliyun.log import LogClient

import sesame.testing
from sesame.testing import Cloud, CloudError, FunctionFailed, events

GREETING = "hello"


def greeted(name: str) -> str:
    return GREETING + ", " + name


def fail(event: bytes, context: Any) -> None:
    print("about to fail")
    raise ValueError(event.decode())


def remember(event: bytes, context: Any) -> str:
    return os.environ.get("WHO", "") + " " + context.function.name


def test_a_function_of_the_test_file_runs_with_what_it_uses_of_the_file(sesame: Cloud) -> None:
    @sesame.function(environment={"WHO": "me"})
    def hello(event: bytes, context: Any) -> str:
        print("called with", event)
        return greeted(json.loads(event)["name"]) + " from " + os.environ["WHO"]

    result = hello.invoke({"name": "Ann"})
    assert result.text == "hello, Ann from me"
    assert hello.events == [b'{"name": "Ann"}']
    assert "called with" in hello.logs()
    hello.assert_logged("^called with b'")
    hello.assert_not_logged("nothing of it")


@pytest.mark.parametrize("runtime", ["python2.7", "python3", "python3.12"])
def test_the_same_function_runs_on_every_runtime(sesame: Cloud, runtime: str) -> None:
    if runtime not in sesame.runtimes:
        pytest.skip(f"this machine has no interpreter for {runtime}")

    @sesame.function(runtime=runtime)
    def version(event: bytes, context: "Any") -> str:
        import sys

        return ".".join(str(part) for part in sys.version_info[:2])

    wanted = {"python2.7": "2.7", "python3": "3.6", "python3.12": "3.12"}
    assert version.invoke().text == wanted[runtime]


def test_a_failure_names_the_line_of_the_test_file_and_has_the_log(sesame: Cloud) -> None:
    failing = sesame.function(fail)
    with pytest.raises(FunctionFailed) as caught:
        failing.invoke("no luck")
    said = str(caught.value)
    assert f'File "/code/test_cloud.py", line {fail.__code__.co_firstlineno + 2}, in fail' in said
    assert "raise ValueError(event.decode())\nValueError: no luck" in said
    assert "about to fail" in said
    assert failing.invoke("again", check=False).json()["errorMessage"] == "again"


def test_an_initializer_an_http_function_and_versions(sesame: Cloud) -> None:
    def prepare(context: Any) -> None:
        os.environ["READY"] = "yes"

    @sesame.function(http=True, initializer=prepare)
    def web(environ: Any, start_response: Any) -> list[bytes]:
        start_response("201 Created", [("X-Ready", os.environ["READY"])])
        return [environ["REQUEST_METHOD"].encode()]

    with urllib.request.urlopen(web.url) as answer:
        assert (answer.status, answer.headers["X-Ready"], answer.read()) == (201, "yes", b"GET")
    plain = sesame.function(remember)
    with pytest.raises(CloudError, match="tests/remember has no HTTP trigger: deploy it with http=True"):
        _ = plain.url
    version = plain.publish("live")
    assert [plain.invoke(qualifier=each).text for each in (version, "live")] == [" remember"] * 2


def test_folders_files_and_templates_are_deployed(sesame: Cloud, tmp_path: Path) -> None:
    (tmp_path / "index.py").write_text("def handler(event, context):\n    return event[::-1]\n")
    folder = sesame.deploy(tmp_path, name="reversed", timeout_s=7)
    assert folder.invoke("abc").text == "cba"
    assert sesame.deploy(tmp_path / "index.py", service="other").name == "other/index"
    client = sesame.fc_client()
    assert client.get_function("tests", "reversed").data["timeout"] == 7
    (tmp_path / "template.yml").write_text(
        "ROSTemplateFormatVersion: '2015-09-01'\nTransform: 'Aliyun::Serverless-2018-04-03'\nResources:\n"
        "  shop:\n    Type: 'Aliyun::Serverless::Service'\n    order:\n      Type: 'Aliyun::Serverless::Function'\n"
        "      Properties: {Handler: index.handler, Runtime: python3, CodeUri: ./}\n"
    )
    made = sesame.deploy_template(tmp_path)
    assert made["shop/order"].invoke("xy").text == "yx"
    assert sesame.deploy(tmp_path / "template.yml").name == "shop/order"
    with pytest.raises(CloudError, match="is a template, which says by itself how it is deployed: leave out timeout_s"):
        sesame.deploy(tmp_path / "template.yml", timeout_s=3)
    (tmp_path / "template.yml").write_text("Resources: [1]\n")
    with pytest.raises(CloudError, match=r"template\.yml"):
        sesame.deploy_template(tmp_path)


def test_objects_fire_functions_and_are_compared(sesame: Cloud) -> None:
    @sesame.function(environment={"OSS": sesame.oss_endpoint})
    def copy(event: bytes, context: Any) -> None:
        import oss2

        key = json.loads(event)["events"][0]["oss"]["object"]["key"]
        if key.startswith("copies/"):
            return
        keys = context.credentials
        auth = oss2.StsAuth(keys.access_key_id, keys.access_key_secret, keys.security_token)
        bucket = oss2.Bucket(auth, os.environ["OSS"], "photos")
        bucket.put_object("copies/" + key, bucket.get_object(key).read())

    copy.on_object("photos", suffix=".txt")
    photos = sesame.bucket("photos")
    photos.put("a.txt", "one\ntwo")
    photos.put("b.png", b"\x89")
    sesame.settle()
    assert photos.objects() == {"a.txt": b"one\ntwo", "b.png": b"\x89", "copies/a.txt": b"one\ntwo"}
    photos.assert_object("copies/a.txt", "one\ntwo")
    with pytest.raises(AssertionError, match=r"(?s)'a.txt' in bucket photos .*-three\n\+two"):
        photos.assert_object("a.txt", "one\nthree")
    with pytest.raises(AssertionError, match=r"there is no object 'c' in bucket photos; there is \['a.txt'"):
        photos.assert_object("c", "")
    with pytest.raises(KeyError, match="has no object 'c'"):
        photos.get("c")
    assert sesame.oss_bucket("photos").get_object("b.png").read() == b"\x89"


def test_time_passes_when_it_is_told_to_and_every_tick_and_retry_is_made(sesame: Cloud) -> None:
    ticking = sesame.function(remember)
    ticking.on_timer("@every 10m", "tick")
    failing = sesame.function(fail)
    call = failing.invoke_async("later")
    # The next attempt comes within a second, if the clock is not moved.
    assert call.attempts()[0].error == "unhandled"
    began = sesame.clock.now()
    sesame.clock.advance(minutes=35)
    assert [json.loads(event)["payload"] for event in ticking.events] == ["tick"] * 3
    assert sesame.clock.now() - began >= timedelta(minutes=35)
    # The first attempt and as many again as the cloud makes.
    assert [each.attempt for each in call.attempts()] == [1, 2, 3, 4]
    with pytest.raises(FunctionFailed, match="ValueError: later"):
        call.result()
    sesame.clock.advance_to(datetime.now(UTC) + timedelta(hours=2))
    # The official clients sign by the machine's clock.
    assert sesame.fc_client().get_function("tests", "fail").data["functionName"] == "fail"
    assert sesame.oss_bucket("later").object_exists("x") is False
    with pytest.raises(CloudError, match="time only goes forward"):
        sesame.clock.advance_to(datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(CloudError, match="expected a number from 0 on"):
        sesame.clock.advance(-1)


def test_what_is_not_a_function_of_a_file_is_refused_with_the_next_step(sesame: Cloud) -> None:
    secret = "of the test"
    with pytest.raises(CloudError, match=r"uses secret of the test around it.* pass it in the event or with environ"):

        @sesame.function
        def closure(event: bytes, context: Any) -> str:
            return secret

    with pytest.raises(CloudError, match="expected functions defined with def in one Python file"):
        sesame.function(len)
    with pytest.raises(CloudError, match=r"the runtime 'python1\.5' has no interpreter here; there are python"):
        sesame.function(fail, runtime="python1.5")
    with pytest.raises(CloudError, match=r"nowhere does not exist; looked for .*/tests/testing/nowhere and .*/nowhere"):
        sesame.deploy("nowhere")
    with pytest.raises(CloudError, match="expected SERVICE/FUNCTION"):
        sesame.get_function("tests")
    with pytest.raises(CloudError, match=r"FunctionNotFound|ServiceNotFound"):
        sesame.get_function("tests/none").invoke()


def test_events_of_every_source_reach_a_function(sesame: Cloud) -> None:
    @sesame.function
    def echo(event: bytes, context: Any) -> bytes:
        return event

    built = {
        "oss": events.oss("photos", "a.jpg", size=9, changes={"oss": {"object": {"eTag": "E"}}}),
        "timer": events.timer("p", name="t", at=0.0),
        "http": events.http("POST", "/p", body="b", headers={"X": "1"}, query={"q": "2"}),
        "cdn": events.cdn("a.example.com"),
        "log": events.log("p", "l", parameter={"k": 1}),
        "mns": events.mns("m", topic="t"),
        "bridge": events.event_bridge("MNS", {"x": 1}, changes={"subject": "s"}),
        "tablestore": events.tablestore(),
    }
    got = {name: echo.invoke(event).payload for name, event in built.items()}
    assert got == built
    made = json.loads(built["oss"])["events"][0]["oss"]
    assert made["bucket"]["name"] == "photos"
    assert made["object"] | {"key": "a.jpg", "size": 9, "deltaSize": 9, "eTag": "E"} == made["object"]
    assert json.loads(built["timer"]) == {"triggerTime": "1970-01-01T00:00:00Z", "triggerName": "t", "payload": "p"}
    gateway = json.loads(built["http"])
    assert (gateway["headers"]["X"], gateway["queryParameters"], gateway["body"]) == ("1", {"q": "2"}, "b")
    assert json.loads(built["bridge"])[0]["subject"] == "s"


def test_the_public_names_are_complete_and_documented() -> None:
    public = sesame.testing.names.__all__
    assert public == sorted(public)
    documentation = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    assert [name for name in public if not hasattr(sesame.testing, name) or f"`{name}`" not in documentation] == []


def test_programs_that_read_the_environment_find_it(sesame: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sesame.environ().items():
        monkeypatch.setenv(name, value)
    keys = {"accessKeyID": os.environ["ACCESS_KEY_ID"], "accessKeySecret": os.environ["ACCESS_KEY_SECRET"]}
    client = fc2.Client(endpoint=os.environ["FC_ENDPOINT"], **keys)
    assert client.list_services().data["services"] == []
    # As aliyun-log-python-sdk does, it finds its proxy in the environment.
    monkeypatch.setenv("http_proxy", os.environ["SLS_PROXY"])
    logs = LogClient(
        "http://cn-hangzhou.log.aliyuncs.com", os.environ["ACCESS_KEY_ID"], os.environ["ACCESS_KEY_SECRET"]
    )
    logs.create_project("shop", "")
    assert [project["projectName"] for project in logs.list_project().get_projects()] == ["shop"]
    assert urlsplit(os.environ["SLS_ENDPOINT"]).port == urlsplit(os.environ["SLS_PROXY"]).port
    monkeypatch.delenv("http_proxy")
    config = Config(
        access_key_id=os.environ["ACCESS_KEY_ID"],
        access_key_secret=os.environ["ACCESS_KEY_SECRET"],
        endpoint=urlsplit(os.environ["STS_ENDPOINT"]).netloc,
        protocol="http",
    )
    assert Sts(config).get_caller_identity().body.account_id == sesame.account_id


def test_an_official_client_that_is_missing_is_named_with_its_package(
    sesame: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fc2", None)
    with pytest.raises(CloudError, match="client fc2 is not installed: pip install aliyun-fc2"):
        sesame.fc_client()
