"""Requests made from the API's own description: no 5xx, no hang, and nothing that cannot be listed and deleted.

What schemathesis makes of `/openapi.json` is signed and sent to a real server; most of the time the names in its paths
are those of things that are there, and the names in its bodies are names.
"""

import base64
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.journeys.conftest import ACCOUNT_ID, REGION, Sesame, running
from tests.support.signer import TIMEOUT_S

FIRST = "2016-08-15"
# What versions share is tried through the first.
EXAMPLES, EXAMPLES_LATER, EXAMPLES_LONG = 8, 1, 250
ANSWER_WITHIN_S = 30.0
SEED = 20161126
ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}"
TIMER_TRIGGER = {"triggerType": "timer", "triggerConfig": {"cronExpression": "@every 5m"}}
# As versions after the first spell it.
TIMER_CONFIG_TEXT = json.dumps(TIMER_TRIGGER["triggerConfig"])
HTTP_TRIGGER = {"triggerType": "http", "triggerConfig": {"authType": "anonymous", "methods": ["GET"]}}
# What a schema cannot say: these refer to something that must exist or hold together.
REFERRING = {
    "role", "logConfig", "nasConfig", "tracingConfig", "layers", "environmentVariables", "invocationRole", "qualifier",
    "scheduledActions", "targetTrackingPolicies",
}  # fmt: skip
# These need a state in which the rest would have nothing to work on.
REFUSED = {
    "DELETE /2016-08-15/services/{service}",  # it has functions
    "DELETE /2016-08-15/services/{service}/functions/{function}",  # it has triggers
    "POST /2016-08-15/services/{service}/versions",  # nothing has changed since the last one
    # It has ended.
    "PUT /2016-08-15/services/{service}/functions/{function}/stateful-async-invocations/{invocation}",
    # Its trigger is one for HTTP, which requests call.
    "POST /sesame/services/{service}/functions/{function}/triggers/{trigger}/fire",
    "GET /sesame/dead-letters/{letter}",  # there is none
    "GET /sesame/recordings/{request}",  # nor a recording
    "POST /sesame/recordings/{request}/replay",
    "POST /sesame/dead-letters/{letter}/replay",
    "PUT /sesame/services/{service}/functions/{function}/async-invocations/{invocation}",
    "DELETE /2021-04-06/services/{service}",
    "DELETE /2021-04-06/services/{service}/functions/{function}",
    "POST /2021-04-06/services/{service}/versions",
    "PUT /2021-04-06/services/{service}/functions/{function}/stateful-async-invocations/{invocation}",
    "POST /2021-04-06/gpuInstances",  # there are none
    "DELETE /2021-04-06/gpuInstances/{instance}",
}
# Under which names a version's errors have their code and their text.
ERROR_NAMES = {
    FIRST: ("ErrorCode", "ErrorMessage"),
    "2021-04-06": ("errorCode", "errorMessage"),
    "2023-03-30": ("Code", "Message"),
}
# What a server has of itself, whatever anybody does; the last two count versions, whose numbers are not given again.
# An upload of code that is not used stays until it expires, and the bucket of uploads for good.
ITS_OWN = {
    "account", "access_key", "role", "policy", "seed", "master_key", "version_counter", "layer", "code_upload",
}  # fmt: skip
CODE_BUCKET = "fc-code-"


def archive() -> str:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as code:
        code.writestr("index.py", "def my_handler(event, context):\n    return b'ok'\n")
    return base64.b64encode(held.getvalue()).decode()


CODE = {"zipFile": archive()}
FUNCTION = {"functionName": "f", "runtime": "python3", "handler": "index.my_handler", "code": CODE}
# Makes what most paths name, and says how it is called.
Furnish = Callable[[Sesame], dict[str, str]]
names = st.from_regex(r"[a-z][a-z0-9]{0,3}", fullmatch=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("described"), "--max-instances", "2", runtime="python3") as made:
        yield made


def send(server: Sesame, method: str, path: str, body: Any = None) -> requests.Response:
    return server.api()(method, path, b"" if body is None else json.dumps(body))


