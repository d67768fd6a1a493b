"""The Serverless Framework's serverless.yml, of the plugin for Function Compute, becomes what the API is asked for.

Run by pytest. Asks no server.
"""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sesame.deploy import archive, serverless_framework, sources
from sesame.deploy.project import Project, TemplateError
from sesame.deploy.variables import DEPTH_MAX

ONE = """
service: shop
provider:
  name: aliyun
  runtime: python3
  credentials: ~/.aliyuncli/credentials
plugins:
  - serverless-aliyun-function-compute
functions:
  order:
    handler: index.handler
"""
HEAD = "service: shop\nprovider: {name: aliyun, runtime: python3}\n"


def read(tmp_path: Path, text: str, **parameters: str) -> Project:
    (tmp_path / "serverless.yml").write_text(text)
    options = serverless_framework.Options(account_id="123", region="cn-shanghai", parameters=parameters)
    return serverless_framework.read(tmp_path / "serverless.yml", options)


def notes(found: Project) -> list[str]:
    return [note.text for note in found.notes]


def fields(tmp_path: Path, text: str, **parameters: str) -> dict[str, Any]:
    found = read(tmp_path, text, **parameters)
    assert not found.errors, notes(found)
    return found.functions[0].fields


def test_a_function_has_the_names_and_sizes_that_the_plugin_gives(tmp_path: Path) -> None:
    found = read(tmp_path, ONE)
    (service,), (function,), (role,) = found.services, found.functions, found.roles
    assert (service.name, function.service, function.name) == ("shop-dev", "shop-dev", "shop-dev-order")
    assert function.fields == {"handler": "index.handler", "runtime": "python3", "memorySize": 128, "timeout": 30}
    assert service.fields == {"role": "acs:ram::123:role/sls-shop-dev-cn-shanghai-exec-role"}
    assert role.name == "sls-shop-dev-cn-shanghai-exec-role"
    assert not notes(found)


def test_the_stage_of_the_command_line_names_service_and_function(tmp_path: Path) -> None:
    found = read(tmp_path, ONE, stage="prod")
    assert (found.services[0].name, found.functions[0].name) == ("shop-prod", "shop-prod-order")


def test_the_stage_of_the_provider_names_the_function_alone(tmp_path: Path) -> None:
    """As by the tools: the framework names functions, and the plugin, which knows the option alone, the service."""
    found = read(tmp_path, ONE.replace("runtime:", "stage: prod\n  runtime:"))
    assert (found.services[0].name, found.functions[0].name) == ("shop-dev", "shop-prod-order")


def test_what_a_function_says_outweighs_its_provider(tmp_path: Path) -> None:
    found = fields(
        tmp_path,
        "service: {name: shop}\n"
        "provider: {name: aliyun, runtime: python3, memorySize: 256, timeout: 10, environment: {A: 1, B: 2}}\n"
        "functions: {f: {handler: index.handler, name: own, timeout: 60, environment: {B: 3}}}\n",
    )
    assert (found["memorySize"], found["timeout"]) == (256, 60)
    assert found["environmentVariables"] == {"A": "1", "B": "3"}


def test_statements_of_the_provider_are_the_rights_of_its_role(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ONE.replace(
            "plugins:",
            "  ramRoleStatements: [{Effect: Allow, Action: ['oss:GetObject'], Resource: ['*']}]\nplugins:",
        ),
    )
    (document,) = found.roles[0].documents
    assert document["Statement"][0]["Action"] == ["log:PostLogStoreLogs"]
    assert document["Statement"][1] == {"Effect": "Allow", "Action": ["oss:GetObject"], "Resource": ["*"]}


