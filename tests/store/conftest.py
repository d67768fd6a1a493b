"""Fixtures of the stores' tests: each database that Sesame runs on, and a data directory with something of everything.

Read by pytest.
"""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.data_directory import filled
from tests.support.databases import new_database
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.s3 import Store

from sesame.store.sql.database import Database


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on a server's database and in a bucket at once has its turn in `make torture`: each is tried alone."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and {"postgresql", "s3"} <= {
            each for each in callspec.params.values() if isinstance(each, str)
        }:
            item.add_marker(pytest.mark.torture)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a test's database is, with empty tables: a file, or a URL."""
    if request.param == "sqlite":
        return new_database(tmp_path / "db")
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
async def database(place: Path | str) -> AsyncIterator[Database]:
    database = Database(place)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def proxy(s3_store: Store) -> Iterator[FaultyProxy]:
    """Between a test and the S3-speaking server."""
    with faulty_proxy(s3_store.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled data directory, which tests of the module share and do not change."""
    return filled(tmp_path_factory.mktemp("whole") / "data").path


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that is the test's own."""
    return Path(shutil.copytree(whole, tmp_path / "data", symlinks=True))
