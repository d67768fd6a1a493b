"""A function without a service, as the component fc3 of Serverless Devs deploys and calls it: its order of calls
(reference/api.md §7.2), the official SDK, a real instance.
"""

import io
import json
import uuid
from typing import Any

import oss2
import pytest
import requests
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import DaraException
from darabonba.runtime import RuntimeOptions
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, SECRET, Sesame
from tests.support import zips
from tests.support.interpreters import INTERPRETERS
from tests.support.official_sdks import ask_by_fc2

RUNTIME = next((each for each in ("python3.10", "python3.12") if each in INTERPRETERS), "python3.12")
CODE = zips.zip_of(
    {
        "index.py": "import json\nbegun = []\n"
        "def begin(context):\n    begun.append(1)\n"
        "def handler(event, context):\n"
        "    asked = json.loads(event)\n"
        "    if 'requestContext' not in asked:\n"
        "        return [len(begun), context.function.name, getattr(getattr(context, 'service', None), 'name', None)]\n"
        "    return {'statusCode': 201, 'headers': {'X-Own': 'v'}, 'body': asked['rawPath']}\n"
    }
)


@pytest.fixture
def sdk(sesame: Sesame) -> Client:
    host = sesame.endpoint.removeprefix("http://")
    return Client(Config(access_key_id=KEY_ID, access_key_secret=SECRET, endpoint=host, protocol="http"))


def absent(call: Any, *arguments: Any) -> str:
    with pytest.raises(DaraException) as caught:
        call(*arguments, {}, RuntimeOptions(autoretry=False))
    error: Any = caught.value
    assert error.status_code == 404
    return str(error.code)


def test_the_order_of_calls_of_the_component(sesame: Sesame, sdk: Client, client: Any) -> None:
    name = f"f{uuid.uuid4().hex[:8]}"
    latest = {"qualifier": "LATEST"}
    assert absent(sdk.get_function_with_options, name, models.GetFunctionRequest()) == "FunctionNotFound"
    assert absent(sdk.get_trigger_with_options, name, "web") == "FunctionNotFound"
    absent(sdk.get_async_invoke_config_with_options, name, models.GetAsyncInvokeConfigRequest(**latest))
    absent(sdk.list_vpc_bindings_with_options, name)
    absent(sdk.get_scaling_config_with_options, name, models.GetScalingConfigRequest(**latest))
    absent(sdk.get_concurrency_config_with_options, name)
    loan = ask_by_fc2(client, "GET", "/2016-08-15/tempBucketToken").json()
    keys = loan["credentials"]
    auth = oss2.StsAuth(keys["AccessKeyId"], keys["AccessKeySecret"], keys["SecurityToken"])
    oss = json.loads((sesame.data_dir / "endpoints.json").read_text())["oss"]
    uploaded = f"{ACCOUNT_ID}/{loan['objectName']}"
    oss2.Bucket(auth, oss, loan["ossBucket"]).put_object(uploaded, CODE)
    body = {
        "code": {"ossBucketName": loan["ossBucket"], "ossObjectName": uploaded}, "description": "",
        "handler": "index.handler", "environmentVariables": {}, "functionName": name, "instanceIsolationMode": "SHARE",
        "internetAccess": True,
        "layers": [], "memorySize": 512, "runtime": RUNTIME, "sessionAffinity": "NONE", "timeout": 60,
        "logConfig": {
            "enableInstanceMetrics": False, "enableRequestMetrics": False, "logBeginRule": "None", "logstore": "",
            "project": "",
        },
        "nasConfig": {"groupId": 0, "userId": 0, "mountPoints": []}, "ossMountConfig": {"mountPoints": []},
        "tracingConfig": {}, "vpcConfig": {"securityGroupId": "", "vSwitchIds": [], "vpcId": ""},
        "instanceLifecycleConfig": {"initializer": {"handler": "index.begin", "timeout": 9}},
    }  # fmt: skip
    made = sdk.create_function(models.CreateFunctionRequest(body=models.CreateFunctionInput().from_map(body))).body
    assert (made.function_name, made.state) == (name, "Active")
    config = json.dumps({"authType": "anonymous", "methods": ["GET"], "disableURLInternet": False})
    trigger = models.CreateTriggerInput(trigger_name="web", trigger_type="http", trigger_config=config)
    sdk.create_trigger(name, models.CreateTriggerRequest(body=trigger))
    assert sdk.get_function(name, models.GetFunctionRequest()).body.code_size == len(CODE)
    url = sdk.get_trigger(name, "web").body.http_trigger.url_internet
    called = sdk.invoke_function(name, models.InvokeFunctionRequest(body=io.BytesIO(b"{}")))
    assert json.loads(b"".join(called.body)) == [1, name, None]
    host = url.removeprefix("http://").rstrip("/")
    answer = requests.get(f"{sesame.endpoint}/a%20b", headers={"Host": host}, timeout=30)
    assert (answer.status_code, answer.text, answer.headers["X-Own"]) == (201, "/a%20b", "v")
    refused = models.DisableFunctionInvocationRequest(reason="over")
    sdk.disable_function_invocation(name, refused)
    assert requests.get(f"{sesame.endpoint}/", headers={"Host": host}, timeout=30).status_code == 403
    sdk.enable_function_invocation(name)
    none = models.PutConcurrencyConfigRequest(body=models.PutConcurrencyInput(reserved_concurrency=0))
    sdk.put_concurrency_config(name, none)
    with pytest.raises(DaraException) as throttled:
        sdk.invoke_function(name, models.InvokeFunctionRequest(body=io.BytesIO(b"{}")))
    assert (throttled.value.status_code, throttled.value.code) == (429, "ResourceExhausted")
    sdk.delete_trigger(name, "web")
    sdk.delete_function(name)
    absent(sdk.get_function_with_options, name, models.GetFunctionRequest())
