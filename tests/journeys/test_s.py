"""The official tool `s` of Serverless Devs, unmodified, with its component `fc3`, deploys as docs/s.md says."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.docs.blocks import REPOSITORY
from tests.docs.follow import follow
from tests.docs.shell import Shell, clean_environment
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, REGION, SECRET, Sesame
from tests.support import command_line

PROGRAM = "node_modules/@serverless-devs/s/bin/s"
COMPONENTS = ("fc3", "fc3-domain")
NOT_RUN = re.compile(r"<!-- not run: .*? -->\n")
LAYER = f"acs:fc:{REGION}:{ACCOUNT_ID}:layers/words/versions/1"
PROJECT = f"""\
edition: 3.0.0
name: shop
access: sesame
resources:
  py:
    component: fc3
    props:
      region: {REGION}
      functionName: py
      runtime: python3.10
      handler: index.handler
      code: ./code
      cpu: 0.35
      memorySize: 512
      diskSize: 512
      role: aliyunfcdefaultrole
      environmentVariables: {{WHO: you}}
      tags: [{{key: team, value: shop}}]
      logConfig: {{project: shop-logs, logstore: functions, enableRequestMetrics: true, logBeginRule: DefaultRegex}}
      instanceLifecycleConfig: {{initializer: {{handler: index.initialize, timeout: 10}}}}
      layers: [{LAYER}]
      asyncInvokeConfig: {{asyncTask: true, maxAsyncEventAgeInSeconds: 3600, maxAsyncRetryAttempts: 1}}
      concurrencyConfig: {{reservedConcurrency: 3}}
      provisionConfig: {{defaultTarget: 1, alwaysAllocateCPU: false, alwaysAllocateGPU: false}}
      triggers:
        - triggerName: tick
          triggerType: timer
          triggerConfig: {{cronExpression: '0 0 8 * * *', enable: true, payload: tick}}
        - triggerName: put
          triggerType: oss
          sourceArn: acs:oss:{REGION}:{ACCOUNT_ID}:s-bucket
          invocationRole: acs:ram::{ACCOUNT_ID}:role/aliyunosseventnotificationrole
          triggerConfig: {{events: ['oss:ObjectCreated:*'], filter: {{key: {{prefix: in/, suffix: ''}}}}}}
  node:
    component: fc3
    props:
      region: {REGION}
      functionName: node
      runtime: nodejs20
      handler: index.handler
      code: ./node
      timeout: 10
      triggers:
        - triggerName: http
          triggerType: http
          triggerConfig: {{authType: anonymous, methods: [GET, POST]}}
  custom:
    component: fc3
    props:
      region: {REGION}
      functionName: custom
      runtime: custom.debian10
      code: ./custom
      timeout: 10
      instanceConcurrency: 10
      customRuntimeConfig: {{command: [python3, server.py], port: 9000}}
      triggers:
        - triggerName: http
          triggerType: http
          triggerConfig: {{authType: anonymous, methods: [GET, POST]}}
"""
FILES = {
    "code/index.py": """
import os
import words

def initialize(context):
    os.environ["READY"] = "ready"

def handler(event, context):
    return " ".join([words.GREETING, os.environ["WHO"], os.environ["READY"], event.decode()])
""",
    "layer/python/words.py": "GREETING = 'hello'\n",
    "node/index.js": "exports.handler = async (event) => 'node ' + event.toString();\n",
    "custom/server.py": """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        answer = b"custom " + self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
""",
}


@pytest.fixture(scope="module")
def installed() -> Path:
    folder = os.environ.get("SERVERLESS_DEVS_DIR", "")
    needed = (PROGRAM, *(f"{component}/dist/index.js" for component in COMPONENTS))
    if not folder or not all((Path(folder) / path).is_file() for path in needed) or shutil.which("node") is None:
        pytest.skip(
            "Serverless Devs is not installed: run scripts/serverless-devs PATH, and set SERVERLESS_DEVS_DIR=PATH"
        )
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def sesame(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    server = Sesame(tmp_path_factory.mktemp("s"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def home(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which `s` finds its components as if it had brought them itself."""
    folder = tmp_path_factory.mktemp("home")
    components = folder / ".s/components/devsapp.cn/v3"
    components.mkdir(parents=True)
    for component in COMPONENTS:
        (components / component).symlink_to(installed / component)
    # The first line of the program itself names the Node.js of its publisher.
    (folder / "s").write_text(f'#!/bin/sh\nexec node {installed / PROGRAM} "$@"\n')
    (folder / "s").chmod(0o755)
    return folder


