"""Funcraft's template.yml becomes what the API is asked for (reference/conventions.md §4.1)."""

import uuid
from pathlib import Path

import pytest

from sesame.deploy import funcraft
from sesame.deploy.funcraft_keys import Options
from sesame.deploy.project import Code, Project, TemplateError

HEAD = "ROSTemplateFormatVersion: '2015-09-01'\nTransform: 'Aliyun::Serverless-2018-04-03'\n"
FUNCTION = """
    hello:
      Type: 'Aliyun::Serverless::Function'
      Properties:
        Handler: index.handler
        Runtime: python3
        CodeUri: ./code
"""


def read(tmp_path: Path, text: str, **parameters: str) -> Project:
    (tmp_path / "template.yml").write_text(text)
    options = Options(account_id="123", region="cn-shanghai", parameters=parameters)
    return funcraft.read(tmp_path / "template.yml", options)


def service(properties: str = "", rest: str = FUNCTION) -> str:
    given = f"    Properties:\n{properties}" if properties else ""
    return f"{HEAD}Resources:\n  demo:\n    Type: 'Aliyun::Serverless::Service'\n{given}{rest}"


def test_a_service_with_a_function(tmp_path: Path) -> None:
    found = read(tmp_path, service("      Description: of tests\n      InternetAccess: false\n"))
    assert found.services[0].fields == {"description": "of tests", "internetAccess": False}
    (function,) = found.functions
    assert (function.service, function.name) == ("demo", "hello")
    assert function.fields == {"handler": "index.handler", "runtime": "python3"}
    assert function.code.path == (tmp_path / "code").resolve()
    assert not found.notes


@pytest.mark.parametrize("name", ["Funfile", "fun.yml", ".fun/python", ".fun/root"])
def test_code_that_funcraft_installs_packages_for_has_its_variables(tmp_path: Path, name: str) -> None:
    (tmp_path / "code" / ".fun").mkdir(parents=True)
    assert "environmentVariables" not in read(tmp_path, service()).functions[0].fields
    (tmp_path / "code" / name).mkdir()
    found = read(tmp_path, service()).functions[0].fields["environmentVariables"]
    assert found["PYTHONUSERBASE"] == "/code/.fun/python"


def test_a_program_needs_no_handler_and_an_image_no_code(tmp_path: Path) -> None:
    custom = FUNCTION.replace("        Handler: index.handler\n", "").replace("python3", "custom")
    (function,) = read(tmp_path, service(rest=custom)).functions
    assert (function.fields["handler"], function.code.path) == ("index.handler", (tmp_path / "code").resolve())
    image = custom.replace("Runtime: custom", "Runtime: custom-container").replace("        CodeUri: ./code\n", "")
    (note,) = read(tmp_path, service(rest=image)).errors
    assert "'CustomContainerConfig'" in note.text
    found = read(tmp_path, service(rest=f"{image}        CustomContainerConfig: {{Image: 'registry/app:v1'}}\n"))
    assert found.functions[0].code == Code()
    assert found.functions[0].fields["customContainerConfig"] == {"image": "registry/app:v1"}


EVENTS = (
    FUNCTION
    + """
      Events:
        tick: {Type: Timer, Properties: {CronExpression: '0 0 8 * * *', Payload: go, Enable: false}}
        web: {Type: HTTP, Properties: {AuthType: ANONYMOUS, Methods: [get, POST]}}
        put:
          Type: OSS
          Properties:
            bucketName: pictures
            events: ['oss:ObjectCreated:*']
            filter: {key: {prefix: in/, suffix: .png}}
        log: {Type: Log, Properties: {SourceConfig: {Logstore: a}, LogConfig: {Project: p, Logstore: b}, Enable: true}}
        topic: {Type: MNSTopic, Properties: {TopicName: t, Region: cn-beijing, FilterTag: x}}
        table: {Type: TableStore, Properties: {InstanceName: i, TableName: t}}
        cdn: {Type: CDN, Properties: {EventName: e, EventVersion: '1.0.0', Filter: {Domain: [a.test]}}}
        gate: {Type: API, Properties: {}}
"""
)


def test_every_type_of_trigger(tmp_path: Path) -> None:
    found = read(tmp_path, service(rest=EVENTS))
    by_name = {trigger.name: trigger.fields for trigger in found.triggers}
    assert by_name["tick"] == {
        "triggerType": "timer",
        "triggerConfig": {"cronExpression": "0 0 8 * * *", "payload": "go", "enable": False},
    }
    assert by_name["web"]["triggerConfig"] == {"authType": "anonymous", "methods": ["GET", "POST"]}
    assert by_name["put"]["sourceArn"] == "acs:oss:cn-shanghai:123:pictures"
    assert by_name["put"]["triggerConfig"]["filter"] == {"key": {"prefix": "in/", "suffix": ".png"}}
    assert by_name["put"]["invocationRole"] == "acs:ram::123:role/aliyunosseventnotificationrole"
    assert by_name["topic"]["sourceArn"] == "acs:mns:cn-beijing:123:/topics/t"
    assert by_name["table"]["sourceArn"] == "acs:ots:cn-shanghai:123:instance/i/table/t"
    assert by_name["cdn"]["triggerConfig"]["filter"] == {"domain": ["a.test"]}
    assert "gate" not in by_name
    assert [note.text for note in found.notes] == ["gate: API triggers need a service that Sesame does not run"]


