"""The everyday commands against a real Sesame: list, show, delete, publish, alias, buckets, status, env, invoke."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journeys.conftest import Sesame, run, running, wait_until
from tests.support import command_line

HELLO = "def handler(event, context):\n    return 'v{} ' + context.service.qualifier\n"
MANY_OBJECTS = 3
TEMPLATE_WITH_LAYER = """\
ROSTemplateFormatVersion: '2015-09-01'
Transform: 'Aliyun::Serverless-2018-04-03'
Resources:
  layered:
    Type: 'Aliyun::Serverless::Service'
    hello:
      Type: 'Aliyun::Serverless::Function'
      Properties: {{Handler: index.handler, Runtime: python3, CodeUri: ./code, Layers: ['{arn}']}}
"""


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("everyday"), runtime=("python3", "python3.12")) as server:
        yield server


def deploy(sesame: Sesame, folder: Path, name: str, version: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "index.py").write_text(HELLO.replace("{}", str(version)))
    run(sesame, "deploy", folder, "--name", name)


def test_versions_and_aliases_from_the_command_line(sesame: Sesame, tmp_path: Path) -> None:
    deploy(sesame, tmp_path / "f", "shop/hello", 1)
    assert run(sesame, "publish", "shop").stdout == "shop version 1\n"
    deploy(sesame, tmp_path / "f", "shop/hello", 2)
    assert run(sesame, "publish", "shop", "-d", "better").stdout == "shop version 2\n"
    assert run(sesame, "alias", "set", "shop", "prod", "1").stdout == "prod  version 1\n"
    assert run(sesame, "invoke", "shop/hello:prod").stdout.strip() == "v1 prod"
    assert run(sesame, "invoke", "shop/hello").stdout.strip() == "v2 LATEST"
    said = run(sesame, "alias", "set", "shop", "prod", "2", "-w", "1=0.25").stdout
    assert said == "prod  version 2 (1 25%)\n"
    assert run(sesame, "alias", "list", "shop").stdout == said
    assert "VERSION=SHARE" in run(sesame, "alias", "set", "shop", "prod", "2", "-w", "1=2", expect=2).stderr

    document = json.loads(run(sesame, "show", "shop", "--json").stdout)
    assert [each["versionId"] for each in document["versions"]] == ["2", "1"]
    assert "  handler  index.handler" in run(sesame, "show", "shop/hello:1").stdout

    refused = run(sesame, "delete", "shop", expect=1)
    assert "shop has 1 functions, 1 aliases, 2 versions: delete them first, or all of it with --all" in refused.stderr
    run(sesame, "alias", "delete", "shop", "prod")
    assert run(sesame, "delete", "shop", "--all").stdout.splitlines()[-1] == "- shop"
    assert "ServiceNotFound" in run(sesame, "show", "shop", expect=1).stderr


def test_list_says_how_each_function_is_called(sesame: Sesame, tmp_path: Path) -> None:
    assert "No services." in run(sesame, "list", "--prefix", "nothing").stdout
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "app.py").write_text("def handler(environ, start_response):\n    return [b'']\n")
    said = run(sesame, "deploy", tmp_path / "web", "--name", "site/web").stderr
    port = sesame.endpoint.rpartition(":")[2]
    assert f"Call it: http://web.site.localhost:{port}/\n" in said
    lines = run(sesame, "list", "site").stdout.splitlines()
    assert lines[0].startswith("site/web  python")
    assert lines[1].startswith(f"  http http  {sesame.endpoint}/2016-08-15/proxy/site/web/  anonymous GET")
    services = {each["serviceName"]: each for each in json.loads(run(sesame, "list", "--json").stdout)["services"]}
    assert services["site"]["functions"][0]["triggers"][0]["triggerType"] == "http"
    assert run(sesame, "delete", "site/web/http").stdout == "- site/functions/web/triggers/http\n"
    run(sesame, "delete", "site/web")
    run(sesame, "delete", "site")
    assert "expected SERVICE, SERVICE/FUNCTION" in run(sesame, "delete", "a/b/c/d", expect=2).stderr


def test_buckets_and_objects(sesame: Sesame, tmp_path: Path) -> None:
    source = tmp_path / "数据 a+b.txt"
    source.write_bytes(b"x" * 100_000)
    assert run(sesame, "buckets", "make", "pictures").stdout == "+ pictures\n"
    assert run(sesame, "buckets", "put", source, "pictures/in/").stdout == "+ pictures/in/数据 a+b.txt\n"
    for number in range(MANY_OBJECTS):
        run(sesame, "buckets", "put", source, f"pictures/more/{number}")
    objects = json.loads(run(sesame, "buckets", "list", "pictures/more/", "--json").stdout)
    assert [(each["name"], each["size"]) for each in objects] == [(f"more/{n}", 100_000) for n in range(MANY_OBJECTS)]
    assert run(sesame, "buckets", "list").stdout.split()[-1] == "pictures"
    (tmp_path / "out").mkdir()
    run(sesame, "buckets", "get", "pictures/in/数据 a+b.txt", tmp_path / "out")
    assert (tmp_path / "out" / source.name).read_bytes() == source.read_bytes()
    assert run(sesame, "buckets", "get", "pictures/more/0").stdout == "x" * 100_000
    missing = run(sesame, "buckets", "get", "pictures/none", tmp_path / "kept", expect=1)
    assert "NoSuchKey" in missing.stderr
    assert not (tmp_path / "kept").exists()
    assert "BucketNotEmpty" in run(sesame, "buckets", "remove", "pictures", expect=1).stderr
    for name in ("in/数据 a+b.txt", *(f"more/{number}" for number in range(MANY_OBJECTS))):
        run(sesame, "buckets", "remove", f"pictures/{name}")
    run(sesame, "buckets", "remove", "pictures")


ALONE = """\
edition: 3.0.0
name: app
resources:
  f:
    component: fc3
    props: {region: cn-shanghai, functionName: lone, runtime: python3, handler: index.handler, code: ./code}
