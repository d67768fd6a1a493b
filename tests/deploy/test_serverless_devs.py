"""Serverless Devs' s.yaml becomes what the API is asked for (reference/conventions.md §4.4 to §4.6)."""

import json
import os
import re
from pathlib import Path

import pytest

from sesame.deploy import serverless_devs, variables
from sesame.deploy.project import Project, Role, TemplateError

ONE = """
edition: 1.0.0
name: app
vars:
  region: cn-shanghai
  service: {name: demo, description: of tests}
services:
  hello:
    component: devsapp/fc
    props:
      region: ${vars.region}
      service: ${vars.service}
      function:
        name: f
        runtime: python3
        handler: index.handler
        codeUri: ./code
        environmentVariables: {WHO: "${env(WHO, world)}", PART: "a-${vars.region}"}
"""


def read(tmp_path: Path, text: str) -> Project:
    (tmp_path / "s.yaml").write_text(text)
    options = serverless_devs.Options(account_id="123", region="cn-shanghai", access_key_id="key")
    return serverless_devs.read(tmp_path / "s.yaml", options)


def test_a_function_with_variables(tmp_path: Path) -> None:
    found = read(tmp_path, ONE)
    assert (found.services[0].name, found.services[0].fields) == ("demo", {"description": "of tests"})
    (function,) = found.functions
    assert function.fields["environmentVariables"] == {"WHO": "world", "PART": "a-cn-shanghai"}
    assert function.code.path == (tmp_path / "code").resolve()
    assert function.code.ignore_file == (tmp_path / "code").resolve() / ".fcignore"
    assert not found.notes


def test_the_role_of_a_trigger_is_used_or_named(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ONE + "      triggers:\n"
        "        - {name: t, type: timer, role: 'acs:ram::123:role/mine', config: {cronExpression: '@every 5m'}}\n"
        "        - {name: u, type: timer, role: Named-Alone, config: {cronExpression: '@every 5m'}}\n"
        "        - {name: v, type: timer, role: '', config: {cronExpression: '@every 5m'}}\n"
        "        - {name: w, type: http, role: 'acs:ram::123:role/mine',"
        " config: {authType: anonymous, methods: [GET]}}\n",
    )  # fmt: skip
    arn = "acs:ram::123:role/"
    roles = [trigger.fields.get("invocationRole") for trigger in found.triggers]
    assert roles == [f"{arn}mine", f"{arn}Named-Alone", None, None]
    (note,) = found.notes
    assert "the trigger 'w': its role is not used" in note.text


def test_triggers_and_domains_belong_to_the_function_beside_them(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ONE + "      triggers:\n"
        "        - {name: t, type: timer, config: {cronExpression: '@every 5m'}}\n"
        "        - {name: o, type: oss, role: 'acs:ram::123:role/mine', config: {bucketName: b,"
        " events: ['oss:ObjectCreated:*'], filter: {Key: {Prefix: in/, Suffix: .png}}}}\n"
        "      customDomains:\n"
        "        - {domainName: a.test, protocol: HTTP, routeConfigs: [{path: '/*'}]}\n",
    )  # fmt: skip
    timer, oss = found.triggers
    assert timer.fields["triggerConfig"] == {"cronExpression": "@every 5m", "enable": True}
    assert (oss.service, oss.function, oss.fields["invocationRole"]) == ("demo", "f", "acs:ram::123:role/mine")
    assert oss.fields["triggerConfig"]["filter"] == {"key": {"prefix": "in/", "suffix": ".png"}}
    (domain,) = found.domains
    assert domain.fields["routeConfig"]["routes"] == [{"path": "/*", "serviceName": "demo", "functionName": "f"}]


def test_two_triggers_of_one_name_are_an_error(tmp_path: Path) -> None:
    timer = "        - {name: t, type: timer, config: {cronExpression: '@every 5m'}}\n"
    found = read(tmp_path, ONE + "      triggers:\n" + timer + timer)
    (error,) = found.errors
    line = len(ONE.splitlines()) + 3
    assert str(error.place).endswith(f"s.yaml:{line}:11")
    assert error.text == f"the trigger 't' of 'demo/f' stands here twice; the first is in line {line - 1}"


