"""The commands as a user types them: what they print, where, and how they end."""

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support import forked

from sesame.cli import output
from sesame.cli.doctor import doctor
from sesame.cli.env import env
from sesame.cli.runtimes import runtimes
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError
from sesame.model.log_service_address import log_service_endpoint
from sesame.sandbox import descriptors
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}


def sesame(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = forked.run(*arguments, environ=CLEAN)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_env_prints_shell_exports_of_what_is_served(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        endpoints = Endpoints(
            account_id="1234", region="cn shanghai", fc="http://127.0.0.1:1", sandbox="plain", pid=os.getpid(),
            started_at=time.time(),
        )  # fmt: skip
        data_dir.announce(endpoints, Credentials("1234", "LTAI", "se'cret$"))
        said = CliRunner().invoke(env, ["--data-dir", str(tmp_path)]).output
    lines = [shlex.split(line) for line in said.splitlines()]
    assert lines == [
        ["export", "ACCOUNT_ID=1234"], ["export", "REGION=cn shanghai"], ["export", "ACCESS_KEY_ID=LTAI"],
        ["export", "ACCESS_KEY_SECRET=se'cret$"], ["export", "FC_ENDPOINT=http://127.0.0.1:1"],
        ["export", f"SESAME_DATA_DIR={tmp_path}"],
    ]  # fmt: skip


def test_env_without_a_running_sesame_prints_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    done = sesame("env", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"sesame start --data-dir {tmp_path / 'none'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_runtimes_lists_every_runtime_with_its_interpreter() -> None:
    said = CliRunner().invoke(runtimes).output
    for runtime in MINOR_VERSIONS:
        assert f"\n{runtime} " in said


def test_runtimes_says_once_how_to_get_what_is_missing(tmp_path: Path) -> None:
    said = CliRunner().invoke(runtimes, ["--runtimes-dir", str(tmp_path)])
    assert said.exit_code == 0
    assert "not installed" in said.stdout
    assert said.stderr.count("runtimes install") == 1
    assert "get it" not in said.stderr.lower()


def test_runtimes_missing_names_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SESAME_RUNTIMES_DIR", str(tmp_path / "runtimes"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr("sesame.sandbox.runtimes.interpreters.usual_folders", lambda wanted: iter(()))
    assert CliRunner().invoke(runtimes, ["--missing"]).output.split() == list(MINOR_VERSIONS)
    with pytest.raises(ConfigurationError, match="no interpreter was found for any runtime"):
        CliRunner().invoke(runtimes, ["install"], catch_exceptions=False)
    with pytest.raises(
        ConfigurationError, match=r"python3.12 has no interpreter here; get it: `sesame runtimes get python3.12`"
    ):
        CliRunner().invoke(runtimes, ["install", "python3.12"], catch_exceptions=False)
    with pytest.raises(ConfigurationError, match="there is no runtime 'python4'"):
        CliRunner().invoke(runtimes, ["install", "python4"], catch_exceptions=False)
    said = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path / "data")])
    assert said.exit_code == 1
    assert "python2.7: no interpreter" in said.output


@pytest.mark.parametrize("sandbox", ["auto", "plain"])
def test_doctor_finds_nothing_wrong_here(tmp_path: Path, sandbox: str) -> None:
    said = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path / "data"), "--port", "0", "--sandbox", sandbox])
    assert said.exit_code == 0
    assert f"data directory {tmp_path / 'data'}: free to use" in said.output
    assert ": time limit enforced" in said.output
    assert sandbox == "auto" or "sandbox plain: own file system NOT enforced" in said.output


@pytest.mark.parametrize("limit", [128, 1_000_000])
def test_doctor_says_how_many_instances_the_open_files_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(descriptors, "of_server", lambda: limit)
    most = descriptors.instances_max(limit, 3)
    said = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path / "data"), "--port", "0", "--sandbox", "plain"])
    assert f"open files: {limit} allow {most} instances at a time, 3 for each" in said.output.replace("\n", " ")
    assert ("raise the hard limit" in said.output) == (limit == 128)