def test_an_object_event_is_a_trigger_on_the_bucket_of_this_server(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        HEAD + "functions:\n  thumb-nail:\n    handler: index.handler\n    events:\n      - oss:\n"
        "          sourceArn: acs:oss:cn-hangzhou:999:photos\n"
        "          triggerConfig: {events: ['oss:ObjectCreated:*'], filter: {key: {prefix: in/}}}\n",
    )
    (trigger,) = found.triggers
    assert (trigger.service, trigger.function) == ("shop-dev", "shop-dev-thumb-nail")
    assert trigger.name == "sls_oss_shop_dev_thumb_nail"
    assert trigger.fields["sourceArn"] == "acs:oss:cn-shanghai:123:photos"
    config = trigger.fields["triggerConfig"]
    assert config == {"events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "in/"}}}
    (note,) = notes(found)
    assert "the bucket photos of this server is meant" in note


def test_an_object_event_without_a_bucket_is_refused(tmp_path: Path) -> None:
    text = HEAD + "functions: {f: {handler: i.h, events: [{oss: {sourceArn: 'acs:oss:*:*:*'}}]}}\n"
    with pytest.raises(TemplateError, match="expected acs:oss:REGION:ACCOUNT:BUCKET"):
        read(tmp_path, text)


def test_what_has_no_meaning_here_is_noted_once(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        HEAD + "plugins: [serverless-aliyun-function-compute, serverless-python-requirements, serverless-offline]\n"
        "useDotenv: true\nresources: {Resources: {x: 1}}\nsomething: 1\n"
        "functions:\n  f:\n    handler: index.handler\n    tracing: Active\n    events:\n"
        "      - http: {path: /a, method: get}\n      - https: {path: /b}\n      - schedule: rate(1 day)\n",
    )
    said = notes(found)
    assert not found.errors
    assert len(said) == 6, said
    for part in (
        "plugins are not run: serverless-offline", "resources:", "no key 'something'", "no key 'tracing'",
        "http: an API of API Gateway", "schedule: the plugin makes no such trigger",
    ):  # fmt: skip
        assert any(part in text for text in said), part


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    text = "service: shop\nprovider: {name: aliyun}\nfunctions: {f: {timeout: soon}, g: {handler: a.b}}\n"
    errors = [note.text for note in read(tmp_path, text).errors]
    assert any("lacks the key 'handler'" in each for each in errors)
    assert any("expected a whole number" in each for each in errors)
    assert any("'g' has no runtime, and the provider neither" in each for each in errors)


def test_a_file_without_functions_is_an_error(tmp_path: Path) -> None:
    (error,) = read(tmp_path, HEAD).errors
    assert "has no functions" in error.text


def test_another_provider_is_refused_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"serverless.yml:2:18: found 'aws', expected the provider aliyun"):
        read(tmp_path, "service: shop\nprovider: {name: aws}\n")


def test_variables_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_SHELL", "shell")
    monkeypatch.delenv("NOT_SET", raising=False)
    (tmp_path / "more.yml").write_text("deep: {list: [a, {b: '${self:custom.size}'}]}\n")
    (tmp_path / "text.txt").write_text("line")
    text = (
        "service: shop\ncustom:\n  size: 256\n  prod: {name: big}\n  dev: {name: small}\n"
        "provider:\n  name: aliyun\n  runtime: ${opt:runtime, 'python3'}\n  memorySize: ${self:custom.size}\n"
        "  environment:\n"
        "    A: ${env:OF_SHELL}\n"
        "    B: ${env:NOT_SET, env:OF_SHELL}-${self:service}\n"
        "    C: ${env:NOT_SET, 'a, b'}\n"
        "    D: ${self:custom.${opt:stage, self:provider.stage}.name}\n"
        "    E: ${file(./more.yml):deep.list.1.b}\n"
        "    F: ${file(text.txt)}\n"
        "    G: ${sls:stage}\n"
        "    H: ${opt:stage}\n"
        "    I: '${env:NOT_SET, null}'\n"
        "    J: open ${self\n"
        "functions: {f: {handler: '${self:custom.dev.name}.handler'}}\n"
    )
    found = fields(tmp_path, text)
    assert (found["runtime"], found["memorySize"], found["handler"]) == ("python3", 256, "small.handler")
    assert found["environmentVariables"] == {
        "A": "shell", "B": "shell-shop", "C": "a, b", "D": "small", "E": "256", "F": "line", "G": "dev", "H": "dev",
        "J": "open ${self",
    }  # fmt: skip
    assert fields(tmp_path, text, stage="prod", runtime="python3.10")["environmentVariables"]["D"] == "big"


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("${env:NOT_SET}", "set the environment variable NOT_SET"),
        ("${opt:colour}", "pass -p colour=VALUE"),
        ("${self:custom.nothing}", "this file has no 'custom.nothing'"),
        ("${file(no.yml):a}", "file(no.yml) does not exist"),
    ],
)
def test_a_variable_without_a_value_is_an_error_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    text = HEAD + f"functions: {{f: {{handler: i.h, environment: {{A: '{variable}'}}}}}}\n"
    (error,) = read(tmp_path, text).errors
    assert (error.place.line, error.place.column) == (3, 48)
    assert said in error.text


