"""Which server a command calls, and with which key: flag, then environment, then data directory; never in silence."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from sesame.cli.invoke import invoke
from sesame.cli.logs import logs
from sesame.cli.server import Key, Named, checked_endpoint, choose
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError, SesameError

DIRECTORY_ENDPOINT = "http://127.0.0.1:1"
ELSEWHERE = {"FC_ENDPOINT": "http://127.0.0.1:2", "ACCESS_KEY_ID": "id", "ACCESS_KEY_SECRET": "se" + "cret-of-id"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory on which this process poses as the running Sesame."""
    with DataDir(tmp_path / "data") as held:
        endpoints = Endpoints(
            account_id="1234", region="r", fc=DIRECTORY_ENDPOINT, fc_https="https://127.0.0.1:3", sandbox="plain",
            pid=os.getpid(), started_at=time.time(),
        )  # fmt: skip
        held.announce(endpoints, Credentials("1234", "LTAI", "directory-secret"))
        yield held.path


def test_the_data_directory_counts_where_nothing_else_is_said(data_dir: Path) -> None:
    found = choose(Named(data_dir), {})
    assert (found.endpoint, found.key.access_key_id, found.key.secret) == (
        DIRECTORY_ENDPOINT, "LTAI", "directory-secret",
    )  # fmt: skip
    assert found.source == f"data directory {data_dir}"