def test_policies_become_a_role_that_the_service_has(tmp_path: Path) -> None:
    own = "{Version: '1', Statement: [{Effect: Allow, Action: 'oss:*', Resource: '*'}]}"
    found = read(tmp_path, service(f"      Policies: [AliyunOSSFullAccess, {own}]\n"))
    (role,) = found.roles
    assert role.name == "aliyunfcgeneratedrole-cn-shanghai-demo"
    assert role.system_policies == ("AliyunOSSFullAccess",)
    assert role.documents[0]["Statement"][0]["Action"] == "oss:*"
    assert found.services[0].fields["role"] == f"acs:ram::123:role/{role.name}"


def test_a_role_that_is_named_is_not_made(tmp_path: Path) -> None:
    found = read(tmp_path, service("      Role: 'acs:ram::123:role/mine'\n      Policies: AliyunOSSFullAccess\n"))
    assert not found.roles
    assert found.services[0].fields["role"] == "acs:ram::123:role/mine"


def test_asynchronous_settings_and_destinations(tmp_path: Path) -> None:
    more = FUNCTION + (
        "        AsyncConfiguration:\n          Destination: {OnSuccess: 'acs:fc:::services/a/functions/b'}\n"
        "          MaxAsyncRetryAttempts: 0\n          StatefulInvocation: true\n"
    )
    (config,) = read(tmp_path, service(rest=more)).async_configs
    assert config.fields == {
        "destinationConfig": {"onSuccess": {"destination": "acs:fc:::services/a/functions/b"}},
        "maxAsyncRetryAttempts": 0,
        "statefulInvocation": True,
    }


def test_domains_with_routes_and_certificates_from_files(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN KEY-----")
    text = HEAD + (
        "Resources:\n  a.test:\n    Type: Aliyun::Serverless::CustomDomain\n    Properties:\n"
        "      Protocol: HTTP,HTTPS\n"
        "      RouteConfig:\n        routes:\n          '/a/*': {ServiceName: s, FunctionName: f, Qualifier: prod}\n"
        "      CertConfig: {CertName: c, PrivateKey: ./key.pem, Certificate: '-----BEGIN CERTIFICATE-----'}\n"
    )
    (domain,) = read(tmp_path, text).domains
    assert domain.name == "a.test"
    route = {"path": "/a/*", "serviceName": "s", "functionName": "f", "qualifier": "prod"}
    assert domain.fields["routeConfig"] == {"routes": [route]}
    assert domain.fields["certConfig"]["privateKey"] == "-----BEGIN KEY-----"


def test_a_domain_that_the_cloud_names_is_that_of_its_function(tmp_path: Path) -> None:
    """Templates call their domains alike, such as `my_domain`: named by that, one would take another's route."""
    text = (
        service() + "  my_domain:\n    Type: Aliyun::Serverless::CustomDomain\n    Properties:\n"
        "      DomainName: Auto\n      Protocol: HTTP\n"
        "      RouteConfig:\n        routes:\n          '/*': {ServiceName: my_demo, FunctionName: hello}\n"
    )
    found = read(tmp_path, text)
    assert [domain.name for domain in found.domains] == ["hello.my-demo.sesame.test"]
    assert found.notes[-1].text.endswith("here it is hello.my-demo.sesame.test")


def test_parameters_and_functions_of_ros(tmp_path: Path) -> None:
    text = (
        "ROSTemplateFormatVersion: '2015-09-01'\nParameters:\n"
        "  Stage: {Type: String, Default: dev}\n  Size: {Type: Number}\n"
        "Mappings: {memory: {dev: {mb: 256}}}\nResources:\n  demo:\n    Type: Aliyun::Serverless::Service\n"
        "    Properties: {Description: !Sub 'of ${Stage} in ${ALIYUN::Region}, ${!kept}'}\n"
        "    f:\n      Type: Aliyun::Serverless::Function\n      Properties:\n"
        "        Handler: a.b\n        Runtime: python3\n"
        "        CodeUri: {'Fn::Join': ['/', [oss:/, bucket, code.zip]]}\n        Timeout: !Ref Size\n"
        "        MemorySize: {'Fn::FindInMap': [memory, !Ref Stage, mb]}\n"
    )
    found = read(tmp_path, text, Size="30")
    assert found.services[0].fields["description"] == "of dev in cn-shanghai, ${kept}"
    (function,) = found.functions
    assert (function.fields["timeout"], function.fields["memorySize"]) == (30, 256)
    assert (function.code.bucket, function.code.object) == ("bucket", "code.zip")
    with pytest.raises(TemplateError, match=r"no parameter 'Size' with a value: .* pass -p Size=VALUE"):
        read(tmp_path, text)
    with pytest.raises(TemplateError, match="there is no parameter 'Sizes'; did you mean 'Size'"):
        read(tmp_path, text, Sizes="1")


def test_pseudo_parameters_of_ros(tmp_path: Path) -> None:
    text = (
        "ROSTemplateFormatVersion: '2015-09-01'\nResources:\n  demo:\n    Type: Aliyun::Serverless::Service\n"
        "    Properties: {Description: !Sub '${ALIYUN::StackName} ${ALIYUN::StackId} ${ALIYUN::TenantId}'}\n"
        "    f:\n      Type: Aliyun::Serverless::Function\n      Properties:\n"
        "        Handler: a.b\n        Runtime: python3\n        CodeUri: oss://b/c.zip\n"
        "        Description: !Ref 'ALIYUN::NoValue'\n"
        "        Layers: [{Ref: 'ALIYUN::NoValue'}, 'acs:fc:cn-shanghai:1:layers/l/versions/1']\n"
    )
    folder = tmp_path / "my app_1!"
    folder.mkdir()
    found = read(folder, text)
    assert not found.notes
    stack, identity, account = found.services[0].fields["description"].split()
    assert (stack, account) == ("stack-my-app_1", "123")
    assert uuid.UUID(identity)
    assert read(folder, text).services[0].fields["description"].split()[1] == identity
    (function,) = found.functions
    assert "description" not in function.fields
    assert function.fields["layers"] == ["acs:fc:cn-shanghai:1:layers/l/versions/1"]
    named = read(folder, text, **{"ALIYUN::StackName": "mine"}).services[0].fields["description"].split()
    assert named[0] == "mine"
    assert named[1] != identity


@pytest.mark.parametrize(
    ("wrong", "line", "said"),
    [
        ("        Handlr: x\n", 13, "has no key 'Handlr'; did you mean 'Handler'?"),
        ("        Timeout: [1]\n", 13, "found a list, expected a whole number"),
        ("        EnvironmentVariables: x\n", 13, "expected a mapping"),
    ],
)
def test_unknown_keys_and_wrong_types_are_errors_with_a_place(tmp_path: Path, wrong: str, line: int, said: str) -> None:
    (error,) = read(tmp_path, service(rest=FUNCTION + wrong)).errors
    assert error.place.line == line
    assert said in error.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Resources: {}\n", "lacks the key 'ROSTemplateFormatVersion'"),
        (f"{HEAD}Resources:\n  x: {{Type: Aliyun::Serverless::Servic}}\n", "mean 'Aliyun::Serverless::Service'?"),
    ],
)
def test_what_cannot_be_read_as_a_template_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said.replace("?", r"\?")):
        read(tmp_path, text)