@pytest.mark.parametrize(
    ("service", "function", "role"),
    [
        ("logConfig: auto", "", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("role: '', nasConfig: auto", "", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("role: auto", "", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("description: d", "asyncConfiguration: {statefulInvocation: true}", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("role: Mine, logConfig: auto", "", "acs:ram::123:role/mine"),
        ("role: ''", "", ""),
        ("description: d", "", None),
    ],
)
def test_a_service_that_reaches_others_has_the_default_role_unless_it_has_one(
    tmp_path: Path, service: str, function: str, role: str | None
) -> None:
    text = ONE.replace("description: of tests", service).replace(
        "        name: f\n", f"        name: f\n        {function}\n"
    )
    assert read(tmp_path, text).services[0].fields.get("role") == role


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ("role: auto", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("ossMountConfig: {mountPoints: [{bucketName: b, mountDir: /mnt/b}]}", "acs:ram::123:role/aliyunfcdefaultrole"),
        ("role: Mine, ossMountConfig: {mountPoints: [{bucketName: b, mountDir: /m}]}", "acs:ram::123:role/Mine"),
        ("role: '', ossMountConfig: {mountPoints: [{bucketName: b, mountDir: /m}]}", None),
        ("logConfig: auto", None),
    ],
)
def test_a_function_with_buckets_mounted_has_the_default_role_unless_it_has_one(
    tmp_path: Path, said: str, role: str | None
) -> None:
    props = f"{{functionName: f, runtime: python3.10, code: ./code, {said}}}"
    found = read(tmp_path, f"edition: 3.0.0\nname: a\nresources: {{r: {{component: fc3, props: {props}}}}}\n")
    assert found.functions[0].fields.get("role") == role


def test_a_described_role_is_made(tmp_path: Path) -> None:
    text = ONE.replace(
        "{name: demo, description: of tests}",
        "{name: demo, role: {name: Mine, policies: [AliyunOSSFullAccess, {name: own, statement: "
        "[{Effect: Allow, Action: ['log:*'], Resource: ['*']}]}]}}",
    )
    found = read(tmp_path, text)
    (role,) = found.roles
    assert (role.name, role.system_policies) == ("Mine", ("AliyunOSSFullAccess",))
    assert found.services[0].fields["role"] == "acs:ram::123:role/mine"


def test_variables_of_files_other_services_and_this(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("s3cret")
    (tmp_path / "more.json").write_text('{"A": "1"}')
    text = (
        ONE.replace(
            '{WHO: "${env(WHO, world)}", PART: "a-${vars.region}"}',
            "{S: '${file(secret.txt)}', T: '${this.props.function.name}', O: '${other.props.function.name}',"
            " I: '${config(AccountID)}'}",
        )
        + "  other:\n    component: fc\n    props:\n      service: demo\n"
        + "      function: {name: g, runtime: python3, handler: a.b, codeUri: .}\n"
    )
    variables = read(tmp_path, text).functions[0].fields["environmentVariables"]
    assert variables == {"S": "s3cret", "T": "f", "O": "g", "I": "123"}
    whole = ONE.replace('{WHO: "${env(WHO, world)}", PART: "a-${vars.region}"}', "${json(file('more.json'))}")
    assert read(tmp_path, whole).functions[0].fields["environmentVariables"] == {"A": "1"}


def test_what_only_the_cloud_knows_is_noted_and_stays(tmp_path: Path) -> None:
    found = read(tmp_path, ONE.replace("of tests", "'${hello.output.url}'"))
    assert "${hello.output.url} has its value only in the cloud" in found.notes[0].text


def test_a_handler_that_is_not_written_is_that_of_the_component(tmp_path: Path) -> None:
    (function,) = read(tmp_path, ONE.replace("        handler: index.handler\n", "")).functions
    assert function.fields["handler"] == "index.handler"


def test_variables_name_items_of_lists_and_keys_in_brackets(tmp_path: Path) -> None:
    text = ONE.replace(
        'WHO: "${env(WHO, world)}"',
        'WHO: "${hello.props.customDomains[0].domainName}", NEXT: "${this.props.customDomains.0[\'domainName\']}"',
    )
    domains = "      customDomains: [{domainName: a.example.com, protocol: HTTP, routeConfigs: [{path: '/*'}]}]\n"
    (function,) = read(tmp_path, text + domains).functions
    variables = function.fields["environmentVariables"]
    assert (variables["WHO"], variables["NEXT"]) == ("a.example.com", "a.example.com")
    with pytest.raises(TemplateError, match="there is no '1'"):
        read(tmp_path, text.replace("[0]", "[1]") + domains)


TWO_REGIONS = """
edition: 3.0.0
name: app
resources:
  far:
    component: fc3
    props: {region: ap-southeast-1, functionName: f, runtime: python3.10, code: ./code, timeout: 3}
  near:
    component: fc3
    props: {region: cn-shanghai, functionName: f, runtime: python3.10, code: ./code, timeout: 9}
"""


def test_of_a_function_for_several_regions_the_servers_is_deployed(tmp_path: Path) -> None:
    found = read(tmp_path, TWO_REGIONS)
    assert [function.fields["timeout"] for function in found.functions] == [9]
    assert any("far is left out" in note.text and not note.error for note in found.notes)
    elsewhere = read(tmp_path, TWO_REGIONS.replace("cn-shanghai", "cn-beijing"))
    assert [function.fields["timeout"] for function in elsewhere.functions] == [3]


@pytest.mark.parametrize("region", ["cn-shanghai", "cn-hangzhou"])
def test_a_unit_that_names_a_function_and_is_not_deployed_takes_no_functions_place(tmp_path: Path, region: str) -> None:
    (tmp_path / "code").mkdir()
    template = (
        "edition: 3.0.0\nname: a\nresources:\n"
        "  f: {component: fc3, props: {region: cn-beijing, functionName: f, runtime: python3.10, code: ./code}}\n"
        f"  watch: {{component: fc3-alarm, props: {{region: {region}, functionName: f}}}}\n"
        "  again: {component: fc3-alarm, props: {region: cn-beijing, functionName: f}}\n"
    )
    found = read(tmp_path, template)
    assert [function.name for function in found.functions] == ["f"]
    assert not found.errors
    assert sum("fc3-alarm is not deployed by Sesame" in note.text for note in found.notes) == 2


def test_a_function_that_stands_twice_for_one_region_is_an_error(tmp_path: Path) -> None:
    found = read(tmp_path, TWO_REGIONS.replace("ap-southeast-1", "cn-shanghai"))
    assert any("stands here twice; the first is that of far" in note.text for note in found.errors)
    twice = ONE + ONE[ONE.index("  hello:") :].replace("  hello:", "  again:")
    assert any("'demo/f' stands here twice" in note.text for note in read(tmp_path, twice).errors)


def test_a_name_with_a_variable_that_only_s_resolves_is_an_error(tmp_path: Path) -> None:
    said = r"s.yaml:6:.*: the name of the service is svc-\$\{environment.name\}, with a variable that only `s` resolves"
    with pytest.raises(TemplateError, match=said):
        read(tmp_path, ONE.replace("name: demo,", 'name: "svc-${environment.name}",'))


def test_variables_that_lead_in_a_circle_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="variables lead from one to the next"):
        read(tmp_path, ONE.replace("region: cn-shanghai", "region: '${vars.region}'", 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("runtime: python3", "runtim: python3", "lacks the key 'runtime'"),
        ("${vars.region}", "${vars.regoin}", "there is no 'regoin'"),
        ("codeUri: ./code", "memorySize: 128", "lacks the key 'codeUri'"),
        ("services:", "servces:", "needs services"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    try:
        errors = [f"{note.place}: {note.text}" for note in read(tmp_path, ONE.replace(old, new)).errors]
    except TemplateError as error:
        errors = [str(error)]
    assert any(said in error and "s.yaml:" in error for error in errors), errors


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "runtime: python3",
            "runtime: python3\n        Timeout: 30",
            "the function 'f' has no key 'Timeout', which is left out as by the template's own tool; "
            "did you mean 'timeout'?",
        ),
        ("service: ${vars.service}", "service: {name: demo, owner: me}", "the service has no key 'owner'"),
        ("component: devsapp/fc", "component: devsapp/fc\n    propz: 1", "a service has no key 'propz'"),
        ("name: app", "name: app\ntriggers: []", "an s.yaml has no key 'triggers'"),
    ],
)
def test_keys_that_the_tool_does_not_read_are_noted_and_left_out(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = read(tmp_path, ONE.replace(old, new, 1))
    (note,) = found.notes
    assert note.text.startswith(said)
    assert not note.error
    assert "timeout" not in found.functions[0].fields


def test_commands_that_a_user_may_have_to_run_are_named(tmp_path: Path) -> None:
    actions = (
        "    actions:\n      pre-deploy:\n        - {run: npm install, path: ./code}\n        - {plugin: website-fc}\n"
        "        - run: make\n      post-deploy:\n        - run: echo done\n"
    )
    (note,) = read(tmp_path, ONE.replace("    props:", actions + "    props:")).notes
    assert note.text == (
        "hello: actions: commands of a template are not run; where the code needs them, run them before: "
        "`npm install` in ./code, `make`"
    )


def test_a_role_that_several_services_describe_is_made_once_with_the_policies_of_all(tmp_path: Path) -> None:
    own = "{name: own, statement: [{Effect: Allow, Action: 'fc:*', Resource: '*'}]}"
    role = f"{{name: fc-role, policies: [AliyunOSSFullAccess, {own}]}}"
    one = ONE.replace("description: of tests", f"role: {role}")
    other = one[one.index("  hello:") :].replace("  hello:", "  other:").replace("name: f\n", "name: g\n")
    third = other.replace("  other:", "  third:").replace("name: g\n", "name: h\n")
    third = third.replace(
        "service: ${vars.service}", "service: {name: t, role: {name: FC-Role, policies: AliyunLogFullAccess}}"
    )
    found = read(tmp_path, one + other + third)
    document = {"Version": "1", "Statement": [{"Effect": "Allow", "Action": "fc:*", "Resource": "*"}]}
    assert found.roles == (
        Role(
            name="fc-role",
            system_policies=("AliyunOSSFullAccess", "AliyunLogFullAccess"),
            documents=(document,),
            shared=True,
        ),
    )


def test_a_trigger_of_the_event_bridge_is_kept_as_the_template_says(tmp_path: Path) -> None:
    config = "{triggerEnable: true, eventRuleFilterPattern: '{}', eventSourceConfig: {eventSourceType: MNS}}"
    (trigger,) = read(
        tmp_path, ONE + f"      triggers:\n        - {{name: t, type: eventbridge, config: {config}}}\n"
    ).triggers
    assert trigger.fields["triggerType"] == "eventbridge"
    assert trigger.fields["triggerConfig"] == {
        "triggerEnable": True, "eventRuleFilterPattern": "{}", "eventSourceConfig": {"eventSourceType": "MNS"},
    }  # fmt: skip


def test_a_variable_of_the_environment_that_is_not_set_is_an_error(tmp_path: Path) -> None:
    (error,) = read(tmp_path, ONE.replace("${env(WHO, world)}", "${env('SESAME_NOT_SET')}")).errors
    assert error.text == "the environment variable SESAME_NOT_SET is not set: set it, or give a default"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("env('SESAME_NOT_SET', path('./code'))", "code"),
        ("env('SESAME_NOT_SET', env('SESAME_NOT_SET_EITHER', 'a, b'))", "a, b"),
        ('env("SESAME_NOT_SET", vars.region)', "cn-shanghai"),
        ("env('SESAME_SET', env('SESAME_NOT_SET'))", "set"),
        ("env(SESAME_NOT_SET, config('AccountID'))", "123"),
        ("file(path('words.txt'))", "words"),
        ("str(env('SESAME_NOT_SET', 7))", "7"),
        ("yaml(file('words.txt'))", "words"),
    ],
)
def test_arguments_may_be_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str, value: str) -> None:
    monkeypatch.setenv("SESAME_SET", "set")
    (tmp_path / "words.txt").write_text("words")
    found = read(tmp_path, ONE.replace('"${env(WHO, world)}"', json.dumps(f"${{{expression}}}")))
    assert not found.notes
    expected = str((tmp_path / value).resolve()) if value == "code" else value
    assert found.functions[0].fields["environmentVariables"]["WHO"] == expected


@pytest.mark.parametrize(
    ("expression", "value"),
    [("env('SESAME_NOT_SET', 512)", 512), ("env.init('SESAME_SET')", 256), ("yaml('512')", 512)],
)
def test_a_call_may_give_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str, value: int) -> None:
    monkeypatch.setenv("SESAME_SET", "256")
    found = read(tmp_path, THREE.replace("memorySize: 512", f'memorySize: "${{{expression}}}"'))
    assert (found.functions[0].fields["memorySize"], found.notes) == (value, ())


