"""Functions of runtime custom-container through the endpoint: images of this machine, called as custom runtimes are."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fc2
import pytest
import requests
from tests.journeys.conftest import FUNCTIONS, SANDBOX, Sesame, failure, run, running, wait_until
from tests.journeys.test_agents import agent_of
from tests.support import command_line
from tests.support.images import layer_of_folder, layout, python_root
from tests.support.jails import jail_only

pytestmark = [jail_only, pytest.mark.skipif(SANDBOX == "plain", reason="needs a jail")]

AGENTS = 2
NAME = "registry.cn-hangzhou.aliyuncs.com/ns/app:v1"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's directory of images; in it `app`, and beside it `elsewhere`."""
    folder = tmp_path_factory.mktemp("images")
    root = python_root(folder)
    shutil.copy(FUNCTIONS / "custom_server" / "bootstrap", root / "srv" / "server")
    shutil.copy(FUNCTIONS / "custom_eval" / "bootstrap", root / "srv" / "eval")
    config = {
        "Entrypoint": ["/usr/bin/python3", "/srv/server"], "Env": ["OF=image", "WHO=image", "PATH=/usr/bin:/bin"],
        "WorkingDir": "/srv",
    }  # fmt: skip
    layout(folder / "allowed" / "app", [layer_of_folder(root)], **config)
    shutil.copytree(folder / "allowed" / "app", folder / "elsewhere")
    shutil.rmtree(root)
    return folder / "allowed"


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Sesame]:
    folder = tmp_path_factory.mktemp("sesame")
    settings = folder / "sesame.toml"
    settings.write_text(f'[images]\n"{NAME}" = "{images.parent / "elsewhere"}"\n')
    flags = ("--image-root", str(images), "--config", str(settings), "--agents", str(AGENTS))
    with running(folder, *flags, runtime="python3", agents=None) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


Create = Callable[..., None]


@pytest.fixture
def create(sesame: Sesame, service: str, images: Path) -> Create:
    def make(name: str = "f", image: str = "", more: dict[str, Any] | None = None, **settings: Any) -> None:
        body = {
            "functionName": name, "runtime": "custom-container", "handler": "h", "timeout": 20, "memorySize": 256,
            "customContainerConfig": {"image": image or f"file://{images}/app", **settings}, **(more or {}),
        }  # fmt: skip
        made = sesame.api()("POST", f"/services/{service}/functions", json.dumps(body))
        assert made.status_code == 200, made.text

    return make


def test_an_image_is_called_and_logged_as_a_function(client: fc2.Client, service: str, create: Create) -> None:
    create(more={"initializer": "any.thing", "environmentVariables": {"WHO": "me"}})
    done = client.invoke_function(service, "f", b"print", headers={"x-fc-log-type": "Tail"})
    assert done.data == b"printed"
    tail = base64.b64decode(done.headers["X-Fc-Log-Result"]).decode()
    places = [
        tail.index(line) for line in ("FC Initialize Start", "initializing", "FC Invoke Start", "printed by the server")
    ]
    assert places == sorted(places)
    seen = json.loads(client.invoke_function(service, "f", b"environment").data)
    expected = {
        "WHO": "me", "OF": "image", "PATH": "/usr/bin:/bin", "FC_FUNCTION_NAME": "f", "FC_SERVER_PORT": "9000",
        "FC_RUNTIME_VERSION": "custom-container", "HOME": "/root",
    }  # fmt: skip
    assert seen.items() >= expected.items()
    assert not {"LD_LIBRARY_PATH", "PYTHONPATH"} & seen.keys()
    headers = json.loads(client.invoke_function(service, "f", b"headers").data)
    assert (headers["x-fc-control-path"], headers["x-fc-function-name"]) == ("/invoke", "f")
    failed = failure(client.invoke_function, service, "f", b"fail")
    assert (failed["status"], failed["errorMessage"]) == (200, "said so")
    assert "Process exited" in failure(client.invoke_function, service, "f", b"exit")["errorMessage"]
    assert client.invoke_function(service, "f", b"again").data == b"echo:again"


def test_every_agent_runs_images(service: str, sesame: Sesame, create: Create) -> None:
    create()
    before = {each.pid for each in sesame.instances()}

    def call(number: int) -> None:
        assert sesame.client().invoke_function(service, "f", b"%d" % number).data == b"echo:%d" % number

    def on_every_agent() -> bool:
        list(threads.map(call, range(8)))
        new = [each for each in sesame.instances() if each.pid not in before]
        return len({agent_of(each, sesame) for each in new} - {0}) == AGENTS

    with ThreadPoolExecutor(4) as threads:
        wait_until(on_every_agent, "instances of the image on every agent")