def test_resources_of_other_services_are_noted(tmp_path: Path) -> None:
    text = f"{HEAD}Resources:\n  t: {{Type: Aliyun::Serverless::MNSTopic}}\n  g: {{Type: Aliyun::Serverless::Api}}\n"
    notes = read(tmp_path, text).notes
    assert [note.text.partition(":")[0] for note in notes] == ["t", "g"]
    assert not any(note.error for note in notes)


def test_an_empty_template_deploys_nothing_and_says_so(tmp_path: Path) -> None:
    assert [note.text for note in read(tmp_path, "").notes] == ["the template is empty: there is nothing to deploy"]


def test_all_missing_keys_of_a_function_are_told(tmp_path: Path) -> None:
    rest = "\n    f: {Type: 'Aliyun::Serverless::Function', Properties: {Handler: a.b}}\n"
    found = read(tmp_path, service(rest=rest))
    assert [note.text for note in found.errors] == [
        "the function 'f' lacks the key 'Runtime'", "the function 'f' lacks the key 'CodeUri'",
    ]  # fmt: skip
    assert not found.functions


@pytest.mark.parametrize("asked", ["Auto", "{Auto: true}"])
def test_an_automatic_nas_is_a_directory_of_the_service_s_own(tmp_path: Path, asked: str) -> None:
    found = read(tmp_path, service(f"      NasConfig: {asked}\n"))
    assert found.services[0].fields["nasConfig"] == {
        "userId": 10003,
        "groupId": 10003,
        "mountPoints": [{"serverAddr": "auto.cn-shanghai.nas.aliyuncs.com:/demo", "mountDir": "/mnt/auto"}],
    }


def test_a_nas_that_is_written_out_is_mounted_as_it_says(tmp_path: Path) -> None:
    points = "[{ServerAddr: 'nas:/a', MountDir: /mnt/a}]"
    found = read(tmp_path, service(f"      NasConfig: {{UserId: 1, GroupId: 2, MountPoints: {points}}}\n"))
    assert found.services[0].fields["nasConfig"] == {
        "userId": 1, "groupId": 2, "mountPoints": [{"serverAddr": "nas:/a", "mountDir": "/mnt/a"}],
    }  # fmt: skip
