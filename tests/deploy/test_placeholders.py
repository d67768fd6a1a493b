"""The `{{ name }}` of an application that is published for Serverless Devs is filled as `s init` fills it."""

from pathlib import Path

import pytest

from sesame.deploy import sources
from sesame.deploy.project import Project, Role, TemplateError

PUBLISH = """
Type: Application
Name: resizer
Parameters:
  type: object
  required: [region, functionName, bucketName]
  properties:
    region: {title: Region, type: string, default: cn-hangzhou}
    serviceName: {title: Service, type: string, default: 'images-${default-suffix}'}
    functionName: {title: Function, type: string, default: resize}
    bucketName: {title: Bucket, type: string, default: ''}
    quality: {title: Quality, type: integer, default: 80}
    prefix: {title: Prefix, type: string, default: ''}
    cronExpression: {title: Schedule, type: string, default: ''}
    roleArn:
      title: Role
      type: string
      default: ''
      x-role: {name: imagesRole, service: fc, authorities: [AliyunOSSFullAccess]}
"""
TEMPLATE = """
edition: 1.0.0
name: resizer
access: '{{ access }}'
services:
  resizer:
    component: fc
    props:
      region: {{ region }}
      service: {name: "{{ serviceName }}", role: '{{roleArn}}'}
      function:
        name: {{ functionName | the name }}
        runtime: python3
        codeUri: ./code
        environmentVariables:
          BUCKET: '{{ bucketName }}'
          QUALITY: '{{ quality }}'
          PREFIX: 'a/{{ prefix }}'
          {{if prefix !== ''}}
          WITH_PREFIX: 'yes'
          {{else if quality === '80'}}
          AS_ALWAYS: 'yes'
          {{else}}
          OTHERWISE: 'yes'
          {{/if}}
      {{if cronExpression}}
      triggers:
        - {name: t, type: timer, config: {cronExpression: '{{ cronExpression }}'}}
      {{/if}}
"""


def application(folder: Path, template: str = TEMPLATE, publish: str = PUBLISH) -> Path:
    (folder / "src" / "code").mkdir(parents=True)
    (folder / "src" / "code" / "index.py").write_text("def handler(event, context):\n    return event\n")
    (folder / "src" / "s.yaml").write_text(template)
    if publish:
        (folder / "publish.yaml").write_text(publish)
    return folder


def read(path: Path, **parameters: str) -> Project:
    return sources.read(path, sources.Context(account_id="123", region="cn-shanghai", parameters=parameters))


def test_an_application_is_deployed_from_its_folder_with_defaults_and_what_is_given(tmp_path: Path) -> None:
    found = read(application(tmp_path), bucketName="photos")
    assert (found.notes, found.source) == ((), tmp_path / "src" / "s.yaml")
    (service,), (function,) = found.services, found.functions
    assert service.name == read(tmp_path, bucketName="other").services[0].name
    assert service.name.startswith("images-")
    assert len(service.name) == len("images-abcd")
    assert function.name == "resize"
    assert function.code.path == (tmp_path / "src" / "code").resolve()
    assert function.fields["environmentVariables"] == {
        "BUCKET": "photos", "QUALITY": "80", "PREFIX": "a/", "AS_ALWAYS": "yes",
    }  # fmt: skip
    assert not found.triggers


def test_a_role_that_the_console_would_make_is_made_unless_one_is_given(tmp_path: Path) -> None:
    found = read(application(tmp_path), bucketName="photos")
    assert found.roles == (Role(name="imagesRole", system_policies=("AliyunOSSFullAccess",), shared=True),)
    assert found.services[0].fields["role"] == "acs:ram::123:role/imagesrole"
    given = read(tmp_path, bucketName="photos", roleArn="acs:ram::123:role/mine")
    assert (given.roles, given.services[0].fields["role"]) == ((), "acs:ram::123:role/mine")