def test_a_bucket_whose_variable_has_no_value_is_told_by_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    oss = "{oss: {sourceArn: 'acs:oss:cn-shanghai:${env:NOT_SET}:photos'}}"
    found = read(tmp_path, HEAD + f"functions: {{f: {{handler: i.h, events: [{oss}]}}}}\n")
    (error,) = found.errors
    assert "set the environment variable NOT_SET" in error.text
    assert not found.triggers


def test_a_variable_of_the_cloud_stays_and_is_noted(tmp_path: Path) -> None:
    found = read(tmp_path, HEAD + "functions: {f: {handler: i.h, environment: {A: '${ssm:/a/b}'}}}\n")
    assert found.functions[0].fields["environmentVariables"] == {"A": "${ssm:/a/b}"}
    (note,) = notes(found)
    assert "has its value only in the cloud" in note
    assert not found.errors


def test_what_is_not_read_needs_no_value(tmp_path: Path) -> None:
    found = read(tmp_path, ONE + "custom: {a: '${env:NOT_SET_ANYWHERE}'}\n")
    assert not notes(found)


def test_variables_that_name_each_other_are_refused(tmp_path: Path) -> None:
    text = (
        HEAD
        + "custom: {a: '${self:custom.b}', b: 'x${self:custom.a}'}\nfunctions: {f: {handler: '${self:custom.a}'}}\n"
    )
    with pytest.raises(TemplateError, match=f"more than {DEPTH_MAX} times"):
        read(tmp_path, text)
    with pytest.raises(TemplateError, match=f"more than {DEPTH_MAX} times"):
        read(tmp_path, HEAD + f"functions: {{f: {{handler: '{'${self:' * 100}x{'}' * 100}'}}}}\n")


def test_functions_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "f.yml").write_text("f: {handler: a.b}\n")
    found = read(tmp_path, HEAD + "functions: ['${file(f.yml)}', {g: {handler: c.d}}]\n")
    assert [function.fields["handler"] for function in found.functions] == ["a.b", "c.d"]