def test_a_key_of_the_other_component_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="lacks the key 'code'; codeUri is a key of the component fc"):
        read(tmp_path, THREE.replace("code: ./code", "codeUri: ./code"))


def test_text_is_no_number_of_fc3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESAME_SET", "256")
    text = THREE.replace("memorySize: 512", "memorySize: \"${env('SESAME_SET', 512)}\"")
    (error,) = read(tmp_path, text).errors
    assert error.text == (
        "found '256', expected a number: leave out the quotes, or write ${env.init('NAME')} where it is a variable's"
    )
    assert error.place.line == 4


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("description: '${vars}'", "found a mapping, expected text"),
        ("description: [a]", "found a list, expected text"),
        ("resourceGroupId: [a]", "found a list, expected text"),
        ("internetAccess: maybe", "found 'maybe', expected true or false"),
        ("timeout: [3]", "found a list, expected a whole number"),
        ("cpu: {a: 1}", "found a mapping, expected a number"),
        ("logConfig: {project: [a]}", "found a list, expected text"),
        ("nasConfig: {mountPoints: [{mountDir: {a: b}}]}", "found {a}|found a mapping, expected text"),
        ("instanceLifecycleConfig: {initializer: {timeout: x}}", "found 'x', expected a number"),
        ("gpuConfig: 5", "found 5, expected a mapping"),
        ("customRuntimeConfig: [a]", "found a list, expected a mapping"),
        ("sessionAffinityConfig: [a]", "found a list, expected a mapping, or its JSON text"),
        ("asyncInvokeConfig: {maxAsyncRetryAttempts: [1]}", "found a list, expected a whole number"),
        ("asyncInvokeConfig: {qualifier: [a]}", "found a list, expected text"),
        ("provisionConfig: {defaultTarget: a}", "found 'a', expected a number"),
        ("triggers: [{triggerName: t, triggerType: timer, triggerConfig: [a]}]", "found a list, expected a mapping"),
        (
            "triggers: [{triggerName: t, triggerType: timer, triggerConfig: {payload: [a]}}]",
            "found a list, expected text",
        ),
        (
            "triggers: [{triggerName: t, triggerType: oss, triggerConfig: {bucketName: [a]}}]",
            "found a list, expected text",
        ),
        ("customDomain: {domainName: [a]}", "found a list, expected text"),
        ("customDomain: {domainName: a.b, route: {path: [a]}}", "found a list, expected text"),
        ("customDomain: {domainName: a.b, route: all}", "found 'all', expected a mapping"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(tmp_path: Path, said: str, expected: str) -> None:
    text = THREE.replace("code: ./code}", f"code: ./code,\n      {said}}}") + "vars: {a: b}\n"
    try:
        errors = [(note.place, note.text) for note in read(tmp_path, text).errors]
    except TemplateError as error:
        errors = [(error.place, error.text)]
    ((place, found),) = errors
    assert place.line in (10, 11)
    assert place.column
    assert re.match(expected, found), found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("customDNS: [a]", "found a list, expected a mapping"),
        ("customRuntimeConfig: 5", "found 5, expected a mapping"),
        ("instanceLifecycleConfig: {preStop: {handler: [a]}}", "found a list, expected text"),
        ("instanceLifecycleConfig: {preStop: [a]}", "found a list, expected a mapping"),
    ],
)
def test_a_value_of_another_kind_is_refused_for_fc_too(tmp_path: Path, said: str, expected: str) -> None:
    (error,) = read(tmp_path, ONE.replace("codeUri: ./code", f"codeUri: ./code\n        {said}")).errors
    assert (error.place.line, error.text) == (18, expected)