def test_conditions_take_what_they_hold_for(tmp_path: Path) -> None:
    found = read(application(tmp_path), bucketName="b", prefix="in/", cronExpression="@every 5m")
    variables = found.functions[0].fields["environmentVariables"]
    assert (variables["WITH_PREFIX"], "AS_ALWAYS" in variables, "OTHERWISE" in variables) == ("yes", False, False)
    assert found.triggers[0].fields["triggerConfig"]["cronExpression"] == "@every 5m"
    assert "OTHERWISE" in read(tmp_path, bucketName="b", quality="90").functions[0].fields["environmentVariables"]


def test_all_that_lacks_a_value_is_told_at_once_with_what_to_pass(tmp_path: Path) -> None:
    found = read(application(tmp_path, TEMPLATE.replace("'{{ quality }}'", "'{{ grade }}'")))
    assert [(note.place.line, note.text) for note in found.errors] == [
        (16, "{{ bucketName }} has no value (Bucket): pass -p bucketName=VALUE"),
        (17, "{{ grade }} has no value: pass -p grade=VALUE"),
    ]


def test_a_parameter_that_the_template_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no parameter 'bucket' in it; there are: access, bucketName, cronE"):
        read(application(tmp_path), bucket="photos")
    (tmp_path / "src" / "s.yaml").write_text("services: {}\n")
    with pytest.raises(TemplateError, match=r"no parameter 'bucket' in it: it has no {{ name }} to be filled"):
        read(tmp_path, bucket="photos")


def test_without_an_application_text_that_looks_like_a_placeholder_stays_and_is_noted(tmp_path: Path) -> None:
    template = """
services:
  hello:
    component: fc
    props:
      service: {name: "{{ serviceName }}"}
      function: {name: f, runtime: python3, codeUri: ./code, environmentVariables: {GREETING: 'Hello {{ who }}'}}
"""
    application(tmp_path, template, publish="")
    found = read(tmp_path / "src", serviceName="demo")
    assert found.services[0].name == "demo"
    assert found.functions[0].fields["environmentVariables"] == {"GREETING": "Hello {{ who }}"}
    assert [note.text for note in found.notes] == ["{{ who }} stays as it is: -p who=VALUE fills it"]
    (tmp_path / "src" / "s.yaml").write_text("services:\n  {{ name }}: {component: fc}\n")
    with pytest.raises(TemplateError, match=r"found a placeholder {{ name }} .* pass -p NAME=VALUE"):
        read(tmp_path / "src")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("roleArn !== '' && roleArn !== undefined", True),
        ("!roleArn || roleArn === 'none'", False),
        ("prefix === 'x' || roleArn !== '' && quality == 80", True),
        ("prefix !== undefined && prefix === ''", True),
        ("prefix === null", False),
        ("quality && prefix", False),
    ],
)  # fmt: skip
def test_conditions_have_several_comparisons(tmp_path: Path, condition: str, holds: bool) -> None:
    template = TEMPLATE.replace("{{if prefix !== ''}}", f"{{{{ if {condition} }}}}")
    found = read(application(tmp_path, template), bucketName="photos")
    assert ("WITH_PREFIX" in found.functions[0].fields["environmentVariables"]) is holds


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("{{if quality > 3}}\n{{/if}}", r"{{if quality > 3}}: expected NAME, !NAME, NAME === 'TEXT'"),
        ("{{if quality &&}}\n{{/if}}", r"several of them with && or || between"),
        ("{{if quality}}\n", r"an {{if}} has no {{/if}} after it"),
        ("{{/if}}\n", r"{{/if}} stands here without an {{if}} before it"),
    ],
)  # fmt: skip
def test_tags_that_cannot_be_read_are_refused_with_their_place(tmp_path: Path, condition: str, said: str) -> None:
    with pytest.raises(TemplateError) as told:
        read(application(tmp_path, condition + TEMPLATE), bucketName="photos")
    assert said in told.value.text


def test_keys_without_a_value_in_a_published_file_say_nothing(tmp_path: Path) -> None:
    publish = PUBLISH.replace("title: Bucket, type: string, default: ''", "title: , type: string, default: ")
    publish = publish.replace("x-role: {name: imagesRole,", "x-role: {name: ,")
    found = read(application(tmp_path, publish=publish))
    assert [note.text for note in found.errors] == ["{{ bucketName }} has no value: pass -p bucketName=VALUE"]