def furnish(server: Sesame) -> dict[str, str]:
    """Makes the things that most paths name, as an example may have deleted them; answers with their names.

    The function is made anew: it may have become one that cannot be called.
    """
    if send(server, "GET", "/services/there/functions/f").status_code == 200:
        delete_function(server, "/services/there/functions/f")
    for path, body in (
        ("/services", {"serviceName": "there"}),
        ("/services/there/functions", FUNCTION),
        ("/services/there/versions", {}),
        ("/services/there/functions/f/triggers", HTTP_TRIGGER | {"triggerName": "t"}),
        ("/custom-domains", {"domainName": "there.example.com", "protocol": "HTTP"}),
        ("/layers/shared/versions", {"compatibleRuntime": ["python3"], "code": CODE}),
    ):  # fmt: skip
        answer = send(server, "POST", path, body)
        assert answer.status_code < 500, (path, answer.text)
    send(server, "PUT", "/services/there/functions/f/async-invoke-config", {})
    send(server, "POST", "/services/there/binding", {"vpcId": "vpc-1"})
    source = "/2021-04-06/services/there/functions/f/event-sources"
    assert server.api().whole("POST", source, json.dumps({"sourceArn": "source"})).status_code == 200
    waiting = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": "job", "x-fc-async-delay": "3600"}
    assert server.api()("POST", "/services/there/functions/f/invocations", b"", waiting).status_code == 202
    send(server, "PUT", "/services/there/functions/f/stateful-async-invocations/job")
    version = send(server, "GET", "/services/there/versions").json()["versions"][0]["versionId"]
    send(server, "POST", "/services/there/aliases", {"aliasName": "live", "versionId": version})
    layer = str(send(server, "GET", "/layers/shared/versions").json()["layers"][-1]["version"])
    return {
        "service": "there",
        "function": "f",
        "alias": "live",
        "trigger": "t",
        "invocation": "job",
        "layer": "shared",
        "domain": "there.example.com",
        "arn": f"{ARN}:layers/shared/versions/{layer}",
        "vpc": "vpc-1",
        "source": "source",
        "versionId": version,
        "layerVersion": layer,
    }


@dataclass(frozen=True)
class Requests:
    """Where they are sent, over one connection, the names of the things that are there, and the API version.

    `fitting` has what items of the query and fields of bodies must be to refer to these things.
    """

    server: Sesame
    session: requests.Session
    there: dict[str, str]
    version: str
    fitting: Mapping[str, Any]


def sent_as_described(to: Requests, case: schemathesis.Case) -> requests.Response:
    made = case.as_transport_kwargs(base_url=to.server.endpoint)
    made["headers"] = {name: text for name, text in made["headers"].items() if name.lower() != "authorization"}
    fields = ("method", "url", "headers", "params", "json", "data", "cookies")
    prepared = requests.Request(**{name: made[name] for name in fields if name in made}).prepare()
    signed = to.server.api().signed(
        prepared.method or "",
        urlsplit(prepared.url or "").path,
        {name: str(text) for name, text in prepared.headers.items()},
    )
    prepared.headers.clear()
    prepared.headers.update(signed)
    return to.session.send(prepared, timeout=ANSWER_WITHIN_S, allow_redirects=False)


def sensible(case: schemathesis.Case, to: Requests, name: str) -> None:
    """What exists in the path, and in the body code that is code and nothing that refers to what is not there."""
    there = to.there
    number = there["layerVersion" if "layer" in case.path_parameters else "versionId"]
    known = there | {"version": number}
    case.path_parameters = {key: quote(known.get(key, text), safe="") for key, text in case.path_parameters.items()}
    for header in ("If-Match", "X-Fc-Code-Checksum"):
        case.headers.pop(header, None)
    fitting: dict[str, Any] = TIMER_TRIGGER | {
        "code": CODE,
        "versionId": there["versionId"],
        "resourceArn": f"{ARN}:services/there",
        "domainName": f"{name}.io",
        "qualifier": "LATEST",
        **to.fitting,
    }
    if to.version != FIRST:
        fitting["triggerConfig"] = TIMER_CONFIG_TEXT
    case.query = {key: in_query(fitting[key]) if key in fitting else value for key, value in case.query.items()}
    if isinstance(case.body, dict):
        case.body = {key: in_body(fitting.get(key), value) for key, value in case.body.items() if key not in REFERRING}


def in_query(fits: Any) -> Any:
    """Lists are JSON text there."""
    return json.dumps(fits) if isinstance(fits, list) else fits


def in_body(fits: Any, value: Any) -> Any:
    """What fits in place of `value`; of a list one item where the body has one."""
    if fits is None:
        return value
    return fits[0] if isinstance(fits, list) and not isinstance(value, list) else fits


def try_all(
    server: Sesame,
    version: str,
    examples: int,
    furnish: Furnish = furnish,
    fitting: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, int]:
    """How many of each operation's requests were not refused. `furnish` makes what their paths name."""
    document = requests.get(f"{server.endpoint}/openapi.json?version={version}", timeout=TIMEOUT_S).json()
    described: Iterable[Any] = schemathesis.openapi.from_dict(document).get_all_operations()
    operations = [found.ok() for found in described]
    # The one left out speaks websocket: test_exec.py.
    taken: dict[str, int] = {}
    there = furnish(server)
    with requests.Session() as session:
        for operation in operations:
            if operation.path.endswith("/exec"):
                continue
            taken[operation.label] = try_one(Requests(server, session, there, version, fitting), operation, examples)
            # Requests that only read, or were refused, have deleted nothing.
            if operation.method.upper() != "GET" and taken[operation.label]:
                there = furnish(server)
    return taken


