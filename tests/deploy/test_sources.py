"""How a folder or file is read, and that nothing which the command line gives is ignored.

Run by pytest. Asks no server.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sesame.cli.deploy import deploy, plan, remove
from sesame.deploy import sources
from sesame.deploy.project import TemplateError

CODE = "def handler(event, context):\n    return event\n"
S_YAML = """
edition: 1.0.0
name: app
services:
  hello:
    component: devsapp/fc
    props:
      service: {name: demo}
      function: {name: f, runtime: python3, handler: index.handler, codeUri: .}
"""
FUNCRAFT = """
ROSTemplateFormatVersion: '2015-09-01'
Transform: 'Aliyun::Serverless-2018-04-03'
Resources:
  demo:
    Type: 'Aliyun::Serverless::Service'
    f:
      Type: 'Aliyun::Serverless::Function'
      Properties: {Handler: index.handler, Runtime: python3, CodeUri: .}
"""
SERVER = {
    "FC_ENDPOINT": "http://127.0.0.1:1",
    "ACCESS_KEY_ID": "id",
    "ACCESS_KEY_SECRET": "secret",
    "ACCOUNT_ID": "123",
}


def folder(tmp_path: Path, template: str) -> Path:
    (tmp_path / "index.py").write_text(CODE)
    (tmp_path / template).write_text(S_YAML if template.startswith("s.") else FUNCRAFT)
    return tmp_path


@pytest.mark.parametrize("template", ["s.yaml", "s.yml", "template.yml", "template.yaml"])
@pytest.mark.parametrize(
    "option",
    [
        ["--name", "s/g"], ["--handler", "index.other"], ["--runtime", "python3.10"], ["--http"], ["--event"],
        ["--env", "A=b"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_only_a_folder_takes_is_refused_beside_a_template(
    tmp_path: Path, template: str, option: list[str]
) -> None:
    place = folder(tmp_path, template)
    for source in (place, place / template):
        done = CliRunner().invoke(plan, [str(source), *option], env=SERVER)
        assert done.exit_code != 0
        said = f"{done.output} {done.exception}"
        assert option[0] in said
        assert "cannot be given: change the template" in said


def test_each_option_is_named_whatever_the_command(tmp_path: Path) -> None:
    place = str(folder(tmp_path, "s.yaml"))
    for command in (deploy, remove):
        done = CliRunner().invoke(command, [place, "--handler", "index.x", "--env", "A=b", "--env", "C=d"], env=SERVER)
        assert "--handler and --env cannot be given" in f"{done.output} {done.exception}"


def test_parameters_that_an_s_yaml_does_not_name_are_refused(tmp_path: Path) -> None:
    context = sources.Context(account_id="123", region="cn-shanghai", parameters={"A": "b"})
    with pytest.raises(TemplateError, match="there is no parameter 'A' in it"):
        sources.read(folder(tmp_path, "s.yaml"), context)


def test_a_python_file_beside_a_template_is_read_by_itself(tmp_path: Path) -> None:
    place = folder(tmp_path, "s.yaml") / "index.py"
    context = sources.Context(account_id="123", region="cn-shanghai", folder_options=["--name"])
    assert sources.read(place, context).functions[0].name == "index"


def test_a_template_with_nothing_of_ours_says_so_and_each_note_once(tmp_path: Path) -> None:
    props = "{region: '${vars.region}'}"
    text = "edition: 1.0.0\nname: app\nvars: {region: cn-hangzhou}\nservices:\n"
    (tmp_path / "s.yaml").write_text(text + "  one: {component: website, props: {}}\n")
    said = CliRunner().invoke(deploy, [str(tmp_path)], env=SERVER)
    assert f"there is nothing to deploy in {tmp_path / 's.yaml'}" in str(said.exception)
    assert said.exit_code != 0
    assert "the component website is not deployed by Sesame" in said.output or "props are empty" in said.output
    planned = CliRunner().invoke(plan, [str(tmp_path)], env=SERVER)
    assert str(planned.exception) == str(said.exception)
    units = "".join(f"  u{n}: {{component: fc, props: {props}}}\n" for n in range(3))
    (tmp_path / "s.yaml").write_text(text + units)
    said = CliRunner().invoke(deploy, [str(tmp_path)], env=SERVER)
    assert said.output.count("region: cn-hangzhou is not this server's region") == 1


def test_errors_of_a_template_are_told_before_a_server_is_asked(tmp_path: Path) -> None:
    (folder(tmp_path, "s.yaml") / "s.yaml").write_text(S_YAML.replace("runtime: python3", "timeout: soon, runtime: x"))
    said = CliRunner().invoke(deploy, [str(tmp_path)], env=SERVER)
    assert "found 'soon', expected a whole number" in said.output
    assert str(said.exception) == f"1 error in {tmp_path / 's.yaml'}: nothing was deployed"
