"""What a function prints is in the logstore that its service names, through a whole Sesame in this process.

Run by pytest. Opens ports on 127.0.0.1 only.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fc2
import pytest
from click.testing import CliRunner, Result
from tests.support.query_processes import rows_of
from tests.support.virtual_time import eventually

from sesame.app import Sesame
from sesame.cli.logs import logs
from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex, LogProject, Logstore
from sesame.settings import Settings
from sesame.store.logs.logstores.interface import Query
from sesame.store.logs.reader import LogReader
from sesame.store.logs.reader import Query as BuiltIn

pytestmark = pytest.mark.usefixtures("few_runtimes")

RUNTIME = "python3.10"
CODE = """
import logging, os
def handler(event, context):
    print('printed', flush=True)
    logging.getLogger().info('logged')
    os.system('echo from a child')
    return b'done'
"""
ALLOWED = {
    "Version": "1",
    "Statement": [
        {"Effect": "Allow", "Action": "log:PostLogStoreLogs", "Resource": "acs:log:*:*:project/p/logstore/l"}
    ],
}
INDEX = LogIndex(LineIndex(token=DEFAULT_DELIMITERS), {"functionName": KeyIndex(doc_value=True)})


@pytest.fixture
async def sesame(tmp_path: Path) -> AsyncIterator[Sesame]:
    settings = Settings(
        port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain", drain_s=0,
        roles={"writing": {"policy": ALLOWED}, "idle": {}},
    )  # fmt: skip
    sesame = Sesame(settings)
    await sesame.start()
    yield sesame
    await sesame.stop()


async def test_lines_are_where_the_services_log_config_says_if_its_role_may_write_there(
    sesame: Sesame, tmp_path: Path
) -> None:
    key = sesame.data_dir.credentials()
    client = fc2.Client(
        endpoint=sesame.endpoints.fc, accessKeyID=key.access_key_id, accessKeySecret=key.access_key_secret
    )

    async def asked(method: str, *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(client, method), *arguments, **options)

    async def printed() -> list[str]:
        now_s = int(time.time())
        found = await logstores.query("p", "l", Query("functionName: f", now_s - 300, now_s + 300))
        assert {row["__topic__"] for row in rows_of(found)} <= {"s"}
        return [row["message"] for row in rows_of(found)]

    def said() -> list[str]:
        return [
            line.text for line in LogReader(sesame.data_dir.logs).read(BuiltIn()) if line.text.startswith("[sesame]")
        ]

    def shown(*arguments: str) -> Result:
        return CliRunner().invoke(logs, [*arguments, "--data-dir", str(sesame.data_dir.path)])

    role = f"acs:ram::{key.account_id}:role/"
    config = {"project": "p", "logstore": "l"}
    logstores = sesame.parts.storage.logstores
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "main.py").write_text(CODE)
    await asked("create_service", "s", role=f"{role}idle", logConfig=config)
    await asked("create_function", "s", "f", RUNTIME, "main.handler", codeDir=str(tmp_path / "f"))
    await asked("invoke_function", "s", "f")
    await eventually(lambda: any("project p is not in the Log Service" in line for line in said()))

    await logstores.create_project(LogProject("p"))
    await logstores.create_logstore(Logstore("p", "l", ttl_days=7))
    await logstores.create_index("p", "l", INDEX)
    await asked("invoke_function", "s", "f")
    await eventually(lambda: any("does not allow log:PostLogStoreLogs" in line for line in said()))
    assert "does not allow" in (await asked("get_service", "s")).data["logProblem"]
    assert await printed() == []
    told = (await asyncio.to_thread(shown, "s/f")).stderr
    assert "What s writes is not in logstore l of project p: " in told
    assert "does not allow log:PostLogStoreLogs" in told

    await asked("update_service", "s", role=f"{role}writing")
    assert "logProblem" not in (await asked("get_service", "s")).data
    await asked("invoke_function", "s", "f")

    async def whole() -> bool:
        return any(line.startswith("Duration: ") for line in await printed())

    await eventually(whole)
    lines = await printed()
    assert any(line.startswith("FC Invoke Start RequestId: ") for line in lines)
    assert {"printed", "from a child"} <= set(lines)
    assert any(line.endswith("[INFO] logged") for line in lines)
    assert any(line.startswith("FC Invoke End RequestId: ") for line in lines)

    assert "What s writes is in logstore l of project p too." in (await asyncio.to_thread(shown, "f")).stderr

    await asked("update_service", "s", logConfig=config | {"enableRequestMetrics": True})
    called = await asked("invoke_function", "s", "f")

    async def measured() -> list[dict[str, str]]:
        now_s = int(time.time())
        topic = "FCRequestMetrics:s/f"
        return rows_of(await logstores.query("p", "l", Query("*", now_s - 300, now_s + 300, topic)))

    await eventually(measured)
    (row,) = await measured()
    assert row["requestId"] == called.headers["X-Fc-Request-Id"]
    assert (row["functionName"], row["invocationType"], row["hasFunctionError"]) == ("f", "Sync", "false")
    assert (row["qualifier"], row["versionId"]) == ("LATEST", "")


async def test_where_only_logstores_keep_lines_the_command_reads_them_there(tmp_path: Path) -> None:
    settings = Settings(
        port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain", drain_s=0, log_retention_days=0,
        roles={"writing": {"policy": ALLOWED}},
    )  # fmt: skip
    sesame = Sesame(settings)
    await sesame.start()
    try:
        key = sesame.data_dir.credentials()
        client = fc2.Client(
            endpoint=sesame.endpoints.fc, accessKeyID=key.access_key_id, accessKeySecret=key.access_key_secret
        )

        def shown(*arguments: str) -> Result:
            return CliRunner().invoke(logs, [*arguments, "--data-dir", str(sesame.data_dir.path)])

        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "main.py").write_text(CODE)
        config = {"project": "p", "logstore": "l"}
        role = f"acs:ram::{key.account_id}:role/writing"
        await asyncio.to_thread(client.create_service, "s", role=role, logConfig=config)
        await asyncio.to_thread(client.create_function, "s", "f", RUNTIME, "main.handler", codeDir=str(tmp_path / "f"))
        nothing = await asyncio.to_thread(shown, "s/f")
        assert "What s writes is not in logstore l of project p: project p is not in the Log Service" in nothing.stderr
        assert "there are no logs of 's/f'" in str(nothing.exception)

        logstores = sesame.parts.storage.logstores
        await logstores.create_project(LogProject("p"))
        await logstores.create_logstore(Logstore("p", "l", ttl_days=7))
        called = await asyncio.to_thread(client.invoke_function, "s", "f")
        request_id = called.headers["X-Fc-Request-Id"]

        async def whole() -> bool:
            return "FC Invoke End" in (await asyncio.to_thread(shown, "s/f")).stdout

        await eventually(whole)
        found = await asyncio.to_thread(shown, "s/f", "-r", request_id, "--search", "printed")
        assert found.stdout.endswith(f" {request_id} printed\n")
        assert "What s writes is in logstore l of project p.\n" in found.stderr
    finally:
        await sesame.stop()