def test_numbers_and_booleans_are_text_where_fc3_wants_text(tmp_path: Path) -> None:
    text = THREE.replace("code:", "description: 5, internetAccess: 'true', logConfig: {logstore: 7, project: }, code:")
    fields = read(tmp_path, text).functions[0].fields
    assert (fields["description"], fields["internetAccess"], fields["logConfig"]) == ("5", True, {"logstore": "7"})


@pytest.mark.parametrize("policies", ["5", "[5]", "[true]"])
def test_a_policy_of_a_role_is_a_name_or_has_statements(tmp_path: Path, policies: str) -> None:
    text = ONE.replace("{name: demo, ", f"{{name: demo, role: {{name: r, policies: {policies}}}, ")
    with pytest.raises(TemplateError, match=r"s\.yaml:\d+:\d+: found .*, expected the name of a policy"):
        read(tmp_path, text)


def test_unknown_keys_are_only_notes_wherever_they_stand(tmp_path: Path) -> None:
    text = ONE.replace("service: ${vars.service}", "service: {name: demo, vpcConfig: {role: '', vpcId: vpc-1}}")
    text += (
        "        instanceLifecycleConfig: {preStart: {}}\n"
        "        asyncConfiguration: {destination: {onStart: x}, retries: 3}\n"
        "      triggers:\n"
        "        - {name: t, type: timer, config: {cronExpression: '@every 5m', cron: x}}\n"
        "      customDomains:\n"
        "        - {domainName: a.b.c, protocol: HTTP, port: 80, routeConfigs: [{path: /, version: 1}]}\n"
    )
    found = read(tmp_path, text)
    unknown = [note.text.partition("has no key '")[2].partition("'")[0] for note in found.notes]
    assert sorted(filter(None, unknown)) == ["cron", "onStart", "port", "preStart", "retries", "role", "version"]
    assert not found.errors
    assert found.services[0].fields["vpcConfig"] == {"vpcId": "vpc-1"}


