"""`sesame deploy`, `plan`, `list`, `show` and `remove` of an s.yaml of fc3, at an endpoint with a fake engine."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from tests.deploy.test_serverless_devs import WHOLE
from tests.fc.conftest import ACCOUNT_ID, CommandLine, Endpoint
from tests.support.sdk import Client as OldClient
from tests.support.sdk_2023 import Client
from tests.support.tokens import ec, jwks, public

from sesame.cli.deploy import deploy, plan, remove
from sesame.cli.listing import list_, show
from sesame.http.server import HttpServer

COMMANDS = click.Group(commands=[deploy, plan, remove, list_, show])


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / "app" / "code").mkdir(parents=True)
    (tmp_path / "app" / "code" / "index.py").write_text("def handler(event, context):\n    return event\n")
    (tmp_path / "app" / "s.yaml").write_text(WHOLE)
    return str(tmp_path / "app")


def write(project: str, text: str) -> None:
    Path(project, "s.yaml").write_text(text)


async def test_an_s_yaml_of_fc3_is_deployed_once_and_taken_away(
    endpoint: Endpoint, client: OldClient, server: HttpServer, project: str
) -> None:
    command, sdk = CommandLine(COMMANDS, server), Client(server)
    port = server.url.rpartition(":")[2]
    made = await command("deploy", project, "--no-build")
    assert made[:2] == ["+ function f", "+ trigger f/web (http)"]
    found = await sdk("get_function", "f")
    assert (found["environmentVariables"], found["tags"]) == ({"A": "1"}, [{"Key": "team", "Value": "a"}])
    assert found["instanceLifecycleConfig"]["initializer"]["timeout"] == 5
    assert (await sdk("get_concurrency_config", "f"))["reservedConcurrency"] == 4
    assert (await sdk("get_async_invoke_config", "f"))["asyncTask"] is True
    assert (await sdk("get_trigger", "f", "t"))["triggerType"] == "timer"
    assert (await sdk("get_custom_domain", "f.sesame.test"))["routeConfig"]["routes"][0]["functionName"] == "f"
    assert (await client("list_services")).data == {"services": []}
    again = await command("deploy", project, "--no-build")
    assert {line[0] for line in again if not line.startswith("Call it")} == {"="}
    shown = await command("list")
    assert shown[0].startswith("f  python3.10  index.handler")
    assert any(f"http://f.localhost:{port}/" in line for line in shown)
    document = json.loads("\n".join(await command("show", "f", "--json")))
    assert document["function"]["functionName"] == "f"
    await sdk("publish_function_version", "f", body={})
    await command("remove", project)
    assert (await sdk("list_functions"))["functions"] == []
    assert (await sdk("list_custom_domains"))["customDomains"] == []


async def test_what_verifies_tokens_is_deployed_once(
    endpoint: Endpoint, client: OldClient, server: HttpServer, project: str
) -> None:
    command, sdk = CommandLine(COMMANDS, server), Client(server)
    auth: dict[str, Any] = {
        "jwks": jwks(public(ec(), "ES256")),
        "tokenLookup": [{"readPosition": "header", "parameterName": "Authorization", "prefix": "Bearer "}],
        "claimPassBy": [{"claimName": "uid", "mappingParameterName": "user", "mappingParameterPosition": "header"}],
        "whiteList": ["/public/*"],
    }
    config = {"authType": "jwt", "methods": ["GET"], "authConfig": auth}
    write(project, WHOLE.replace("{authType: anonymous, methods: [GET]}", json.dumps(config)))
    assert "+ trigger f/web (http)" in await command("deploy", project, "--no-build")
    kept = json.loads((await sdk("get_trigger", "f", "web"))["triggerConfig"])["authConfig"]
    assert (kept["tokenLookup"], kept["claimPassBy"]) == (["header:Authorization:Bearer "], ["header:uid:user"])
    assert "= trigger f/web (http)" in await command("plan", project, "--no-build")
    assert any("jwt" in line for line in await command("show", "f"))
    auth["whiteList"] = ["/open/*"]
    write(project, WHOLE.replace("{authType: anonymous, methods: [GET]}", json.dumps(config)))
    changed = [line for line in await command("deploy", project, "--no-build") if line.startswith("~")]
    assert changed == ['~ trigger f/web (http)  triggerConfig.authConfig.whiteList: ["/public/*"] → ["/open/*"]']
    # Keys may be secrets.
    auth["jwks"] = jwks({"kty": "oct", "alg": "HS256", "k": "A" * 43})
    write(project, WHOLE.replace("{authType: anonymous, methods: [GET]}", json.dumps(config)))
    assert "~ trigger f/web (http)  triggerConfig.authConfig.jwks.keys" in await command(
        "deploy", project, "--no-build"
    )


APPLICATION = """
edition: 3.0.0
name: NAME
resources:
  it:
    component: fc3
    props: {region: '{{ region }}', functionName: NAME, runtime: python3.12, handler: index.handler, code: ./code,
            role: '{{ roleArn }}'}
"""
PUBLISHED = """
Name: NAME
Parameters:
  properties:
    roleArn: {type: string, default: '', x-role: {name: fcossrole, authorities: POLICIES}}
"""
OF_ACCOUNT = ("--no-build", "--account-id", ACCOUNT_ID)


async def test_applications_share_a_role_that_they_describe_alike(
    endpoint: Endpoint, client: OldClient, server: HttpServer, tmp_path: Path
) -> None:
    command = CommandLine(COMMANDS, server)
    folders = {}
    for name, policies in (("one", "[AliyunOSSFullAccess]"), ("two", "[AliyunLogFullAccess]")):
        folder = tmp_path / name
        (folder / "src" / "code").mkdir(parents=True)
        (folder / "src" / "code" / "index.py").write_text("def handler(event, context):\n    return event\n")
        (folder / "src" / "s.yaml").write_text(APPLICATION.replace("NAME", name))
        (folder / "publish.yaml").write_text(PUBLISHED.replace("NAME", name).replace("POLICIES", policies))
        folders[name] = str(folder)
    assert (await command("deploy", folders["one"], *OF_ACCOUNT))[0] == "+ role fcossrole"
    assert (await command("deploy", folders["two"], *OF_ACCOUNT))[0] == "± role fcossrole  its policies differ"
    # The first has its rights still, and nothing is taken from the second by deploying it again.
    assert (await command("deploy", folders["one"], *OF_ACCOUNT))[0] == "= role fcossrole"
    removed = await command("remove", folders["one"], *OF_ACCOUNT[1:])
    assert removed[-1] == "= role fcossrole  functions of others act in it: two"
    assert (await command("remove", folders["two"], *OF_ACCOUNT[1:]))[-1] == "- role fcossrole"


async def test_a_function_that_only_a_domain_leads_to_is_called_by_it(
    endpoint: Endpoint, client: OldClient, server: HttpServer, project: str
) -> None:
    write(
        project,
        "edition: 3.0.0\nname: a\nresources:\n"
        "  f: {component: fc3, props: {functionName: f, runtime: python3.10, code: ./code}}\n"
        "  d: {component: fc3-domain, props: {domainName: auto, protocol: HTTP, "
        "routeConfig: {routes: [{path: '/*', functionName: f}]}}}\n",
    )
    made = await CommandLine(COMMANDS, server).run("deploy", project, "--no-build")
    assert f"Call it: curl -H 'Host: f.sesame.test' {server.url}/\n" in made.stderr
