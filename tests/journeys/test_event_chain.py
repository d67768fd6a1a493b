"""One chain of events, from object to object: put → function → put → asynchronous call that is retried → destination.

Through the endpoints with the official SDKs alone. Sesame runs in this process on clocks that the test moves, so that
retries that take seconds take none.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fc2
import oss2
import pytest
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually

from sesame.app import Sesame
from sesame.settings import Settings

FUNCTION = Path(__file__).parents[1] / "functions" / "chain"
ROLES = {"chain": {"policies": ["AliyunOSSFullAccess", "AliyunFCInvocationAccess"]}}
RUNTIME = "python3.10"
REAL_S_MAX, RUNS_MAX = 5.0, 3
# Virtual time passes in such steps; all of them together stay below the skew that signatures may have.
STEP_S, STEPS_S_MAX = 0.25, 240.0


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
        for name in ("copies", "flaky", "records"):
            self.client.create_function(
                "s", name, runtime=RUNTIME, handler=f"index.{name}", codeDir=str(FUNCTION), timeout=30,
                environmentVariables={"OSS_ENDPOINT": self.bucket.endpoint},
            )  # fmt: skip
        for function, prefix in (("copies", "in/"), ("flaky", "out/")):
            config = {"events": ["oss:ObjectCreated:PutObject"], "filter": {"key": {"prefix": prefix, "suffix": ""}}}
            self.client.create_trigger("s", function, "t", "oss", config, self._source, self._notifier)
        destinations = {"onSuccess": {"destination": self._destination}}
        retried = {"destinationConfig": destinations, "maxAsyncRetryAttempts": 2}
        self.client.put_function_async_invoke_config("s", "LATEST", "flaky", retried)


@pytest.fixture
async def clocks() -> FakeClocks:
    return FakeClocks(wall=time.time())


@pytest.fixture
async def chain(tmp_path: Path, clocks: FakeClocks) -> AsyncIterator[Chain]:
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain", roles=ROLES)
    sesame = Sesame(settings, clocks)
    await sesame.start()
    yield Chain(sesame)
    await sesame.stop()


async def asked(call: Callable[..., Any], *arguments: Any) -> Any:
    """The SDKs block, so each call runs in a thread; Sesame runs in this loop."""
    return await asyncio.to_thread(call, *arguments)


async def test_one_object_leads_to_the_next_until_the_destination(chain: Chain, clocks: FakeClocks) -> None:
    await asked(chain.make)
    took_s: list[float] = []
    # What else the machine does takes time too: one run within the bound shows that nothing waits in real time.
    while not took_s or (took_s[-1] >= REAL_S_MAX and len(took_s) < RUNS_MAX):
        took_s.append(await run(chain, clocks, f"{len(took_s)}.txt"))
    assert min(took_s) < REAL_S_MAX


async def run(chain: Chain, clocks: FakeClocks, name: str) -> float:
    """Follows one object through the whole chain; returns the real seconds that it took."""
    started, began = time.monotonic(), clocks.monotonic()
    await asked(chain.bucket.put_object, f"in/{name}", b"put")

    async def done() -> bool:
        # Retries wait in virtual time only.
        if clocks.monotonic() - began < STEPS_S_MAX:
            await clocks.pass_time(STEP_S)
        return bool(await asked(chain.bucket.object_exists, f"done/{name}"))

    await eventually(done)
    took_s = time.monotonic() - started
    assert (await asked(chain.bucket.get_object, f"out/{name}")).read() == b"put, copied"
    record = json.loads((await asked(chain.bucket.get_object, f"done/{name}")).read())
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert json.loads(record["responsePayload"]) == {"key": f"out/{name}", "retries": 2}
    (event,) = json.loads(record["requestPayload"])["events"]
    assert event["eventName"] == "ObjectCreated:PutObject"
    assert event["oss"]["object"]["key"] == f"out/{name}"
    return took_s
