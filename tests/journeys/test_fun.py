"""The official tool `fun`, unmodified, deploys to Sesame and calls what it deployed, as docs/fun.md says."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, REGION, RUNTIMES, SECRET, Sesame
from tests.support import command_line

PROGRAM = "node_modules/@alicloud/fun/bin/fun.js"
FUN_TIMEOUT_S = 180
ROLE = f"acs:ram::{ACCOUNT_ID}:role"
HEAD = """\
ROSTemplateFormatVersion: '2015-09-01'
Transform: 'Aliyun::Serverless-2018-04-03'
Resources:
"""
SHOP = f"""\
  shop:
    Type: 'Aliyun::Serverless::Service'
    Properties: {{Description: a shop, Role: '{ROLE}/aliyunfcdefaultrole'}}
    hello:
      Type: 'Aliyun::Serverless::Function'
      Properties: {{Handler: index.handler, Runtime: python3, CodeUri: ./code, EnvironmentVariables: {{WHO: you}}}}
      Events:
        tick: {{Type: Timer, Properties: {{CronExpression: '0 0 8 * * *', Enable: true}}}}
    web:
      Type: 'Aliyun::Serverless::Function'
      Properties: {{Handler: index.web, Runtime: python3, CodeUri: ./code}}
      Events:
        http: {{Type: HTTP, Properties: {{AuthType: ANONYMOUS, Methods: [GET]}}}}
"""
EVENTS = f"""\
  more:
    Type: 'Aliyun::Serverless::Service'
    Properties: {{Role: '{ROLE}/aliyunfcdefaultrole'}}
    f:
      Type: 'Aliyun::Serverless::Function'
      Properties:
        Handler: index.handler
        Runtime: python3
        CodeUri: ./code
        AsyncConfiguration:
          MaxAsyncRetryAttempts: 1
          Destination: {{OnFailure: 'acs:fc:::services/more.LATEST/functions/f'}}
      Events:
        put:
          Type: OSS
          Properties:
            BucketName: fun-bucket
            Events: ['oss:ObjectCreated:*']
            Filter: {{Key: {{Prefix: in/, Suffix: ''}}}}
            InvocationRole: {ROLE}/aliyunosseventnotificationrole
  fun.example.com:
    Type: 'Aliyun::Serverless::CustomDomain'
    Properties: {{Protocol: HTTP, RouteConfig: {{Routes: {{'/*': {{ServiceName: shop, FunctionName: web}}}}}}}}
"""
CODE = """
import os

def handler(event, context):
    return "hello " + os.environ.get("WHO", "") + event.decode()

def web(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"web"]
"""
Fun = Callable[..., str]

pytestmark = pytest.mark.skipif(bool(RUNTIMES[1].marks), reason="no interpreter for python3")


@pytest.fixture(scope="module")
def program() -> Path:
    folder = os.environ.get("FUN_DIR", "")
    if not folder or not (Path(folder) / PROGRAM).is_file() or shutil.which("node") is None:
        pytest.skip("fun is not installed: run scripts/fun PATH, and set FUN_DIR=PATH")
    return Path(folder).resolve() / PROGRAM


@pytest.fixture(scope="module")
def sesame(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    server = Sesame(tmp_path_factory.mktemp("fun"), runtime="python3")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fun(program: Path, sesame: Sesame, tmp_path: Path) -> Fun:
    """Runs the tool in the folder of a project, with a home of its own, and gives what it said."""
    project, home = tmp_path / "project", tmp_path / "home"
    (project / "code").mkdir(parents=True)
    home.mkdir()
    (project / "code" / "index.py").write_text(CODE)
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(home), "CI": "true", "ACCOUNT_ID": ACCOUNT_ID, "REGION": REGION,
        "ACCESS_KEY_ID": KEY_ID, "ACCESS_KEY_SECRET": SECRET, "FC_ENDPOINT": sesame.endpoint,
    }  # fmt: skip

    def run(template: str, *arguments: str, **changes: str) -> str:
        (project / "template.yml").write_text(HEAD + template)
        done = subprocess.run(
            ["node", str(program), *arguments], cwd=project, capture_output=True, text=True, timeout=FUN_TIMEOUT_S,
            check=False, env={name: value for name, value in (environ | changes).items() if value},
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    return run


@pytest.mark.thorough
def test_a_project_is_deployed_called_and_changed(fun: Fun, sesame: Sesame) -> None:
    said = fun(SHOP, "deploy", "-y")
    assert "trigger tick deploy success" in said
    assert "service shop deploy success" in said
    assert "hello you there" in fun(SHOP, "invoke", "shop/hello", "-e", " there")
    assert "async invoke success" in fun(SHOP, "invoke", "-t", "async", "shop/hello", "-e", "x")
    assert requests.get(f"{sesame.endpoint}/2016-08-15/proxy/shop/web/", timeout=60).text == "web"
    changed = SHOP.replace("WHO: you", "WHO: all")
    assert "service shop config update success" in fun(changed, "deploy", "-y", "-c")
    assert "hello all!" in fun(changed, "invoke", "hello", "-e", "!")
    assert "can only be invoked with http trigger URL" in fun(changed, "invoke", "shop/web")


def test_object_triggers_asynchronous_settings_and_domains_are_deployed(fun: Fun, sesame: Sesame) -> None:
    command_line.sesame("buckets", "make", "fun-bucket", "--data-dir", sesame.data_dir)
    said = fun(SHOP + EVENTS, "deploy", "-y")
    for line in ("trigger put deploy success", "custom domain fun.example.com deploy success"):
        assert line in said
    listed = command_line.sesame("list", "more", "--data-dir", sesame.data_dir).stdout
    assert "oss put  fun-bucket/in/*  oss:ObjectCreated:*" in listed
    assert requests.get(sesame.endpoint, headers={"Host": "fun.example.com"}, timeout=60).text == "web"


def test_fclis_file_is_enough_for_calls(fun: Fun, sesame: Sesame, tmp_path: Path) -> None:
    fun(SHOP, "deploy", "-y")
    (tmp_path / "home" / ".fcli").mkdir()
    (tmp_path / "home" / ".fcli" / "config.yaml").write_text(
        f"endpoint: {sesame.endpoint}\naccess_key_id: {KEY_ID}\naccess_key_secret: {SECRET}\n"
        "enable_custom_endpoint: true\n"
    )
    nothing = dict.fromkeys(("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "FC_ENDPOINT"), "")
    assert "hello you" in fun(SHOP, "invoke", "shop/hello", **nothing)
