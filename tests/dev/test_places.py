"""Commands in the folder of a project under development find the Sesame of its `sesame dev`.

Run by pytest.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sesame.cli import server
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.dev.places import data_dir_of, running_for
from sesame.model.errors import ConfigurationError
from sesame.settings import TABLE

DEFAULT = TABLE["data_dir"].default


@contextmanager
def running(path: Path, endpoint: str) -> Iterator[DataDir]:
    with DataDir(path) as data_dir:
        found = Endpoints(
            account_id="1", region="cn-shanghai", fc=endpoint, sandbox="plain", pid=os.getpid(), started_at=time.time()
        )
        data_dir.announce(found, Credentials("1", "id", "secret"))
        yield data_dir
        data_dir.withdraw()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop" / "code"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HOME", "FC_ENDPOINT", "ACCESS_KEY_ID", "SESAME_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    return tmp_path / "shop"


def test_each_project_has_a_data_directory_of_its_own(project: Path) -> None:
    first, second = data_dir_of(Path("/a/shop")), data_dir_of(Path("/b/shop"))
    assert first != second
    assert first == data_dir_of(Path("/a/shop")) == data_dir_of(Path("/a/shop/template.yml"))
    assert first.parent == project.parent / "cache" / "sesame" / "dev"


def test_a_command_below_the_project_finds_its_sesame_and_says_so(project: Path) -> None:
    assert running_for(Path.cwd()) is None
    with running(data_dir_of(project), "http://127.0.0.1:4711") as data_dir:
        chosen = server.choose(server.Named(DEFAULT), {})
        assert (chosen.endpoint, chosen.key.access_key_id) == ("http://127.0.0.1:4711", "id")
        assert chosen.source == f"data directory {data_dir.path}"
        assert server.directory(DEFAULT).path == data_dir.path


def test_what_was_named_or_runs_here_comes_first(project: Path, tmp_path: Path) -> None:
    with running(data_dir_of(project), "http://127.0.0.1:4711"):
        for named in (server.Named(tmp_path / "other"), server.Named(DEFAULT, data_dir_given=True)):
            with pytest.raises(ConfigurationError, match="no Sesame runs on"):
                server.choose(named, {})
        with running(DEFAULT, "http://127.0.0.1:4712"):
            assert server.choose(server.Named(DEFAULT), {}).endpoint == "http://127.0.0.1:4712"