"""


def test_a_function_without_a_service_is_published_shown_and_deleted_by_its_name(
    sesame: Sesame, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    before = json.loads(run(sesame, "status", "--json").stdout)["functions"]
    for version in ("1", "2"):
        (tmp_path / "code/index.py").write_text(f"def handler(event, context):\n    return '{version}'\n")
        (tmp_path / "s.yaml").write_text(ALONE)
        run(sesame, "deploy", tmp_path)
        assert run(sesame, "publish", "lone").stdout == f"lone version {version}\n"
    assert json.loads(run(sesame, "status", "--json").stdout)["functions"] == before + 1
    assert run(sesame, "alias", "set", "lone", "prod", "1", "-w", "2=0.25").stdout == "prod  version 1 (2 25%)\n"
    assert run(sesame, "alias", "set", "lone", "prod", "1").stdout == "prod  version 1\n"
    assert run(sesame, "alias", "list", "lone").stdout == "prod  version 1\n"
    assert run(sesame, "invoke", "lone:prod").stdout.strip() == "1"
    assert run(sesame, "invoke", "lone").stdout.strip() == "2"
    shown = json.loads(run(sesame, "show", "lone:prod", "--json").stdout)
    assert shown["function"]["functionArn"].endswith(":functions/lone/prod")
    assert "VersionNotFound" in run(sesame, "show", "lone:9", expect=1).stderr
    refused = run(sesame, "delete", "lone", expect=1).stderr
    assert "function lone has 1 aliases, 2 versions: delete them first, or all of it with --all" in refused
    run(sesame, "alias", "delete", "lone", "prod")
    deleted = run(sesame, "delete", "lone", "--all").stdout.splitlines()
    assert deleted == ["- lone/versions/2", "- lone/versions/1", "- lone"]
    assert "ServiceNotFound" in run(sesame, "show", "lone", expect=1).stderr
    assert "ServiceNotFound" in run(sesame, "publish", "lone", expect=1).stderr


def test_status_and_env(sesame: Sesame, tmp_path: Path) -> None:
    document = json.loads(run(sesame, "status", "--json").stdout)
    assert (document["running"], document["pid"], document["fc"]) == (True, sesame.pid, sesame.endpoint)
    assert "running   process" in run(sesame, "status").stdout
    assert json.loads(run(sesame, "env", "--format", "json").stdout)["FC_ENDPOINT"] == sesame.endpoint
    lines = run(sesame, "env", "--format", "dotenv").stdout.splitlines()
    assert f"FC_ENDPOINT={sesame.endpoint}" in lines
    none = command_line.sesame("status", "--data-dir", tmp_path / "none", expect=3)
    assert none.stdout == (f"No Sesame runs on {tmp_path / 'none'}.\n")


def test_a_name_that_is_no_function_is_told(sesame: Sesame) -> None:
    assert (
        "expected SERVICE/FUNCTION, or FUNCTION alone for one without a service, and :QUALIFIER behind it"
        in run(sesame, "invoke", "shop/hello:", expect=2).stderr
    )
    both = run(sesame, "invoke", "shop/hello", "--service", "shop", expect=2)
    assert "names the function already" in both.stderr


AS_JSON = (
    "deploy {folder} --name data/hello", "plan {folder} --name data/hello", "list", "list data", "show data",
    "show data/hello", "invoke data/hello", "publish data", "alias set data prod 1", "alias list data",
    "alias delete data prod", "buckets make json", "buckets put {folder}/index.py json/a", "buckets list",
    "buckets list json", "buckets get json/a {folder}/a", "buckets remove json/a", "buckets remove json",
    "roles add json", "roles list", "roles show json", "roles remove json", "triggers list", "async list",
    "async list --dead-letters", "async destinations", "record set data/hello none", "record get data/hello",
    "record list", "record delete --all", "status", "env", "doctor --sandbox plain", "backup {folder}/backup",
    "remove {folder} --name data/hello", "delete data --all",
)  # fmt: skip


def test_every_command_prints_one_json_document(sesame: Sesame, tmp_path: Path) -> None:
    deploy(sesame, tmp_path, "data/first", 1)
    for line in AS_JSON:
        # `plan` says by its status that something would change.
        arguments = line.format(folder=tmp_path).split()
        done = run(sesame, *arguments, "--json", expect=0)
        json.loads(done.stdout)
    refused = run(sesame, "show", "data", "--json", expect=1)
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert (error["code"], error["status"], bool(error["requestId"])) == ("ServiceNotFound", 404, True)


def test_logs_print_a_json_object_a_line(sesame: Sesame, tmp_path: Path) -> None:
    deploy(sesame, tmp_path, "spoken/hello", 1)
    called = json.loads(run(sesame, "invoke", "spoken/hello", "--json").stdout)
    assert called["result"] == "v1 LATEST"
    request = ("logs", "--request-id", called["requestId"])
    wait_until(lambda: "FC Invoke End" in run(sesame, *request).stdout, "the call's log")
    lines = [json.loads(line) for line in run(sesame, *request, "--json").stdout.splitlines()]
    assert {(each["requestId"], each["functionName"]) for each in lines} == {(called["requestId"], "hello")}
    assert lines[0]["message"].startswith("FC Invoke Start")


def test_layers_from_the_command_line(sesame: Sesame, tmp_path: Path) -> None:
    (tmp_path / "shared" / "python").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "shared" / "python" / "shared.py").write_text(f"NUMBER = {number}\n")
        made = json.loads(run(sesame, "layers", "publish", "greetings", tmp_path / "shared", "--json").stdout)
        assert made["version"] == number
    assert "greetings  version 2" in run(sesame, "layers", "list").stdout
    assert [line.split()[2] for line in run(sesame, "layers", "list", "greetings").stdout.splitlines()] == ["1", "2"]

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "index.py").write_text(
        "import shared\n\ndef handler(event, context):\n    return shared.NUMBER\n"
    )
    (tmp_path / "template.yml").write_text(TEMPLATE_WITH_LAYER.format(arn=made["arn"]))
    run(sesame, "deploy", tmp_path)
    assert run(sesame, "invoke", "layered/hello").stdout == "2"

    assert run(sesame, "layers", "delete", "greetings", "1").stdout == "- greetings/1\n"
    assert "name the VERSION" in run(sesame, "layers", "delete", "greetings", expect=2).stderr
    assert run(sesame, "layers", "delete", "greetings", "--all").stdout == "- greetings/2\n"
    assert "LayerNotFound" in run(sesame, "layers", "delete", "greetings", "--all", expect=1).stderr
    assert run(sesame, "invoke", "layered/hello").stdout == "2"
    run(sesame, "delete", "layered", "--all")


CALLS_ZIP = """\
import os
import subprocess


