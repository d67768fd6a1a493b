"""Tokens: the official SDKs of 2021-04-06 and 2023-03-30 make triggers and a domain that verify them, and functions
get their claims.
"""

import base64
import json
import time
import uuid
from typing import Any

import pytest
import requests
from alibabacloud_fc20230330 import models as models_2023
from alibabacloud_fc20230330.client import Client
from alibabacloud_fc_open20210406 import models as models_2021
from alibabacloud_tea_openapi.utils_models import Config
from tests.journeys.conftest import KEY_ID, SECRET, Sesame
from tests.support import zips
from tests.support.interpreters import INTERPRETERS
from tests.support.sdk_2021 import Client2021
from tests.support.tokens import ec, jwks, public, rsa, token

RUNTIME = next((each for each in ("python3.10", "python3.12") if each in INTERPRETERS), "python3.12")
WSGI = b"""
def handler(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    return ["|".join([environ.get("HTTP_X_USER", ""), environ["QUERY_STRING"], body]).encode()]
"""
EVENT = b"""
import json


def handler(event, context):
    asked = json.loads(event)
    return {"statusCode": 200, "body": [asked["headers"].get("X-User"), asked["queryParameters"]]}
"""
LOOKUP = ["header:Authorization:Bearer ", "query:token", "form:token"]


def _code(files: dict[str, bytes | str]) -> str:
    return base64.b64encode(zips.zip_of(files)).decode()


def claims() -> dict[str, Any]:
    return {"uid": "u-1", "role": "admin", "exp": int(time.time()) + 600}


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_a_trigger_of_2021(sesame: Sesame, alg: str) -> None:
    key: Any = rsa() if alg == "RS256" else ec()
    sdk, service = Client2021(sesame.endpoint, KEY_ID, SECRET), f"s{uuid.uuid4().hex[:8]}"
    sdk.call("CreateService", serviceName=service)
    code = {"zipFile": _code({"index.py": WSGI})}
    sdk.call("CreateFunction", service, functionName="f", handler="index.handler", runtime=RUNTIME, code=code)
    auth = models_2021.JWTAuthConfig(
        jwks=json.dumps(jwks(public(key, alg, kid="k"))),
        token_lookup=LOOKUP,
        claim_pass_by=["header:uid:X-User", "query:role:role"],
        white_list="/public/*",
    )
    config = models_2021.HTTPTriggerConfig(
        auth_type="jwt", auth_config=json.dumps(auth.to_map()), methods=["GET", "POST"]
    )
    sent = json.dumps(config.to_map())
    sdk.call("CreateTrigger", service, "f", triggerName="web", triggerType="http", triggerConfig=sent)
    assert json.loads(sdk.call("GetTrigger", service, "f", "web").data["triggerConfig"]) == config.to_map()
    url = f"{sesame.endpoint}/2016-08-15/proxy/{service}/f"
    good = {"Authorization": f"Bearer {token(key, claims(), alg, kid='k')}", "X-User": "root"}
    answer = requests.post(f"{url}/a?role=none&x=1", headers=good, data=b"body", timeout=60)
    assert (answer.status_code, answer.text) == (200, "u-1|x=1&role=admin|body")
    text = good["Authorization"].removeprefix("Bearer ")
    answer = requests.post(f"{url}/a", data={"token": text, "a": "b"}, timeout=60)
    assert (answer.status_code, answer.text) == (200, f"u-1|role=admin|token={text}&a=b")
    assert requests.get(f"{url}/public/a?role=admin", headers={"X-User": "root"}, timeout=60).text == "||"
    forged = token(key, claims() | {"exp": int(time.time()) - 1}, alg, kid="k")
    for headers in ({}, {"Authorization": f"Bearer {forged}"}, {"Authorization": good["Authorization"] + "A"}):
        refused = requests.get(f"{url}/a", headers=headers, timeout=60)
        assert (refused.status_code, refused.json()["ErrorCode"]) == (403, "AccessDenied")
    sdk.call("DeleteTrigger", service, "f", "web")
    sdk.call("DeleteFunction", service, "f")
    sdk.call("DeleteService", service)


def test_a_trigger_and_a_domain_of_2023(sesame: Sesame) -> None:
    host = sesame.endpoint.removeprefix("http://")
    sdk = Client(Config(access_key_id=KEY_ID, access_key_secret=SECRET, endpoint=host, protocol="http"))
    name = f"f{uuid.uuid4().hex[:8]}"
    code = models_2023.InputCodeLocation(zip_file=_code({"index.py": EVENT}))
    function = models_2023.CreateFunctionInput(function_name=name, handler="index.handler", runtime=RUNTIME, code=code)
    sdk.create_function(models_2023.CreateFunctionRequest(body=function))
    # As the example of the SDK spells it.
    auth = {
        "JWKS": jwks(public(rsa(), "RS256")),
        "TokenLookup": "header:Authorization:Bearer,cookie:AuthorizationCookie",
        "ClaimPassBy": "query:uid:uid,header:uid:X-User",
    }
    config = {"authType": "jwt", "methods": ["GET"], "authConfig": json.dumps(auth)}
    trigger = models_2023.CreateTriggerInput(
        trigger_name="web", trigger_type="http", qualifier="LATEST", trigger_config=json.dumps(config)
    )
    sdk.create_trigger(name, models_2023.CreateTriggerRequest(body=trigger))
    text = token(rsa(), claims(), "RS256")
    for place in ({"Authorization": f"Bearer {text}"}, {"Cookie": f"AuthorizationCookie={text}"}):
        headers = {"Host": f"{name}.localhost", "x-user": "root", **place}
        answer = requests.get(f"{sesame.endpoint}/?uid=root", headers=headers, timeout=60)
        assert answer.json() == ["u-1", {"uid": "u-1"}]
    assert requests.get(sesame.endpoint, headers={"Host": f"{name}.localhost"}, timeout=60).status_code == 403
    sdk.delete_trigger(name, "web")
    domain = f"{name}.example.com"
    routes = models_2023.RouteConfig(routes=[models_2023.PathConfig(path="/*", function_name=name)])
    made = models_2023.CreateCustomDomainInput(
        domain_name=domain,
        protocol="HTTP",
        route_config=routes,
        auth_config=models_2023.AuthConfig(auth_type="jwt", auth_info=json.dumps(auth)),
    )
    sdk.create_custom_domain(models_2023.CreateCustomDomainRequest(body=made))
    headers = {"Host": domain}
    assert requests.get(sesame.endpoint, headers=headers, timeout=60).status_code == 403
    answer = requests.get(sesame.endpoint, headers=headers | {"Authorization": f"Bearer {text}"}, timeout=60)
    assert answer.json() == ["u-1", {"uid": "u-1"}]
    sdk.delete_custom_domain(domain)
    sdk.delete_function(name)