@pytest.fixture
def shell(home: Path, sesame: Sesame, tmp_path: Path) -> Shell:
    environ = clean_environment(HOME=str(home), SESAME_DATA_DIR=str(sesame.data_dir), CI="true")
    return Shell(tmp_path, {**environ, "PATH": f"{home}:{environ['PATH']}"})


def listed(sesame: Sesame) -> str:
    return command_line.sesame("list", "--data-dir", sesame.data_dir).stdout


def by_http(sesame: Sesame, function: str, body: str) -> str:
    host = f"{function}.localhost:{sesame.endpoint.rpartition(':')[2]}"
    return requests.post(sesame.endpoint, data=body, headers={"Host": host}, timeout=60).text


def test_a_function_is_deployed_and_called(shell: Shell) -> None:
    """As the page begins; `s` takes seconds for each command."""
    page = NOT_RUN.sub("", (REPOSITORY / "docs/s.md").read_text())
    beginning, _later = page.split("$ sed ")
    follow("docs/s.md", f"{beginning}```\n", shell)


@pytest.mark.thorough
def test_the_page_about_s_does_what_it_shows(shell: Shell, sesame: Sesame) -> None:
    """Deploys, calls, changes, shows and removes an event function with an HTTP trigger and a timer."""
    page = NOT_RUN.sub("", (REPOSITORY / "docs/s.md").read_text())
    follow("docs/s.md", page, shell)
    assert "hello" not in listed(sesame)


@pytest.mark.thorough
def test_functions_and_all_that_belongs_to_them_are_deployed_again_and_removed(shell: Shell, sesame: Sesame) -> None:
    def run(typed: str) -> str:
        status, said = shell.run(typed)
        assert status == 0, f"{typed}\n{said}"
        return said

    run('eval "$(sesame env)"')
    run("export FC_CLIENT_CUSTOM_ENDPOINT=$FC_ENDPOINT FC_CODE_TEMP_OSS_ENDPOINT=$OSS_ENDPOINT")
    run(f"s config add -a sesame -f --AccountID {ACCOUNT_ID} --AccessKeyID {KEY_ID} --AccessKeySecret {SECRET}")
    command_line.sesame("buckets", "make", "s-bucket", "--data-dir", sesame.data_dir)
    for name, text in FILES.items():
        path = shell.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    template = shell.folder / "s.yaml"
    template.write_text(PROJECT)

    run("s py layer publish --layer-name words --code ./layer --compatible-runtime python3.10")
    said = run("s deploy -y")
    for line in ("[py] completed", "[node] completed", "[custom] completed", "ProvisionConfig of py/LATEST is ready"):
        assert line in said
    for line in (f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole", LAYER, "shop-logs", "reservedConcurrency: 3"):
        assert line in said
    shown = listed(sesame)
    assert "timer tick  0 0 8 * * *" in shown
    assert "oss put  s-bucket/in/*  oss:ObjectCreated:*" in shown
    assert by_http(sesame, "custom", "web") == "custom web"
    assert by_http(sesame, "node", "web").startswith("node {")

    run("s py version publish")
    run("s py alias publish --alias-name prod --version-id 1")
    template.write_text(PROJECT.replace("WHO: you", "WHO: all"))
    assert "[py] completed" in run("s py deploy -y")
    assert "hello all ready there" in run("s py invoke -e there")
    assert "hello you ready there" in run("s py invoke -e there --qualifier prod")
    said = run("s remove -y")
    for function in ("py", "node", "custom"):
        assert f"Function {function} removed successfully" in said
        assert function not in listed(sesame)