@pytest.mark.thorough
def test_an_image_by_the_name_that_it_has_in_a_registry(client: fc2.Client, service: str, create: Create) -> None:
    create(image=NAME, command='["/usr/bin/python3"]', args='["server"]')
    assert client.invoke_function(service, "f", b"x").data == b"echo:x"


RUN = """
echo "got $FC_CUSTOM_CONTAINER_EVENT in $(pwd) by $FC_FUNCTION_NAME $0 $1"
test ! -e /was-here || exit 9
: > /was-here
case "$FC_CUSTOM_CONTAINER_EVENT" in
    good*) exit 0 ;; killed) kill -9 $$ ;; late) sleep 60 ;;
esac
exit 3
"""


def test_a_program_that_does_not_listen_is_run_for_each_event(
    client: fc2.Client, service: str, sesame: Sesame, create: Create
) -> None:
    settings = {"webServerMode": False, "command": json.dumps(["/bin/sh", "-c", RUN]), "args": '["run", "it"]'}
    create(more={"initializer": "any.thing", "timeout": 5, "instanceConcurrency": 4}, **settings)
    instances = set()
    for event in ("good", "good $(echo) ü\n"):
        done = client.invoke_function(service, "f", event.encode(), headers={"x-fc-log-type": "Tail"})
        instances.add(done.headers["X-Fc-Instance-Id"])
        assert done.data == b""
        tail = base64.b64decode(done.headers["X-Fc-Log-Result"]).decode()
        assert f"got {event} in /srv by f run it\n" in tail
    assert len(instances) == 2
    failed = failure(client.invoke_function, service, "f", b"bad")
    assert (failed["status"], failed["errorType"]) == (200, "ProgramFailed"), failed
    assert "exited unexpectedly(code 3, message:exit status 3) with start command '/bin/sh -c" in failed["errorMessage"]
    assert "Process exited" in failure(client.invoke_function, service, "f", b"killed")["errorMessage"]
    assert "timed out after 5 seconds" in failure(client.invoke_function, service, "f", b"late")["errorMessage"]
    too_much = {"found a NUL byte": b"good\0", "found 200000 bytes, expected less than 128 KiB": b"x" * 200_000}
    for said, event_of in too_much.items():
        assert said in failure(client.invoke_function, service, "f", event_of)["errorMessage"]
    url = trigger_of(sesame, service)
    refused = requests.get(url, timeout=60)
    assert (refused.status_code, "webServerMode false" in refused.text) == (502, True), refused.text
    create("missing", command='["/srv/none"]', webServerMode=False)
    assert failure(client.invoke_function, service, "missing", b"")["code"] == "CAFileNotFound"
    path = f"/services/{service}/functions/f/instances"
    wait_until(lambda: sesame.api()("GET", path).json()["instances"] == [], "the end of all of them")


def trigger_of(sesame: Sesame, service: str) -> str:
    """The URL of an HTTP trigger that this makes."""
    trigger = {
        "triggerName": "t",
        "triggerType": "http",
        "triggerConfig": {"authType": "anonymous", "methods": ["GET"]},
    }
    made = sesame.api()("POST", f"/services/{service}/functions/f/triggers", json.dumps(trigger))
    assert made.status_code == 200, made.text
    return f"{sesame.endpoint}/2016-08-15/proxy/{service}/f/a/b?c=d"


def test_what_the_server_does_not_name_is_refused(
    client: fc2.Client, service: str, create: Create, images: Path
) -> None:
    for number, image in enumerate(("file:///etc", f"file://{images}/../elsewhere", f"file://{images}/missing")):
        create(f"f-{number}", image=image)
        failed = failure(client.invoke_function, service, f"f-{number}", b"")
        assert (failed["status"], failed["code"]) == (412, "FunctionNotStarted"), failed
        assert "is not in the server's directory of images (--image-root)" in failed["ErrorMessage"]
    create(image="registry.cn-hangzhou.aliyuncs.com/ns/other:v1")
    failed = failure(client.invoke_function, service, "f", b"")
    assert (failed["status"], failed["code"]) == (412, "FunctionNotStarted"), failed
    assert '[images] "registry.cn-hangzhou.aliyuncs.com/ns/other:v1" = "DIR"' in failed["ErrorMessage"]


@pytest.mark.thorough
def test_requests_of_the_web_and_calls_side_by_side(
    client: fc2.Client, service: str, sesame: Sesame, create: Create
) -> None:
    create(more={"instanceConcurrency": 4})
    found = requests.get(trigger_of(sesame, service), timeout=60).json()
    assert found["path"] == "/a/b?c=d"
    with ThreadPoolExecutor(4) as callers:
        done = list(callers.map(lambda _n: client.invoke_function(service, "f", b"sleep 2"), range(4)))
    assert len({each.headers["X-Fc-Instance-Id"] for each in done}) == 1