def test_the_environment_comes_before_the_data_directory(data_dir: Path) -> None:
    found = choose(Named(data_dir), ELSEWHERE)
    assert (found.endpoint, found.source) == ("http://127.0.0.1:2", "FC_ENDPOINT")
    assert found.key == Key("id", "secret-of-id", "ACCESS_KEY_ID")
    # Address and key each by itself.
    found = choose(Named(data_dir), {name: ELSEWHERE[name] for name in ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET")})
    assert (found.endpoint, found.key.access_key_id) == (DIRECTORY_ENDPOINT, "id")


def test_what_sesame_env_prints_names_account_and_region_too(data_dir: Path) -> None:
    """A template's roles and buckets are named by ARNs of the account and the region."""
    found = choose(Named(data_dir), ELSEWHERE | {"ACCOUNT_ID": "5678", "REGION": "cn-hangzhou"})
    assert (found.key.account_id, found.region) == ("5678", "cn-hangzhou")
    found = choose(Named(data_dir, data_dir_given=True), ELSEWHERE | {"ACCOUNT_ID": "5678", "REGION": "cn-hangzhou"})
    assert (found.key.account_id, found.region) == ("1234", "r")


def test_a_directory_that_was_named_is_not_said_to_lack_what_the_environment_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no Sesame runs on the data directory .*: start one") as raised:
        choose(Named(tmp_path, data_dir_given=True), ELSEWHERE)
    assert "FC_ENDPOINT" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="and FC_ENDPOINT is not set: start one"):
        choose(Named(tmp_path), {})


def test_a_flag_comes_before_the_environment(data_dir: Path) -> None:
    found = choose(Named(data_dir, data_dir_given=True), ELSEWHERE)
    assert (found.endpoint, found.key.access_key_id) == (DIRECTORY_ENDPOINT, "LTAI")
    found = choose(Named(data_dir, endpoint="http://127.0.0.1:4"), ELSEWHERE)
    assert (found.endpoint, found.source, found.key.access_key_id) == ("http://127.0.0.1:4", "--endpoint", "id")
    found = choose(Named(data_dir, data_dir_given=True, endpoint="http://127.0.0.1:4"), ELSEWHERE)
    assert (found.endpoint, found.key.access_key_id) == ("http://127.0.0.1:4", "LTAI")


@pytest.mark.parametrize("address", [DIRECTORY_ENDPOINT, "http://localhost:1/", "https://127.0.0.1:3"])
def test_the_directorys_key_is_used_for_its_own_server_alone(data_dir: Path, address: str) -> None:
    assert choose(Named(data_dir, endpoint=address), {}).key.access_key_id == "LTAI"
    assert choose(Named(data_dir), {"FC_ENDPOINT": address}).key.access_key_id == "LTAI"
    with pytest.raises(ConfigurationError, match=r"there is no key for http://127.0.0.1:2 \(FC_ENDPOINT\): set ACCESS"):
        choose(Named(data_dir), {"FC_ENDPOINT": "http://127.0.0.1:2"})


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"ACCESS_KEY_ID": "a", "ACCESS_KEY_SECRET": "s", "SECURITY_TOKEN": "t"}, Key("a", "s", "ACCESS_KEY_ID", "t")),
        (
            {
                "ALIBABA_CLOUD_ACCESS_KEY_ID": "a", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s",
                "ALIBABA_CLOUD_SECURITY_TOKEN": "t", "SECURITY_TOKEN": "of another key",
            },
            Key("a", "s", "ALIBABA_CLOUD_ACCESS_KEY_ID", "t"),
        ),
        ({"ALIYUN_ACCESS_KEY_ID": "a", "ALIYUN_ACCESS_KEY_SECRET": "s"}, Key("a", "s", "ALIYUN_ACCESS_KEY_ID")),
    ],
)  # fmt: skip
def test_the_names_of_the_tools_that_people_have_are_read(tmp_path: Path, environ: dict[str, str], key: Key) -> None:
    found = choose(Named(tmp_path), environ | {"FC_CLIENT_CUSTOM_ENDPOINT": "fc.example.com"})
    assert (found.endpoint, found.source) == ("https://fc.example.com", "FC_CLIENT_CUSTOM_ENDPOINT")
    assert found.key == key


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "no Sesame runs on the data directory"),
        ({"ACCESS_KEY_ID": "a"}, "ACCESS_KEY_ID is set and ACCESS_KEY_SECRET is not"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s3cr3t"}, "SECRET is set and ALIBABA_CLOUD_ACCESS_KEY_ID is not"),
        (ELSEWHERE | {"ACCESS_KEY_SECRET": "s3cr3t\n\ts"}, "ACCESS_KEY_SECRET holds characters that no key has"),
        (ELSEWHERE | {"ACCESS_KEY_ID": "schlüssel"}, "ACCESS_KEY_ID holds characters that no key has"),
        (ELSEWHERE | {"FC_ENDPOINT": "ftp://host"}, "FC_ENDPOINT is set to 'ftp://host': expected https://HOST"),
    ],
)
def test_what_is_missing_or_wrong_is_named_and_no_secret_is_shown(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        choose(Named(tmp_path), environ)
    assert says in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["", "http://", "http://h:port", "http://h:99999", "http://h/path", "http://h?q", "http://[::1", "http://h\x1b[2J"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--endpoint is set to '[ -~]*'[:,] (expected https|which is no)"):
        checked_endpoint(address, "--endpoint")


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as raised:
        checked_endpoint("http://user:s3cr3t@host", "FC_ENDPOINT")
    assert "s3cr3t" not in str(raised.value)


def test_invoke_names_the_server_and_the_key_that_it_uses(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FC_ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SESAME_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    arguments = ["--service", "demo", "--function", "f"]
    said = CliRunner().invoke(invoke, [*arguments, "--data-dir", str(data_dir)])
    assert isinstance(said.exception, SesameError)
    assert (
        f"Calling demo/f at {DIRECTORY_ENDPOINT} (data directory {data_dir}) as account 1234, key LTAI" in said.stderr
    )
    said = CliRunner().invoke(invoke, arguments, env=ELSEWHERE)
    assert "Calling demo/f at http://127.0.0.1:2 (FC_ENDPOINT) as key id (ACCESS_KEY_ID)." in said.stderr
    said = CliRunner().invoke(invoke, arguments, env=ELSEWHERE | {"SECURITY_TOKEN": "to" + "ken"})
    assert "as temporary key id (ACCESS_KEY_ID)." in said.stderr
    for secret in ("secret-of-id", "directory-secret", "token"):
        assert secret not in said.stderr


def test_logs_are_never_read_in_silence_from_another_server_than_the_environments(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SESAME_DATA_DIR", raising=False)
    monkeypatch.setenv("FC_ENDPOINT", "http://127.0.0.1:2")
    (tmp_path / "sesame-data").symlink_to(data_dir)
    monkeypatch.chdir(tmp_path)
    told = f"FC_ENDPOINT is http://127.0.0.1:2, but the Sesame of {tmp_path}/sesame-data is at {DIRECTORY_ENDPOINT}"
    assert told in str(CliRunner().invoke(logs, ["f"]).exception)
    monkeypatch.setenv("SESAME_DATA_DIR", str(tmp_path / "none"))
    assert f"Logs of {tmp_path}/none." in CliRunner().invoke(logs, ["f"]).stderr
    monkeypatch.delenv("SESAME_DATA_DIR")
    assert f"Logs of {data_dir}." in CliRunner().invoke(logs, ["f", "--data-dir", str(data_dir)]).stderr
    monkeypatch.setenv("FC_ENDPOINT", DIRECTORY_ENDPOINT)
    assert f"Logs of {tmp_path}/sesame-data." in CliRunner().invoke(logs, ["f"]).stderr