def test_calls_within_calls_are_bounded(tmp_path: Path) -> None:
    nested = "env('SESAME_NOT_SET', " * 40 + "'x'" + ")" * 40
    with pytest.raises(TemplateError, match="within each other more than 16 times"):
        read(tmp_path, ONE.replace('"${env(WHO, world)}"', json.dumps(f"${{{nested}}}")))


THREE = """
edition: 3.0.0
name: app
template: {base: {runtime: python3.10, memorySize: 512}}
resources:
  hello:
    component: fc3
    extend: {name: base}
    props: {region: cn-shanghai, functionName: f, handler: index.handler, code: ./code}
"""


def test_functions_of_fc3_belong_to_no_service(tmp_path: Path) -> None:
    (function,) = read(tmp_path, THREE).functions
    assert (function.label, function.runtime, function.fields["memorySize"]) == ("f", "python3.10", 512)
    (note,) = read(tmp_path, THREE.replace("handler:", "handlr:")).notes
    assert "did you mean 'handler'?" in note.text


@pytest.mark.parametrize("said", ["fc3", ""])
def test_a_component_from_a_folder_is_what_it_says_it_is(tmp_path: Path, said: str) -> None:
    """As all of the component's own examples name it; without a publish.yaml what it is given tells."""
    (tmp_path / "project").mkdir()
    if said:
        (tmp_path / "publish.yaml").write_text(f"Edition: 3.0.0\nType: Component\nName: {said}\n")
    component = "${env('SESAME_COMPONENT', path('../'))}"
    found = read(tmp_path / "project", THREE.replace("component: fc3", f"component: {component}"))
    assert ([each.label for each in found.functions], found.notes) == (["f"], ())