def test_a_start_that_fails_is_told_with_what_the_program_wrote(
    client: fc2.Client, service: str, create: Create
) -> None:
    create("exits", command='["/bin/sh", "-c", "echo nothing works; exit 7"]')
    failed = failure(client.invoke_function, service, "exits", b"")
    assert (failed["status"], failed["code"]) == (412, "CAExited")
    assert failed["ErrorMessage"].endswith("Logs:\nnothing works")
    create("missing", command='["/srv/none"]')
    assert failure(client.invoke_function, service, "missing", b"")["code"] == "CAFileNotFound"


def test_a_call_that_takes_too_long_ends_its_instance(client: fc2.Client, service: str, create: Create) -> None:
    create(more={"timeout": 1})
    before = client.invoke_function(service, "f", b"x").headers["X-Fc-Instance-Id"]
    assert "timed out after 1 seconds" in failure(client.invoke_function, service, "f", b"hang")["errorMessage"]
    assert client.invoke_function(service, "f", b"x").headers["X-Fc-Instance-Id"] != before


def test_it_has_the_network_of_an_instance(client: fc2.Client, service: str, sesame: Sesame, create: Create) -> None:
    create(args='["/srv/eval"]', command='["/usr/bin/python3"]')

    def evaluated(expression: str) -> Any:
        return json.loads(client.invoke_function(service, "f", expression.encode()).data)

    assert evaluated("read('/etc/resolv.conf').startswith('nameserver ')") is True
    port = int(sesame.endpoint.rpartition(":")[2])
    assert evaluated(f"socket.create_connection(('127.0.0.1', {port}), 30).close()") is None
    trusted = evaluated("os.environ.get('SSL_CERT_FILE', '')")
    assert not trusted or evaluated(f"'BEGIN CERTIFICATE' in read({trusted!r})")


@pytest.mark.thorough
def test_fc_3_0(sesame: Sesame, images: Path) -> None:
    body = {
        "functionName": "alone", "runtime": "custom-container", "handler": "h", "timeout": 20, "memorySize": 256,
        "instanceLifecycleConfig": {"initializer": {"command": ["/bin/sh", "-c", "echo prepared in $PWD"]}},
        "customContainerConfig": {
            "image": f"file://{images}/app", "entrypoint": ["/usr/bin/python3"], "command": ["/srv/server"],
            "port": 8080, "healthCheckConfig": {"httpGetUrl": "/healthy"},
        },
    }  # fmt: skip
    api = sesame.api()
    made = api.whole("POST", "/2023-03-30/functions", json.dumps(body))
    assert made.status_code == 200, made.text
    done = api.whole("POST", "/2023-03-30/functions/alone/invocations", b"environment")
    assert done.status_code == 200, done.text
    assert done.json()["FC_SERVER_PORT"] == "8080"

    def log() -> str:
        return command_line.sesame("logs", "alone", "--data-dir", sesame.data_dir, expect=None).stdout

    wait_until(lambda: "prepared in /srv" in log(), "the command before the first call runs")


def test_it_is_deployed_and_a_second_time_nothing_changes(sesame: Sesame, images: Path, tmp_path: Path) -> None:
    newer = f"""
edition: 3.0.0
name: app
access: default
resources:
  app:
    component: fc3
    props:
      region: cn-shanghai
      functionName: deployed
      runtime: custom-container
      timeout: 20
      memorySize: 256
      customContainerConfig:
        image: file://{images}/app
        entrypoint: [/usr/bin/python3]
        command: [/srv/server]
        port: 8080
"""
    older = f"""
edition: 1.0.0
name: app
access: default
services:
  app:
    component: fc
    props:
      region: cn-shanghai
      service: {{name: deployed}}
      function:
        name: app
        runtime: custom-container
        handler: not-used
        timeout: 20
        memorySize: 256
        caPort: 8080
        customContainerConfig:
          image: file://{images}/app
          command: '["/usr/bin/python3"]'
          args: '["/srv/server"]'
"""
    for text, function in ((newer, "deployed"), (older, "deployed/app")):
        (tmp_path / "s.yaml").write_text(text)
        first = run(sesame, "deploy", tmp_path / "s.yaml")
        assert f"+ function {function}" in first.stdout
        assert "~" not in run(sesame, "deploy", tmp_path / "s.yaml").stdout
        assert run(sesame, "invoke", function, "-e", "x").stdout.strip() == "echo:x"
