"""A whole Sesame in this process, on clocks that the test moves: what waits for hours there takes none here.

Run by pytest. Opens ports on 127.0.0.1 only. The official SDKs sign with today's date, so the wall clock starts there.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fc2
import oss2
import oss2.models
import pytest
from click.testing import CliRunner
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually

from sesame.app import Sesame
from sesame.cli.triggers import triggers
from sesame.model.logstore import LogProject, Logstore
from sesame.settings import Settings

pytestmark = pytest.mark.usefixtures("few_runtimes")

RUNTIME = "python3.10"

DAY_S = 86400.0
MAY_WRITE_LOGS = {"Statement": [{"Effect": "Allow", "Action": "log:PostLogStoreLogs", "Resource": "*"}], "Version": "1"}
WHO = "import os\ndef handler(event, context):\n    return str(os.getpid())\n"


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks(wall=time.time())


@pytest.fixture
async def sesame(tmp_path: Path, clocks: FakeClocks) -> AsyncIterator[Sesame]:
    settings = Settings(
        port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain", keep_alive_s=240,
        roles={"writing": {"policy": MAY_WRITE_LOGS}},
    )  # fmt: skip
    made = Sesame(settings, clocks)
    await made.start()
    yield made
    await made.stop()


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def asked(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The SDKs block, so each call runs in a thread; Sesame runs in this loop."""
    return await asyncio.to_thread(call, *arguments, **options)


async def deployed(sesame: Sesame, tmp_path: Path, code: str) -> fc2.Client:
    """A client of this server, which has the function `s/f` with this code."""
    key = sesame.data_dir.credentials()
    client = fc2.Client(
        endpoint=sesame.endpoints.fc, accessKeyID=key.access_key_id, accessKeySecret=key.access_key_secret
    )
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.py").write_text(code)
    await asked(client.create_service, "s")
    await asked(client.create_function, "s", "f", RUNTIME, "main.handler", codeDir=str(tmp_path / "code"))
    return client


async def test_an_idle_instance_lives_as_long_as_its_keep_alive(
    sesame: Sesame, clocks: FakeClocks, tmp_path: Path
) -> None:
    client = await deployed(sesame, tmp_path, WHO)
    pid = json.loads((await asked(client.invoke_function, "s", "f")).data)
    await clocks.pass_time(230)
    assert json.loads((await asked(client.invoke_function, "s", "f")).data) == pid
    await clocks.pass_time(230)
    assert lives(pid)
    await clocks.pass_time(30)
    await eventually(lambda: not lives(pid))


async def test_an_instance_is_measured_every_ten_seconds_where_its_service_asks(
    sesame: Sesame, clocks: FakeClocks, tmp_path: Path
) -> None:
    logstores = sesame.parts.storage.logstores
    await logstores.create_project(LogProject("p"))
    await logstores.create_logstore(Logstore("p", "l", ttl_days=7))

    async def rows() -> list[dict[str, str]]:
        pulled = [await logstores.pull("p", "l", shard, 0, 1000) for shard in range(2)]
        groups = [group for each in pulled for group in each.groups if group.topic == "FCInstanceMetrics:s/f"]
        records = [record for group in groups for record in group.records]
        return [dict(record.contents) for record in sorted(records, key=lambda each: each.time_s)]

    client = await deployed(sesame, tmp_path, WHO)
    role = f"acs:ram::{sesame.data_dir.credentials().account_id}:role/writing"
    config = {"project": "p", "logstore": "l", "enableInstanceMetrics": True}
    await asked(client.update_service, "s", role=role, logConfig=config)
    await asked(client.invoke_function, "s", "f")
    for count in (1, 2):
        await clocks.pass_time(10)

        async def written(count: int = count) -> bool:
            return len(await rows()) == count

        await eventually(written)
        await clocks.settle()
    first, second = await rows()
    assert first["instanceID"].startswith("c-")
    assert first["instanceID"] == second["instanceID"]
    assert 4 < float(second["memoryUsageMB"]) < float(second["memoryLimitMB"])
    assert float(second["cpuPercent"]) >= 0
    assert (second["concurrentRequests"], second["versionId"]) == ("0", "")
    # This driver holds no quota, and an instance has no network of its own to count.
    assert second.keys().isdisjoint({"cpuQuotaPercent", "rxBytes", "txBytes", "rxTotalBytes", "txTotalBytes"})


@pytest.mark.thorough
async def test_objects_expire_days_later(sesame: Sesame, clocks: FakeClocks) -> None:
    key = sesame.data_dir.credentials()
    bucket = oss2.Bucket(oss2.Auth(key.access_key_id, key.access_key_secret), sesame.endpoints.oss, "logs")
    expires = oss2.models.LifecycleExpiration(days=2)
    rule = oss2.models.LifecycleRule("old", "", status="Enabled", expiration=expires)
    await asked(bucket.create_bucket)
    await asked(bucket.put_bucket_lifecycle, oss2.models.BucketLifecycle([rule]))
    await asked(bucket.put_object, "a", b"not for long")
    await clocks.pass_time(DAY_S)
    clocks.set_wall(time.time())
    assert await asked(bucket.object_exists, "a")
    clocks.set_wall(time.time() + 2 * DAY_S)
    await clocks.pass_time(2 * DAY_S)
    clocks.set_wall(time.time())

    async def gone() -> bool:
        return not await asked(bucket.object_exists, "a")

    await eventually(gone)


async def test_timers_call_their_functions_and_one_is_fired_by_hand(
    sesame: Sesame, clocks: FakeClocks, tmp_path: Path
) -> None:
    code = f"def handler(event, context):\n    open({str(tmp_path / 'got')!r}, 'ab').write(event + b'\\n')\n"
    client = await deployed(sesame, tmp_path, code)
    timer = {"cronExpression": "CRON_TZ=Asia/Shanghai 0 */10 * * * *", "payload": "p", "enable": True}
    await asked(client.create_trigger, "s", "f", "t", "timer", timer, None, None)
    due = clocks.wall() // 600 * 600 + 600
    await clocks.pass_time(due - clocks.wall())
    await eventually(lambda: passing(clocks, len(got(tmp_path)) == 1))
    wanted = {"triggerTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due)), "triggerName": "t", "payload": "p"}
    assert got(tmp_path) == [wanted]
    clocks.set_wall(time.time())
    key = sesame.data_dir.credentials()
    environment = {"FC_ENDPOINT": sesame.endpoints.fc, "ACCESS_KEY_ID": key.access_key_id}
    environment["ACCESS_KEY_SECRET"] = key.access_key_secret
    done = await asked(CliRunner().invoke, triggers, ["fire", "t"], env=environment)
    assert done.exit_code == 0, done.output
    await eventually(lambda: passing(clocks, len(got(tmp_path)) == 2))
    assert got(tmp_path)[1]["payload"] == "p"


def passing(clocks: FakeClocks, held: bool) -> bool:
    """Lets a little time pass with each look: what is due at this very moment is past then, however it was rounded."""
    clocks.advance(0.0001)
    return held


def got(tmp_path: Path) -> list[Any]:
    """The events that the function got."""
    file = tmp_path / "got"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