def test_doctor_names_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path / "file")])
    assert said.exit_code == 1
    assert "name another with --data-dir" in said.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["start", "--port", "99999"], "expected 0 to 65535"),
        (["start", "--config", "/nowhere/sesame.toml"], "cannot read /nowhere/sesame.toml"),
        (["start", "--interpreters", "python2.7=/nowhere"], "does not exist"),
    ],
)
def test_what_the_operator_got_wrong_is_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = sesame(*arguments, *(["--data-dir", str(tmp_path)] if arguments[0] == "start" else []))
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["start"], ["env"], ["logs", "f"], ["invoke", "--service", "s", "--function", "f"]]
)
def test_a_data_directory_that_is_a_file_is_called_one(tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = sesame(*arguments, "--data-dir", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file} is there and is no directory; name another with --data-dir" in done.stderr


@pytest.mark.parametrize("name", ["sesame.db", "packages", "objects", "credentials.json"])
def test_a_data_directory_with_something_else_in_it_is_one_line(tmp_path: Path, name: str) -> None:
    if name == "credentials.json":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("not what Sesame wrote\n" * 100)
    done = sesame("start", "--port=0", "--oss-port=0", "--sandbox=plain", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / name).removesuffix(".json") in done.stderr
    assert "cannot" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_in_messages_are_not_rendered_as_emoji(tmp_path: Path) -> None:
    done = sesame("start", "--region", "acs:key:smile:", "--data-dir", str(tmp_path))
    assert "acs:key:smile:" in done.stderr


def test_the_command_is_called_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "sesame").write_text("#!/bin/sh\n")
    (folder / "sesame").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert output.own_name() == ".venv/bin/sesame"
    monkeypatch.chdir("/usr")
    assert output.own_name() == str(folder / "sesame")
    monkeypatch.setenv("PATH", str(folder))
    assert output.own_name() == "sesame"


def test_sesames_own_log_is_on_stderr_and_shows_no_values_of_variables() -> None:
    program = """
import logging, structlog
from sesame.cli import own_log
own_log.configure()
def fails(secret):
    raise ValueError("the message")
for log in (structlog.get_logger("x"), logging.getLogger("y")):
    try:
        fails("s3cr" + "3t-value")
    except ValueError:
        log.exception("it failed")
structlog.get_logger("x").info("a line", name="a name")
structlog.get_logger("x").debug("too much")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.count("ValueError: the message") == done.stderr.count("it failed") == 2
    assert "a line" in done.stderr
    assert "too much" not in done.stderr
    assert "s3cr3t-value" not in done.stderr


def test_env_and_endpoints_name_the_tls_endpoint_when_it_is_served(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        endpoints = Endpoints(
            account_id="1", region="cn-shanghai", fc="http://127.0.0.1:1", fc_https="https://127.0.0.1:2",
            sandbox="plain", pid=os.getpid(), started_at=time.time(),
        )  # fmt: skip
        data_dir.announce(endpoints, Credentials("1", "LTAI", "secret"))
        said = CliRunner().invoke(env, ["--data-dir", str(tmp_path)]).output
        assert '"fc_https": "https://127.0.0.1:2"' in (tmp_path / "endpoints.json").read_text()
    assert "export FC_HTTPS_ENDPOINT=https://127.0.0.1:2" in said.splitlines()


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:9002", "http://sls.localhost:9002"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("https://[::1]:9002", "https://sls.localhost:9002"),
        ("http://192.0.2.7:9002", "http://192.0.2.7:9002"),
        ("http://logs.example:9002", "http://logs.example:9002"),
    ],
)
def test_env_names_the_log_service_as_its_clients_reach_it(url: str, endpoint: str) -> None:
    assert log_service_endpoint(url) == endpoint


@pytest.mark.parametrize("flag", ["--oss-port", "--sls-port", "--https-port"])
def test_doctor_looks_at_every_port(tmp_path: Path, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = ["--data-dir", str(tmp_path / "data"), "--port", "0", "--sandbox", "plain"]
        said = CliRunner().invoke(doctor, [*arguments, flag, port])
    assert f"port {port}: Address already in use\n      choose another with {flag}" in said.output


def test_a_full_disk_is_one_line_of_the_log_each_time() -> None:
    program = """
import sqlite3, structlog
from sesame.cli import own_log
own_log.configure()
log = structlog.get_logger("x")
db = sqlite3.connect(":memory:")
db.execute("PRAGMA max_page_count=2")
def in_a_file():
    raise OSError(28, "No space left on device")
def in_a_database():
    try:
        db.execute("CREATE TABLE t AS SELECT zeroblob(1000000)")
    except sqlite3.Error as error:
        raise RuntimeError("the change could not be committed") from error
for fails in (in_a_file, in_a_database):
    try:
        fails()
    except Exception:
        log.exception("it failed", request_id="r-1")
try:
    raise OSError(13, "Permission denied")
except OSError as error:
    log.error("another", exc_info=error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second, third = done.stderr.splitlines()[:3]
    for line, why in ((first, "No space left on device"), (second, "database or disk is full")):
        assert f"{why}: free some space on the disk of the data directory" in line
        assert "it failed" in line
        assert "request_id=r-1" in line
    assert "another" in third
    assert "PermissionError: [Errno 13] Permission denied" in done.stderr
    assert "RuntimeError" not in done.stderr


def test_doctor_continues_when_files_of_a_former_run_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("not json")
    said = CliRunner().invoke(
        doctor, ["--data-dir", str(tmp_path), "--port", "0", "--oss-port", "0", "--sandbox=plain"]
    )
    assert said.exit_code == 1
    assert f"wrong data directory {tmp_path}: {tmp_path}/endpoints.json cannot be read" in said.output
    assert "sandbox plain" in said.output