@pytest.mark.parametrize(
    ("package", "left"),
    [
        ("{}", {"index.py", "lib/a.py", "lib/b.txt", "lib/deep/c.py", "notes/d.md"}),
        ("{exclude: ['lib/**', 'notes/**']}", {"index.py"}),
        ("{exclude: ['lib/**'], include: ['lib/deep/**']}", {"index.py", "lib/deep/c.py", "notes/d.md"}),
        ("{patterns: ['!**', 'index.py', './lib/*.{py,txt}']}", {"index.py", "lib/a.py", "lib/b.txt"}),
        ("{exclude: ['*.md', 'a.py']}", {"index.py", "lib/a.py", "lib/b.txt", "lib/deep/c.py", "notes/d.md"}),
        ("{exclude: ['**/*.md', '!lib/**']}", {"index.py", "lib/a.py", "lib/b.txt", "lib/deep/c.py"}),
    ],
)
def test_the_package_is_what_its_patterns_leave(tmp_path: Path, package: str, left: set[str]) -> None:
    for name in ("index.py", "lib/a.py", "lib/b.txt", "lib/deep/c.py", "notes/d.md", ".serverless/x.zip", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = read(tmp_path, ONE + f"package: {package}\n")
    assert set(zipfile.ZipFile(io.BytesIO(archive.packed(found.functions[0].code))).namelist()) == left


@pytest.mark.parametrize("pattern", ["{a,b}" * 40, "x" * 1000 + "{" + "," * 1000 + "}", "{" * 50 + "a,b" + "}" * 50])
def test_braces_of_a_pattern_stand_for_a_bounded_number_of_patterns(tmp_path: Path, pattern: str) -> None:
    text = ONE + f"package:\n  patterns:\n    - '{pattern}'\n"
    if pattern.startswith("{{"):
        assert len(read(tmp_path, text).functions[0].code.patterns) < 20
        return
    with pytest.raises(TemplateError, match="expected fewer alternatives") as caught:
        read(tmp_path, text)
    assert caught.value.place.line > 1


def test_functions_packed_alone_have_patterns_of_their_own(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x")
    functions = "functions:\n  a: {handler: a.h, package: {exclude: [b.py]}}\n  b: {handler: b.h}\n"
    for alone, left in (("true", ["a.py"]), ("false", ["a.py", "b.py"])):
        found = read(tmp_path, HEAD + f"package: {{individually: {alone}}}\n" + functions)
        packed = zipfile.ZipFile(io.BytesIO(archive.packed(found.functions[0].code)))
        assert packed.namelist() == left


def test_an_artifact_is_the_code(tmp_path: Path) -> None:
    found = read(tmp_path, ONE + "package: {artifact: dist/code.zip}\n")
    assert found.functions[0].code.path == (tmp_path / "dist" / "code.zip").resolve()


def test_a_folder_with_one_is_deployed_by_it(tmp_path: Path) -> None:
    (tmp_path / "index.py").write_text("def handler(event, context):\n    return event\n")
    (tmp_path / "serverless.yml").write_text(ONE)
    context = sources.Context(account_id="123", region="cn-shanghai")
    assert sources.read(tmp_path, context).functions[0].name == "shop-dev-order"
    for provider in (
        "{name: aliyun, runtime: python3}",
        "{runtime: python3, name: 'aliyun'}",
        "\n  {name: aliyun, runtime: p}",
    ):
        text = f"service: shop\nprovider: {provider}\nfunctions: {{order: {{handler: index.handler}}}}\n"
        (tmp_path / "serverless.yml").write_text(text)
        assert sources.read(tmp_path, context).functions[0].name == "shop-dev-order"
    (tmp_path / "serverless.yml").write_text(ONE.replace("aliyun", "aws"))
    assert sources.read(tmp_path, context).functions[0].service == "default"


def test_one_by_another_name_is_found_by_its_plugin(tmp_path: Path) -> None:
    (tmp_path / "production.yml").write_text(ONE)
    context = sources.Context(account_id="123", region="cn-shanghai")
    assert sources.read(tmp_path / "production.yml", context).functions[0].name == "shop-dev-order"


def test_one_of_another_provider_is_named_where_nothing_else_is_found(tmp_path: Path) -> None:
    (tmp_path / "serverless.yml").write_text(ONE.replace("aliyun", "aws"))
    said = "serverless.yml is not of the provider aliyun, and there is no template.yml"
    with pytest.raises(TemplateError, match=said):
        sources.read(tmp_path, sources.Context(account_id="123", region="cn-shanghai"))


def test_parameters_of_a_stage_and_booleans(tmp_path: Path) -> None:
    text = (
        HEAD + "params:\n  default: {size: 256, on: 'false', a: base}\n  prod: {size: 512}\n"
        "stages: {prod: {params: {a: '${param:size}'}}}\n"
        "functions:\n  f:\n    handler: a.b\n    memorySize: ${param:size}\n"
        "    environment: {A: '${param:a}', B: '${strToBool(${param:on})}', C: '${param:none, ''c''}'}\n"
    )
    (base,) = read(tmp_path, text).functions
    assert base.fields["memorySize"] == 256
    assert base.fields["environmentVariables"] == {"A": "base", "B": "false", "C": "c"}
    (prod,) = read(tmp_path, text, stage="prod").functions
    assert (prod.fields["memorySize"], prod.fields["environmentVariables"]["A"]) == (512, "512")
    assert read(tmp_path, text, size="1024").functions[0].fields["memorySize"] == 1024
    with pytest.raises(TemplateError, match="strToBool found 'base'"):
        read(tmp_path, text.replace("${param:on}", "${param:a}"))
    assert "pass -p gone=VALUE" in notes(read(tmp_path, text.replace("param:none, ''c''", "param:gone")))[0]


def test_a_name_of_a_file_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="File name too long"):
        read(tmp_path, HEAD + f"functions: {{f: {{handler: '${{file({'x' * 5000})}}'}}}}\n")


def test_use_dotenv_reads_the_file_of_the_stage(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HANDLER_OF_TEST=a.b\n")
    (tmp_path / ".env.prod").write_text("HANDLER_OF_TEST=c.d\n")
    text = HEAD + "useDotenv: true\nfunctions: {f: {handler: '${env:HANDLER_OF_TEST}'}}\n"
    assert read(tmp_path, text).functions[0].fields["handler"] == "a.b"
    assert read(tmp_path, text, stage="prod").functions[0].fields["handler"] == "c.d"
    staged = text.replace("runtime: python3}", "runtime: python3, stage: prod}")
    assert read(tmp_path, staged).functions[0].fields["handler"] == "c.d"
    assert "set the environment variable" in notes(read(tmp_path, text.replace("useDotenv: true\n", "")))[0]


def test_a_variable_of_the_environment_that_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environb, b"OF_TEST", b"a\xff")
    with pytest.raises(TemplateError, match="not valid Unicode"):
        read(tmp_path, HEAD + "functions: {f: {handler: '${env:OF_TEST}'}}\n")