def handler(event, context):
    return '%s %s' % (os.path.exists('/opt/bin/zip'), b'Info-ZIP' in subprocess.check_output(['zip', '-h']))
"""


def test_a_program_of_this_machine_becomes_a_layer_that_functions_call(sesame: Sesame, tmp_path: Path) -> None:
    published = run(sesame, "layers", "from-command", "zipper", "--program", "zip", "--try", "-h")
    assert "tried in a sandbox: Copyright" in published.stdout
    layer = next(each for each in json.loads(run(sesame, "layers", "list", "--json").stdout)["layers"])
    assert "needs the C library 2." in layer["description"]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "index.py").write_text(CALLS_ZIP)
    (tmp_path / "template.yml").write_text(TEMPLATE_WITH_LAYER.format(arn=layer["arn"]))
    run(sesame, "deploy", "-t", tmp_path / "template.yml")
    assert run(sesame, "invoke", "layered/hello").stdout.strip() == "True True"


def test_a_program_that_is_missing_or_does_not_run_makes_no_layer(sesame: Sesame, tmp_path: Path) -> None:
    refused = run(sesame, "layers", "from-command", "ldd", expect=1).stderr
    assert "is no ELF program but a script" in refused
    broken = tmp_path / "broken"
    broken.write_bytes(Path("/usr/bin/zip").read_bytes().replace(b"/ld-linux", b"/ld-minix"))
    broken.chmod(0o755)
    said = run(sesame, "layers", "from-command", "broken", "--program", broken, "--try", "-h", expect=1).stderr
    assert "broken cannot be started in the sandbox" in said
    assert "LayerNotFound" in run(sesame, "layers", "list", "broken", expect=1).stderr