def test_a_component_from_a_folder_that_is_none_of_ours_is_noted(tmp_path: Path) -> None:
    (tmp_path / "publish.yaml").write_text("Type: Component\nName: oss\n")
    found = read(tmp_path, THREE.replace("component: fc3", "component: ./"))
    assert not found.functions
    assert [note.text for note in found.notes] == ["hello: the component ./ is not deployed by Sesame"]


def test_empty_props_deploy_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, "edition: 3.0.0\nresources:\n  a:\n    component: fc3\n    props: {}\n")
    assert not found.errors
    assert [note.text for note in found.notes] == ["a: its props are empty, so it deploys nothing"]


WHOLE = """
edition: 3.0.0
name: app
resources:
  hello:
    component: fc3
    props:
      region: cn-shanghai
      functionName: f
      runtime: python3.10
      code: ./code
      role: MyRole
      logConfig: auto
      nasConfig: auto
      environmentVariables: {A: 1}
      instanceLifecycleConfig: {initializer: {handler: index.begin, timeout: 5}}
      concurrencyConfig: {reservedConcurrency: 4}
      scalingConfig: {minInstances: 1}
      sessionAffinity: GENERATED_COOKIE
      sessionAffinityConfig: {sessionConcurrencyPerInstance: 1}
      asyncInvokeConfig: {asyncTask: true, maxAsyncRetryAttempts: 1}
      tags: [{key: team, value: a}]
      annotations: {x: y}
      triggers:
        - {triggerName: web, triggerType: http, triggerConfig: {authType: anonymous, methods: [GET]}}
        - {triggerName: t, triggerType: timer, triggerConfig: {cronExpression: '@every 5m'}}
      customDomain: {domainName: auto, protocol: HTTP, route: {path: /*}}
"""


