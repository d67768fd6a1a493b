"""`sesame roles` on the directory of a stopped Sesame, and against one that runs."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sesame.cli import roles as command
from sesame.cli import server
from sesame.cli.roles import roles
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.fc.role_administration import PATH
from sesame.identity.keys import AccessKeys
from sesame.identity.roles import Roles
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

ACCOUNT, KEY_ID, SECRET = "1234567890123456", "LTAItest", "secret-0123456789"
POLICY = {"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:Get*", "Resource": "*"}]}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of a Sesame that was started once."""

    async def make() -> None:
        with DataDir(tmp_path / "data") as made:
            database = Database(made.database)
            await database.open()
            catalog = Catalog(database)
            await catalog.open()
            await AccessKeys(catalog).ensure_account(ACCOUNT, KEY_ID, SECRET)
            await Roles(catalog).seed(ACCOUNT, {})
            await database.close()

    asyncio.run(make())
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FC_ENDPOINT", "FC_CLIENT_CUSTOM_ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SESAME_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, data_dir: Path) -> Result:
    return CliRunner().invoke(roles, [*arguments, "--data-dir", str(data_dir)])


def refusal(*arguments: str, data_dir: Path) -> str:
    result = run(*arguments, data_dir=data_dir)
    assert result.exit_code == 1
    return str(result.exception)


def test_a_role_is_made_shown_listed_and_removed(data_dir: Path, tmp_path: Path) -> None:
    policy_file = tmp_path / "policy.json"
    policy_file.write_text(json.dumps(POLICY))
    added = run(
        "add", "Reader", "--policy", "AliyunLogReadOnlyAccess", "--policy-file", str(policy_file), "--description",
        "reads", data_dir=data_dir,
    )  # fmt: skip
    assert added.output == f"acs:ram::{ACCOUNT}:role/reader\n"
    shown = run("show", "reader", data_dir=data_dir).output
    for text in (
        "Reader",
        "reads",
        "fc.aliyuncs.com",
        "AliyunLogReadOnlyAccess (System)",
        "Reader (Custom)",
        "oss:Get*",
    ):
        assert text in shown
    listed = run("list", data_dir=data_dir).output
    assert "Reader  AliyunLogReadOnlyAccess, Reader\n" in listed
    assert "AliyunFCLogExecutionRole  AliyunFCLogExecutionRolePolicy\n" in listed
    assert f"Removed acs:ram::{ACCOUNT}:role/reader." in run("remove", "reader", data_dir=data_dir).output
    assert "Reader" not in run("list", data_dir=data_dir).output


def test_each_prints_one_json_document(data_dir: Path) -> None:
    def document(*arguments: str) -> dict[str, Any]:
        said = run(*arguments, "--json", data_dir=data_dir)
        assert said.exit_code == 0, said.output
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    made = document("add", "Reader", "--policy", "AliyunLogReadOnlyAccess")
    assert made["roleName"] == "Reader"
    assert document("show", "Reader") == made
    assert made in document("list")["roles"]
    assert document("remove", "Reader") == {"removed": made}


def test_a_role_that_stands_in_the_file_comes_back_and_that_is_said(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "sesame.toml").write_text("[roles.aliyunlogetlrole]\n")
    said = run("remove", "AliyunLogETLRole", data_dir=data_dir).output
    assert "[roles.AliyunLogETLRole] stands in sesame.toml: the next start makes the role again" in said


def test_what_is_refused_says_what_to_do(data_dir: Path, tmp_path: Path) -> None:
    for asked in ("show", "remove"):
        said = refusal(asked, "nobody", data_dir=data_dir)
        assert "role nobody does not exist; `sesame roles list`" in said
    assert "exists already: remove it first" in refusal("add", "aliyunfcdefaultrole", data_dir=data_dir)
    assert "no system policy 'AliyunNothing'" in refusal("add", "a", "--policy", "AliyunNothing", data_dir=data_dir)
    assert "no name of a role" in refusal("add", "a b", data_dir=data_dir)
    bad = tmp_path / "bad.json"
    bad.write_text('{"Version": "1"}')
    assert "Statement" in refusal("add", "a", "--policy-file", str(bad), data_dir=data_dir)
    assert "is not a data directory" in refusal("list", data_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_directory_in_use_is_not_touched(data_dir: Path) -> None:
    with DataDir(data_dir):
        assert "in use by another Sesame" in refusal("list", data_dir=data_dir)


def test_a_running_sesame_is_asked(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    role = {
        "roleName": "Reader", "arn": "acs:ram::1:role/reader", "roleId": "3", "description": "", "trustPolicy": "{}",
        "policies": [{"policyName": "P", "policyType": "System", "document": "{}"}], "services": ["s"],
        "maxSessionDuration": 3600,
    }  # fmt: skip

    class Client:
        def __init__(self, chosen: server.Server) -> None:
            assert (chosen.endpoint, chosen.key.access_key_id) == ("http://127.0.0.1:1", KEY_ID)

        def ask(self, method: str, path: str, document: object = None) -> object:
            asked.append((method, path))
            return {"roles": [role]} if path == PATH and method == "GET" else role

    monkeypatch.setattr(command, "Client", Client)
    running = DataDir(data_dir)
    endpoints = Endpoints(
        account_id=ACCOUNT,
        region="cn-hangzhou",
        fc="http://127.0.0.1:1",
        sandbox="plain",
        pid=os.getpid(),
        started_at=time.time(),
    )
    running.announce(endpoints, Credentials(ACCOUNT, KEY_ID, SECRET))
    assert "Reader  P  used by s" in run("list", data_dir=data_dir).output
    assert "acs:ram::1:role/reader" in run("show", "a/b", data_dir=data_dir).output
    assert "acs:ram::1:role/reader" in run("add", "Reader", data_dir=data_dir).output
    assert "Functions of s still act in it" in run("remove", "Reader", data_dir=data_dir).output
    assert asked == [("GET", PATH), ("GET", f"{PATH}/a%2Fb"), ("POST", PATH), ("DELETE", f"{PATH}/Reader")]
