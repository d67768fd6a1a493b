"""The data directory: held by one, found by others, and never believed after a kill."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError
from sesame.store.upkeep.layout import DIRECTORIES, FILES

KEY = Credentials("1234", "LTAIid", "secret")


def endpoints(pid: int, started_at: float | None = None) -> Endpoints:
    return Endpoints(
        account_id="1234", region="cn-shanghai", fc="http://127.0.0.1:9000", sandbox="plain", pid=pid,
        started_at=time.time() if started_at is None else started_at,
    )  # fmt: skip


def test_announced_endpoints_are_found_and_withdrawn_ones_are_not(tmp_path: Path) -> None:
    with DataDir(tmp_path / "data") as data_dir:
        other = DataDir(tmp_path / "data")
        assert other.running() is None
        data_dir.announce(endpoints(os.getpid()), KEY)
        assert other.require_running().fc == "http://127.0.0.1:9000"
        assert other.credentials() == KEY
        assert (tmp_path / "data" / "credentials.json").stat().st_mode & 0o077 == 0
        assert set(json.loads((tmp_path / "data" / "endpoints.json").read_text())) == {
            "account_id", "region", "fc", "sandbox", "pid", "started_at",
        }  # fmt: skip
        data_dir.withdraw()
        with pytest.raises(ConfigurationError, match="sesame start --data-dir"):
            other.require_running()


def test_a_second_one_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with DataDir(tmp_path):
        with pytest.raises(ConfigurationError, match=f"in use by another Sesame .pid {os.getpid()}."):
            DataDir(tmp_path).__enter__()
    with DataDir(tmp_path) as again:
        assert again.running() is None


def test_endpoints_of_a_killed_sesame_are_not_believed(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        process = subprocess.Popen([sys.executable, "-c", "pass"])
        process.wait()
        data_dir.announce(endpoints(process.pid), KEY)
        assert data_dir.running() is None


def test_a_later_process_with_the_same_pid_is_not_mistaken_for_the_server(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        data_dir.announce(endpoints(os.getpid(), started_at=1.0), KEY)
        assert data_dir.running() is None


def test_endpoints_left_by_a_kill_are_gone_when_the_next_one_holds_the_directory(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{}")
    with DataDir(tmp_path):
        assert not (tmp_path / "endpoints.json").exists()


def test_a_directory_that_cannot_be_made_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        says = f"{path} cannot be used: {tmp_path / 'file'} is there and is no directory; name another with --data-dir"
        for use in (DataDir(path).__enter__, DataDir(path).require_running, DataDir(path).refuse_file):
            with pytest.raises(ConfigurationError, match=re.escape(says)):
                use()


@pytest.mark.parametrize(
    ("name", "expected"),
    [*((name, "directory") for name in DIRECTORIES), *((name, "file") for name in FILES)],
)
def test_an_entry_of_the_wrong_type_is_an_error_with_the_next_step(tmp_path: Path, name: str, expected: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch() if expected == "directory" else path.mkdir()
    found = "a file" if expected == "directory" else "a directory"
    says = f"{path} is {found}, expected a {expected}; move it away and start again"
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        DataDir(tmp_path).__enter__()


def test_a_directory_that_is_not_there_yet_is_no_file(tmp_path: Path) -> None:
    DataDir(tmp_path / "new" / "data").refuse_file()
    with pytest.raises(ConfigurationError, match=re.escape(f"sesame start --data-dir '{tmp_path / 'a b'}'")):
        DataDir(tmp_path / "a b").require_running()


def test_unreadable_endpoints_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("not json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        DataDir(tmp_path).running()


def test_a_node_of_a_cluster_has_its_directory_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sesame.data_dir.LOCK_PATIENCE_S", 0.0)
    data_dir = DataDir(tmp_path / "data")
    lock = data_dir.lock_for_node()
    with pytest.raises(ConfigurationError, match=f"in use by another node of a cluster .pid {os.getpid()}."):
        data_dir.lock_for_node()
    with pytest.raises(ConfigurationError, match=f"in use by a node of a cluster .pid {os.getpid()}.: stop that one"):
        data_dir.__enter__()
    with DataDir(data_dir.path, announced_elsewhere=True) as writers:
        assert writers.running() is None, "its own writer has the other lock"
    os.close(lock)
    with DataDir(data_dir.path) as alone:
        alone.announce(endpoints(os.getpid()), KEY)
        with pytest.raises(ConfigurationError, match="in use by a Sesame of no cluster"):
            data_dir.lock_for_node()
        alone.withdraw()
    os.close(data_dir.lock_for_node())