def try_one(to: Requests, operation: schemathesis.APIOperation, examples: int) -> int:
    taken = 0

    @seed(SEED)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(), st.integers(0, 3), names)
    def try_it(case: schemathesis.Case, chance: int, name: str) -> None:
        nonlocal taken
        if chance:
            sensible(case, to, name)
        answer = sent_as_described(to, case)
        taken += answer.status_code < 400
        assert answer.status_code < 500, f"{operation.label}: {answer.status_code} {answer.text}"
        if answer.status_code >= 400:
            failure = answer.json()
            assert all(failure[name] for name in ERROR_NAMES[to.version]), failure

    try_it()
    return taken


def listed(server: Sesame, path: str, key: str) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    token: Any = ""
    while token is not None:
        mark = f"&nextToken={quote(str(token), safe='')}" if token else ""
        answer = send(server, "GET", f"{path}?limit=100{mark}")
        assert answer.status_code == 200, (path, answer.text)
        page = answer.json()
        found += page[key] or []
        token = page.get("nextToken") or None
    return found


def delete(server: Sesame, path: str) -> None:
    answer = send(server, "DELETE", path)
    assert answer.status_code in (200, 204), (path, answer.text)


def delete_function(server: Sesame, path: str) -> None:
    for trigger in listed(server, f"{path}/triggers", "triggers"):
        delete(server, f"{path}/triggers/{trigger['triggerName']}")
    delete(server, path)


def delete_all_that_is_listed(server: Sesame) -> None:
    for domain in listed(server, "/custom-domains", "customDomains"):
        delete(server, f"/custom-domains/{domain['domainName']}")
    for layer in listed(server, "/layers", "layers"):
        versions = f"/layers/{layer['layerName']}/versions"
        while (page := send(server, "GET", f"{versions}?limit=100")).status_code == 200:
            for version in page.json()["layers"]:
                delete(server, f"{versions}/{version['version']}")
    # These may be of functions that are not there yet.
    for config in listed(server, "/on-demand-configs", "configs"):
        delete(server, f"/{config['resource']}/on-demand-config")
    for service in listed(server, "/services", "services"):
        of_it = f"/services/{service['serviceName']}"
        for binding in send(server, "GET", f"{of_it}/bindings").json()["vpcIds"] or []:
            answer = send(server, "DELETE", f"{of_it}/binding", {"vpcId": binding})
            assert answer.status_code == 200, answer.text
        for alias in listed(server, f"{of_it}/aliases", "aliases"):
            delete(server, f"{of_it}/aliases/{alias['aliasName']}")
        for version in listed(server, f"{of_it}/versions", "versions"):
            delete(server, f"{of_it}/versions/{version['versionId']}")
        for function in listed(server, f"{of_it}/functions", "functions"):
            delete_function(server, f"{of_it}/functions/{function['functionName']}")
        delete(server, of_it)


def kept(server: Sesame) -> list[tuple[str, str, str]]:
    """What the catalog's file still holds that somebody made."""
    with closing(sqlite3.connect(f"file:{server.data_dir / 'sesame.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT kind, parent, name FROM records").fetchall()
    return [(kind, *path) for kind, *path in rows if kind not in ITS_OWN and not path[1].startswith(CODE_BUCKET)]


@pytest.mark.parametrize(
    ("version", "examples"),
    [
        (FIRST, 1),
        pytest.param(FIRST, EXAMPLES, marks=pytest.mark.thorough),
        pytest.param("2021-04-06", EXAMPLES_LATER, marks=pytest.mark.thorough),
        pytest.param(FIRST, EXAMPLES_LONG, marks=pytest.mark.torture),
        pytest.param("2021-04-06", EXAMPLES_LONG, marks=pytest.mark.torture),
    ],
)
def test_what_the_description_allows_is_answered_and_can_be_undone(server: Sesame, version: str, examples: int) -> None:
    taken = try_all(server, version, examples)
    assert len(taken) > 60
    refused_always = {label for label, count in taken.items() if not count}
    if examples >= EXAMPLES:
        assert refused_always <= REFUSED, f"{examples} requests made from the description, and none was taken"
    delete_all_that_is_listed(server)
    assert kept(server) == []
    furnish(server)
    assert server.client().invoke_function("there", "f").data == b"ok"
    delete_all_that_is_listed(server)
    server.stop()
    server.start()
    assert listed(server, "/services", "services") == []
    assert kept(server) == []
