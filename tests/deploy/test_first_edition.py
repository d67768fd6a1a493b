"""Templates of Serverless Devs from before edition 1.0.0 are deployed as those of that edition."""

from pathlib import Path

import pytest

from sesame.deploy import first_edition, sources, variables, yaml_source
from sesame.deploy.project import Project, TemplateError

TEMPLATE = """
Global:
  Region: cn-shanghai
  Prefix: photo
  Service:
    Name: album
    Description: of tests
    Log: Auto
    Role: {Name: Album-Role, Policies: [AliyunOSSFullAccess]}

Resize:
  Component: fc
  Provider: alibaba
  Access: default
  Extends:
    deploy:
      - {Hook: npm install, Path: ./front, Pre: true}
  Properties:
    Region: ${Global.Region}
    Service: ${Global.Service}
    Function:
      Name: resize
      CodeUri: {Src: ./code, Excludes: [code/.fun]}
      Handler: index.handler
      Initializer: {Handler: index.start, Timeout: 7}
      MemorySize: 512
      Runtime: python3
      Environment:
        - {Key: KIND, Value: '${Global.Prefix}/x'}
        - {Key: BUCKET, Value: '${Files.Output.Bucket}'}
        - {Key: PLACE, Value: '${Files.Output.Endpoint.Publish}'}
        - {Key: ACCOUNT, Value: '${Config(AccountId)}'}
        - {Key: OWN, Value: '${Env(AccessKeyId)}'}
        - {Key: FILES, Value: '${Files.Properties.Bucket}'}
      Triggers:
        - Name: put
          Type: OSS
          Parameters:
            Bucket: pictures
            Events: ['oss:ObjectCreated:*']
            InvocationRole: mine
            Filter: {Prefix: source/, Suffix: .png}
        - Name: web
          Type: HTTP
          Parameters:
            AuthType: ANONYMOUS
            Methods: [GET, POST]
            Domains:
              - {Domain: a.example.com, Protocol: [HTTP, HTTPS], Routes: [{Path: /a}]}
              - {Domain: Auto}
        - {Name: tick, Type: Timer, Parameters: {CronExpression: '0 0 8 * * *', Enable: true, Payload: go}}
Files:
  Component: oss
  Properties: {Bucket: pictures}
"""


def read(folder: Path, text: str, name: str = "template.yaml") -> Project:
    (folder / name).write_text(text)
    return sources.read(folder, sources.Context(account_id="123", region="cn-shanghai"))


@pytest.mark.parametrize("name", ["template.yaml", "template.yml", "s.yaml"])
def test_units_become_services_functions_triggers_and_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AccessKeyId", "of-me")
    found = read(tmp_path, TEMPLATE, name)
    assert not found.errors
    (service,) = found.services
    assert (service.name, service.fields["description"]) == ("album", "of tests")
    assert service.fields["role"] == "acs:ram::123:role/album-role"
    (function,) = found.functions
    assert (function.name, function.code.path) == ("resize", (tmp_path / "code").resolve())
    fields = function.fields
    assert (fields["memorySize"], fields["initializer"], fields["initializationTimeout"]) == (512, "index.start", 7)
    variables = {
        "KIND": "photo/x",
        "BUCKET": "pictures",
        "PLACE": "${Files.output.Endpoint.Publish}",
        "ACCOUNT": "123",
        "FILES": "pictures",
        "OWN": "of-me",
    }
    assert fields["environmentVariables"] == variables
    by_name = {trigger.name: trigger.fields for trigger in found.triggers}
    assert by_name["put"]["triggerConfig"]["filter"] == {"key": {"prefix": "source/", "suffix": ".png"}}
    assert by_name["put"]["sourceArn"] == "acs:oss:cn-shanghai:123:pictures"
    assert by_name["put"]["invocationRole"] == "acs:ram::123:role/mine"
    assert by_name["web"]["triggerConfig"] == {"authType": "anonymous", "methods": ["GET", "POST"]}
    assert by_name["tick"]["triggerConfig"]["payload"] == "go"
    assert [domain.name for domain in found.domains] == ["a.example.com", "resize.album.sesame.test"]
    assert found.domains[0].fields["protocol"] == "HTTP,HTTPS"
    said = "\n".join(str(note.place) + note.text for note in found.notes)
    assert "the component oss is not deployed by Sesame" in said
    assert "`npm install` in ./front" in said


def test_errors_have_the_places_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AccessKeyId", "of-me")
    wrong = TEMPLATE.replace("MemorySize: 512", "MemorySize: much")
    (error,) = read(tmp_path, wrong).errors
    line = wrong[: wrong.index("much")].count("\n") + 1
    assert f"template.yaml:{line}:" in str(error.place)


def test_a_template_of_funcraft_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="ROSTemplateFormatVersion"):
        read(tmp_path, "Resources: {}\n")


@pytest.mark.parametrize("value", ["'${Global.A}${Global.A}'", "'${Global.A}'", "{B: '${Global.A}', C: '${Global.A}'}"])
def test_values_that_name_each_other_are_refused_at_once(tmp_path: Path, value: str) -> None:
    path = tmp_path / "template.yml"
    path.write_text(f"Global: {{A: {value}}}\nunit: {{Component: fc, Properties: {{Region: '${{Global.A}}'}}}}\n")
    with pytest.raises(TemplateError, match="more than 16 times"):
        first_edition.rewritten(yaml_source.read(path))


def test_values_that_name_others_many_times_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "REPLACED_MAX", 10_000)
    levels = "".join(f"  A{n}: '{f'${{Global.A{n - 1}}}' * 10}'\n" for n in range(1, 10))
    path = tmp_path / "template.yml"
    path.write_text(f"Global:\n  A0: ''\n{levels}unit: {{Component: fc, Properties: {{Region: '${{Global.A9}}'}}}}\n")
    with pytest.raises(TemplateError, match="more than 10000 values"):
        first_edition.rewritten(yaml_source.read(path))