def test_a_function_of_fc3_has_all_that_belongs_to_it(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    found = read(tmp_path, WHOLE)
    assert not found.errors
    (function,) = found.functions
    assert (function.service, function.name, function.label) == ("$f", "f", "f")
    assert function.fields["role"].endswith(":role/MyRole")
    assert function.fields["environmentVariables"] == {"A": "1"}
    assert function.fields["nasConfig"]["mountPoints"][0]["serverAddr"] == "auto.cn-shanghai.nas.aliyuncs.com:/f"
    assert function.fields["sessionAffinityConfig"] == '{"sessionConcurrencyPerInstance":1}'
    assert function.fields["tags"] == [{"Key": "team", "Value": "a"}]
    assert {(each.path, each.qualifier): each.fields for each in found.settings} == {
        ("concurrency", "LATEST"): {"reservedConcurrency": 4},
        ("scaling-config", "LATEST"): {"minInstances": 1},
        ("async-invoke-config", "LATEST"): {"asyncTask": True, "maxAsyncRetryAttempts": 1},
    }
    assert [(each.name, each.fields["triggerType"]) for each in found.triggers] == [("web", "http"), ("t", "timer")]
    (domain,) = found.domains
    assert domain.fields["routeConfig"]["routes"] == [{"path": "/*", "functionName": "f", "qualifier": "LATEST"}]
    assert any("annotations" in note.text for note in found.notes)


@pytest.mark.parametrize(("led_to", "name"), [("functionName: My_f", "my-f"), ("path: /", "front")])
def test_a_domain_of_fc3_by_itself_is_named_by_what_it_leads_to(tmp_path: Path, led_to: str, name: str) -> None:
    found = read(
        tmp_path,
        "edition: 3.0.0\nname: app\nresources:\n  front:\n    component: fc3-domain\n"
        f"    props: {{domainName: auto, routeConfig: {{routes: [{{{led_to}}}]}}}}\n",
    )
    assert not found.errors
    assert [each.name for each in found.domains] == [f"{name}.sesame.test"]


SHARED = """
edition: 3.0.0
name: app
resources:
  one:
    component: fc3
    props: {region: cn-shanghai, functionName: one, runtime: python3.10, code: ./code, customDomain: {domainName: a.test, protocol: HTTP, route: {path: /*}}}
  two:
    component: fc3
    props: {region: cn-shanghai, functionName: two, runtime: python3.10, code: ./code, customDomain: {domainName: a.test, protocol: HTTP, route: {path: /a, methods: [GET]}}}
"""  # noqa: E501


def test_functions_of_one_domain_share_it(tmp_path: Path) -> None:
    (domain,) = read(tmp_path, SHARED).domains
    assert domain.name == "a.test"
    assert domain.fields == {
        "protocol": "HTTP",
        "routeConfig": {
            "routes": [
                {"path": "/*", "functionName": "one", "qualifier": "LATEST"},
                {"path": "/a", "methods": ["GET"], "functionName": "two", "qualifier": "LATEST"},
            ]
        },
    }
    with pytest.raises(
        TemplateError, match=r"the path /\* of the domain a\.test leads to one already, and here to two"
    ):
        read(tmp_path, SHARED.replace("path: /a,", "path: /*,"))


def test_an_automatic_nas_is_a_directory_of_the_service_s_own(tmp_path: Path) -> None:
    found = read(tmp_path, ONE.replace("description: of tests}", "nasConfig: auto}"))
    points = [{"serverAddr": "auto.cn-shanghai.nas.aliyuncs.com:/demo", "mountDir": "/mnt/auto"}]
    role = "acs:ram::123:role/aliyunfcdefaultrole"
    config = {"userId": 10003, "groupId": 10003, "mountPoints": points}
    assert found.services[0].fields == {"nasConfig": config, "role": role}


def test_a_bucket_is_mounted_as_the_template_says(tmp_path: Path) -> None:
    point = {"bucketName": "b", "bucketPath": "/in", "endpoint": "e", "mountDir": "/mnt/b", "readOnly": True}
    found = read(tmp_path, ONE.replace("description: of tests}", f"ossMountConfig: {{mountPoints: [{point}]}}}}"))
    role = "acs:ram::123:role/aliyunfcdefaultrole"
    assert found.services[0].fields == {"ossMountConfig": {"mountPoints": [point]}, "role": role}
    assert not found.notes


def test_what_verifies_tokens_is_said_as_the_tool_says_it(tmp_path: Path) -> None:
    """Of fc3: objects for the places of tokens and of claims, which its own tool makes texts of."""
    (tmp_path / "code").mkdir()
    config = """{authType: jwt, methods: [GET], authConfig: {
          jwks: {keys: [{kty: oct, alg: HS256, k: secret}]},
          tokenLookup: [{readPosition: header, parameterName: Authorization, prefix: 'Bearer '},
            {readPosition: cookie, parameterName: t, prefix: no}, 'query:t'],
          claimPassBy: [{claimName: uid, mappingParameterName: user, mappingParameterPosition: header},
            {mappingParameterName: adsa, mappingParameterPosition: query}],
          blackList: [/black/*]}}"""
    found = read(tmp_path, WHOLE.replace("{authType: anonymous, methods: [GET]}", config))
    assert not found.errors
    assert found.triggers[0].fields["triggerConfig"]["authConfig"] == {
        "jwks": {"keys": [{"kty": "oct", "alg": "HS256", "k": "secret"}]},
        "tokenLookup": ["header:Authorization:Bearer ", "cookie:t", "query:t"],
        "claimPassBy": ["header:uid:user", "query::adsa"],
        "blackList": ["/black/*"],
    }


@pytest.mark.parametrize("last", ["''", "some", "[a, b]"])
def test_variables_that_name_others_many_times_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr(variables, "REPLACED_MAX", 10_000)
    of_before = "['{0}', '{0}', '{0}', '{0}']" if last == "[a, b]" else "'{0}{0}{0}{0}'"
    levels = "".join(f"  a{n}: {of_before.format(f'${{vars.a{n - 1}}}')}\n" for n in range(1, 12))
    text = f"edition: 1.0.0\nname: app\nvars:\n  a0: {last}\n{levels}services:\n"
    with pytest.raises(TemplateError, match="more than 10000 values"):
        read(tmp_path, text + "  f: {component: fc, props: {function: '${vars.a11}'}}\n")


def test_a_value_that_is_missing_is_told_before_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    text = ONE.replace("name: f", "name: ${env.NOT_SET}")
    found = read(tmp_path, text + "      triggers: [{name: t, type: timer, config: {cronExpression: '@every 5m'}}]\n")
    first, second = found.errors
    assert "the environment variable NOT_SET is not set" in first.text
    assert "the trigger 't' needs a service and a function beside it" in second.text


def test_a_component_that_is_nearly_ours_is_told(tmp_path: Path) -> None:
    (note,) = read(tmp_path, ONE.replace("devsapp/fc", "devsapp/fc33")).notes
    assert note.text.endswith("is not deployed by Sesame; did you mean 'fc3'?")
    (note,) = read(tmp_path, ONE.replace("devsapp/fc", "devsapp/website")).notes
    assert note.text.endswith("is not deployed by Sesame")


def test_a_file_extends_another(tmp_path: Path) -> None:
    base = ONE.replace("memorySize: 256", "memorySize: 512") + "template: {}\n"
    (tmp_path / "base.yaml").write_text(base)
    (function,) = read(tmp_path, "extend: ./base.yaml\nvars: {stage: other}\n").functions
    whole = read(tmp_path, base).functions[0]
    assert (function.name, function.fields) == (whole.name, whole.fields)
    (tmp_path / "more.yaml").write_text("extend: base.yaml\nname: more\n")
    assert read(tmp_path, "extend: more.yaml\n").functions[0].fields == whole.fields
    for text, said in (
        ("extend: none.yaml\n", "cannot be read"),
        ("extend: [a]\n", "expected the path of another s.yaml"),
        ("extend: s.yaml\n", "extend each other more than"),
    ):
        with pytest.raises(TemplateError, match=said):
            read(tmp_path, text)


@pytest.mark.parametrize(
    ("expression", "value"), [("vars['first.name']", "x"), ('vars["first.name"]', "x"), ("vars['first.name' ]", "x")]
)
def test_names_with_dots_stand_in_brackets(tmp_path: Path, expression: str, value: str) -> None:
    quoted = "'${" + expression.replace("'", "''") + "}'"
    text = ONE.replace('WHO: "${env(WHO, world)}"', f"WHO: {quoted}").replace("vars:\n", "vars:\n  first.name: x\n")
    assert text.count("first.name") == 2
    (function,) = read(tmp_path, text).functions
    assert function.fields["environmentVariables"]["WHO"] == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("resources['the.other'].props.functionName", "other"),
        ("resources['the.other']['props'].functionName", "other"),
        ("env('SESAME_NOT_SET', resources['the.other'].props.functionName)", "other"),
        ("env('SESAME_NOT_SET', vars['first.name'])", "x"),
        ("resources['the.other'].output.url", "${resources['the.other'].output.url}"),
        ("resources['the.other']['output'].url", "${resources['the.other']['output'].url}"),
    ],
)
def test_a_resource_with_dots_in_its_name_stands_in_brackets(tmp_path: Path, expression: str, value: str) -> None:
    quoted = "'${" + expression.replace("'", "''") + "}'"
    other = "{functionName: other, runtime: python3.10, code: ./code}"
    text = THREE.replace("handler:", f"environmentVariables: {{WHO: {quoted}}}, handler:") + (
        f"  the.other: {{component: fc3, props: {other}}}\nvars: {{first.name: x}}\n"
    )
    assert read(tmp_path, text).functions[0].fields["environmentVariables"]["WHO"] == value


def test_json_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    deep = "[" * 5000 + "]" * 5000
    with pytest.raises(TemplateError, match=r"\$\{json"):
        read(tmp_path, ONE.replace('WHO: "${env(WHO, world)}"', f"WHO: \"${{json('{deep}')}}\""))


def test_a_variable_of_the_environment_that_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environb, b"WHO", b"a\xff")
    with pytest.raises(TemplateError, match=r"s\.yaml:\d+:\d+: found text that is not valid Unicode"):
        read(tmp_path, ONE)
