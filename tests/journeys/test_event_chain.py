"""One chain of events, from object to object: put → function → put → asynchronous call that is retried → destination.

Through the endpoints with the official SDKs alone. Sesame runs in this process on clocks that the test moves, so that
retries that take seconds take none.
"""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fc2
import oss2
import pytest
from tests.support.fakes import FakeClocks
from tests.support.official_sdks import ask_by_fc2
from tests.support.virtual_time import eventually, waits_in_real_time

from sesame.app import Sesame
from sesame.settings import Settings

pytestmark = pytest.mark.usefixtures("few_runtimes")

FUNCTION = Path(__file__).parents[1] / "functions" / "chain"
ROLES = {"chain": {"policies": ["AliyunOSSFullAccess", "AliyunFCInvocationAccess"]}}
RUNTIME, RECURSION_LIMIT = "python3.10", 3
# What passes from one look to the next.
PASSES_S = 0.1
# Shorter waits in real time are those of the looks themselves, and of what watches processes.
REAL_WAIT_S = 1.0
# Longer than two retries of a function wait.
RETRY_S = 2.0
FLAKY = "/2016-08-15/services/s/functions/flaky/stateful-async-invocations"


class Chain:
    """A Sesame with the chain's functions and triggers, and the official clients for it."""

    def __init__(self, sesame: Sesame) -> None:
        key, urls = sesame.data_dir.credentials(), sesame.endpoints
        account, region = urls.account_id, urls.region
        self.client = fc2.Client(endpoint=urls.fc, accessKeyID=key.access_key_id, accessKeySecret=key.access_key_secret)
        self.bucket = oss2.Bucket(oss2.Auth(key.access_key_id, key.access_key_secret), urls.oss, "chain")
        self._role = f"acs:ram::{account}:role/chain"
        self._notifier = f"acs:ram::{account}:role/aliyunosseventnotificationrole"
        self._source = f"acs:oss:{region}:{account}:chain"
        self._destination = f"acs:fc:{region}:{account}:services/s.LATEST/functions/records"

    def make(self) -> None:
        self.bucket.create_bucket()
        self.client.create_service("s", role=self._role)
        for name in ("copies", "flaky", "records", "loops"):
            self.client.create_function(
                "s", name, runtime=RUNTIME, handler=f"index.{name}", codeDir=str(FUNCTION), timeout=600,
                environmentVariables={"OSS_ENDPOINT": self.bucket.endpoint},
            )  # fmt: skip
        for function, prefix in (("copies", "in/"), ("flaky", "out/"), ("loops", "loop/")):
            config = {"events": ["oss:ObjectCreated:PutObject"], "filter": {"key": {"prefix": prefix, "suffix": ""}}}
            self.client.create_trigger("s", function, "t", "oss", config, self._source, self._notifier)
        destinations = {"onSuccess": {"destination": self._destination}}
        retried = {"destinationConfig": destinations, "maxAsyncRetryAttempts": 2, "statefulInvocation": True}
        self.client.put_function_async_invoke_config("s", "LATEST", "flaky", retried)

    def status(self) -> str:
        """Of the newest call of `flaky`; "" before there is one."""
        found = ask_by_fc2(self.client, "GET", FLAKY).json()["invocations"]
        return found[0]["status"] if found else ""


@pytest.fixture
async def clocks() -> FakeClocks:
    return FakeClocks(wall=time.time())


@pytest.fixture
async def chain(tmp_path: Path, clocks: FakeClocks) -> AsyncIterator[Chain]:
    settings = Settings(
        port=0,
        oss_port=0,
        data_dir=tmp_path / "data",
        sandbox="plain",
        roles=ROLES,
        recursion_limit=RECURSION_LIMIT,
        drain_s=0,
    )
    sesame = Sesame(settings, clocks)
    await sesame.start()
    yield Chain(sesame)
    await sesame.stop()


async def asked(call: Callable[..., Any], *arguments: Any) -> Any:
    """The SDKs block, so each call runs in a thread; Sesame runs in this loop."""
    return await asyncio.to_thread(call, *arguments)


async def test_one_object_leads_to_the_next_until_the_destination(chain: Chain, clocks: FakeClocks) -> None:
    await asked(chain.make)
    with waits_in_real_time(REAL_WAIT_S) as waits:
        await run(chain, clocks, "0.txt")
    assert waits == []


async def run(chain: Chain, clocks: FakeClocks, name: str) -> None:
    """Follows one object through the whole chain."""
    await asked(chain.bucket.put_object, f"in/{name}", b"put")

    async def there(key: str) -> bool:
        # Time passes quickly only while the call waits for its next attempt: limits of calls that run count in the same
        # time. Else it passes as it does outside: on a busy machine a start may fail, and the platform tries it again.
        await clocks.pass_time(RETRY_S if (await asked(chain.status)) == "Retrying" else PASSES_S)
        return bool(await asked(chain.bucket.object_exists, key))

    for key in (f"out/{name}", f"done/{name}"):
        await eventually(functools.partial(there, key))
    assert (await asked(chain.bucket.get_object, f"out/{name}")).read() == b"put, copied"
    record = json.loads((await asked(chain.bucket.get_object, f"done/{name}")).read())
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert json.loads(record["responsePayload"]) == {"key": f"out/{name}", "retries": 2}
    (event,) = json.loads(record["requestPayload"])["events"]
    assert event["eventName"] == "ObjectCreated:PutObject"
    assert event["oss"]["object"]["key"] == f"out/{name}"


@pytest.mark.thorough
async def test_a_function_that_its_own_objects_call_is_cut_by_the_recursion_limit(
    chain: Chain, clocks: FakeClocks
) -> None:
    await asked(chain.make)
    await asked(chain.bucket.put_object, "loop/", b"")
    last = "loop/" + "+" * RECURSION_LIMIT

    async def there() -> bool:
        await clocks.pass_time(PASSES_S)
        return bool(await asked(chain.bucket.object_exists, last))

    await eventually(there)
    await clocks.pass_time(600.0)
    listed = await asked(lambda: [each.key for each in oss2.ObjectIterator(chain.bucket, prefix="loop/")])
    assert listed == ["loop/" + "+" * times for times in range(RECURSION_LIMIT + 1)]
