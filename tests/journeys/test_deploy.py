"""`sesame deploy`, `plan` and `remove` as a user types them, against a real Sesame."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journeys.conftest import Sesame, run, running

TEMPLATE = """
ROSTemplateFormatVersion: '2015-09-01'
Transform: 'Aliyun::Serverless-2018-04-03'
Resources:
  shop:
    Type: 'Aliyun::Serverless::Service'
    Properties:
      Description: a shop
      Policies: [AliyunOSSReadOnlyAccess, AliyunMNSFullAccess]
    hello:
      Type: 'Aliyun::Serverless::Function'
      Properties: {Handler: index.handler, Runtime: python3, CodeUri: ./hello, EnvironmentVariables: {WHO: you}}
      Events:
        tick: {Type: Timer, Properties: {CronExpression: '0 0 8 * * *'}}
    web:
      Type: 'Aliyun::Serverless::Function'
      Properties: {Handler: web.handler, Runtime: python3, CodeUri: ./web}
      Events:
        http: {Type: HTTP, Properties: {AuthType: ANONYMOUS, Methods: [GET]}}
"""
HELLO = "import os\n\ndef handler(event, context):\n    return 'hello ' + os.environ['WHO']\n"
WEB = (
    "def handler(environ, start_response):\n"
    "    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'web']\n"
)


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("deploy"), runtime=("python3", "python3.9", "python3.12")) as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "template.yml").write_text(TEMPLATE)
    for name, file, text in (("hello", "index.py", HELLO), ("web", "web.py", WEB)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    return tmp_path


def test_a_template_is_deployed_called_changed_and_removed(sesame: Sesame, shop: Path) -> None:
    said = run(sesame, "deploy", shop)
    assert said.stdout.splitlines()[0] == "+ role aliyunfcgeneratedrole-cn-shanghai-shop"
    assert "+ trigger shop/hello/tick (timer)" in said.stdout
    assert "the policy AliyunMNSFullAccess is unknown here and grants nothing" in said.stderr
    assert f"{sesame.endpoint}/2016-08-15/proxy/shop/web/" in said.stderr
    assert run(sesame, "invoke", "--service", "shop", "--function", "hello").stdout.strip() == "hello you"

    again = run(sesame, "deploy", shop)
    assert {line[0] for line in again.stdout.splitlines()} == {"="}
    run(sesame, "plan", shop, expect=0)

    (shop / "hello" / "index.py").write_text(HELLO.replace("hello ", "good bye "))
    (shop / "template.yml").write_text(TEMPLATE.replace("WHO: you", "WHO: all").replace("0 0 8", "0 0 9"))
    planned = run(sesame, "plan", shop, expect=2).stdout
    assert "~ function shop/hello  environmentVariables; new code" in planned
    assert 'triggerConfig.cronExpression: "0 0 8 * * *" → "0 0 9 * * *"' in planned
    run(sesame, "deploy", shop)
    assert run(sesame, "invoke", "--service", "shop", "--function", "hello").stdout.strip() == "good bye all"

    removed = run(sesame, "remove", shop).stdout.splitlines()
    assert removed[-2:] == ["- service shop", "- role aliyunfcgeneratedrole-cn-shanghai-shop"]
    assert "Nothing of it is on the server." in run(sesame, "remove", shop).stderr


def test_an_error_in_a_template_deploys_nothing(sesame: Sesame, shop: Path) -> None:
    (shop / "template.yml").write_text(TEMPLATE.replace("Handler: index", "Handlr: index").replace("[GET]", "7"))
    said = run(sesame, "deploy", shop, expect=1)
    assert "lacks the key 'Handler'" in said.stderr
    (shop / "template.yml").write_text(TEMPLATE.replace("CodeUri: ./web", "CodeUri: ./web, Tmeout: 3"))
    said = run(sesame, "deploy", shop, expect=1)
    assert "template.yml:17:" in said.stderr
    assert "did you mean 'Timeout'?" in said.stderr
    assert said.stdout == ""


def test_a_folder_is_a_function_and_json_says_what_was_done(sesame: Sesame, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "index.py").write_text("def handler(event, context):\n    return event\n")
    done = json.loads(run(sesame, "deploy", tmp_path / "job", "--name", "tools/job", "--json").stdout)
    assert [(step["action"], step["what"]) for step in done["steps"]] == [
        ("create", "service tools"), ("create", "function tools/job"),
    ]  # fmt: skip
    assert done["steps"][1]["answer"]["functionName"] == "job"
    said = run(sesame, "invoke", "--service", "tools", "--function", "job", "-e", "x")
    assert said.stdout.strip() == "x"


def test_a_service_with_other_functions_stays(sesame: Sesame, shop: Path, tmp_path: Path) -> None:
    run(sesame, "deploy", shop)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "index.py").write_text("def handler(event, context):\n    return event\n")
    run(sesame, "deploy", tmp_path / "more", "--name", "shop/more")
    said = run(sesame, "remove", shop)
    assert "= service shop  it has other functions: more" in said.stdout
    run(sesame, "remove", tmp_path / "more", "--name", "shop/more")


@pytest.mark.thorough
def test_what_a_function_requires_is_deployed_with_it(
    sesame: Sesame, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop / "cache"))
    index = shop / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "made_up-1.0-py2.py3-none-any.whl", "w") as wheel:
        info = "made_up-1.0.dist-info"
        wheel.writestr("made_up.py", "NAME = 'made up'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()))
    code = shop / "needs"
    code.mkdir()
    (code / "index.py").write_text("import made_up\n\ndef handler(event, context):\n    return made_up.NAME\n")
    (code / "requirements.txt").write_text(f"--no-index\n--find-links {index}\nmade-up\n")
    named = ("--name=built/needs", "--runtime=python3.9")
    run(sesame, "deploy", code, *named)
    assert run(sesame, "invoke", "built/needs").stdout.strip() == "made up"
    run(sesame, "plan", code, *named, expect=0)
    run(sesame, "deploy", code, "--name=built/bare", "--runtime=python3.9", "--no-build")
    assert "No module named 'made_up'" in run(sesame, "invoke", "built/bare", expect=1).stdout


def test_a_local_call_gets_keys_of_a_role_of_the_server(sesame: Sesame, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def f(event, context):\n    return context.credentials.access_key_id\n")
    local = ("invoke", "main.f", f"--code={tmp_path}")
    done = run(sesame, *local, "--role=AliyunFCDefaultRole")
    assert done.stdout.startswith("STS.")
    assert "Keys of the role AliyunFCDefaultRole at " in done.stderr
    assert "role 'none' does not exist" in run(sesame, *local, "--role=none", expect=1).stderr
