"""What is kept is out of reach: code that others upload for a function's role, the database for everyone."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import oss2
import pytest
from tests.oss.conftest import ACCOUNT, RunningEndpoint
from tests.oss.test_code_uploads import ATTACKS, lend, with_token
from tests.runtime.conftest import Stage
from tests.security.grades import GRADES
from tests.store.test_lost_database import contents, emptied, fill, missing
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

from sesame.app import Sesame
from sesame.control.code_uploads import Loan
from sesame.model import records
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings
from sesame.store.sql.sqlite import SqliteBackend

EVERYTHING = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
# What would let a role read the code of other functions, or put its own in its place.
ON_CODE = ("get", "head", "put", "append", "delete", "list", "copy over", "symlink")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningEndpoint]:
    with RunningEndpoint(tmp_path) as running:
        running.make_role("mighty", EVERYTHING)
        running.bucket().create_bucket()
        running.bucket().put_object("mine", b"mine")
        yield running


@pytest.fixture
def uploaded(store: RunningEndpoint) -> Loan:
    loan = lend(store)
    assert with_token(store, loan).put_object(loan.object_name, b"x").status == 200
    return loan


def reaches(store: RunningEndpoint, loan: Loan, attack: str) -> bool:
    """With the credentials that a function of the role has."""
    try:
        ATTACKS[attack](store.bucket(loan.bucket_name, auth=store.sts("mighty")), loan)
    except oss2.exceptions.AccessDenied:
        return False
    except oss2.exceptions.ServerError as refused:
        # A HEAD has no body to say more in.
        return bool(refused.status != 403)
    return True


@pytest.mark.parametrize("attack", ON_CODE)
def test_a_role_that_may_do_everything_reaches_no_code(store: RunningEndpoint, uploaded: Loan, attack: str) -> None:
    assert not reaches(store, uploaded, attack)
    assert with_token(store, uploaded).get_object(uploaded.object_name).read() == b"x"


@pytest.mark.parametrize("attack", sorted({*ON_CODE} - {"append"}))
def test_if_the_bucket_were_the_accounts_it_would(store: RunningEndpoint, uploaded: Loan, attack: str) -> None:
    """That it belongs to another account is what stops the role."""

    def own(tx: Any) -> None:
        bucket = tx.get(records.BUCKET, "", uploaded.bucket_name).document
        tx.put(records.BUCKET, "", uploaded.bucket_name, msgspec.structs.replace(bucket, account_id=ACCOUNT))

    store.run(store.catalog.edit(own))
    assert reaches(store, uploaded, attack)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("whole") / "data"
    asyncio.run(fill(data))
    return data


def settings(data: Path) -> Settings:
    return Settings(port=0, oss_port=0, data_dir=data, sandbox="plain")


DAMAGE = {"emptied": emptied, "missing": missing}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_database_that_somebody_emptied_is_refused(damage: str, whole: Path, tmp_path: Path) -> None:
    data = shutil.copytree(whole, tmp_path / "data")
    DAMAGE[damage](data / "sesame.db")
    before = contents(data)
    with pytest.raises(ConfigurationError):
        await Sesame(settings(data)).start()
    assert contents(data) == before


@pytest.mark.usefixtures("few_runtimes")
@pytest.mark.parametrize("damage", DAMAGE)
async def test_without_the_look_the_objects_would_be_nobodys(
    damage: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(whole, tmp_path / "data")
    DAMAGE[damage](data / "sesame.db")
    before = contents(data)
    monkeypatch.setattr(SqliteBackend, "missing", lambda _database: "")
    sesame = Sesame(settings(data))
    await sesame.start()
    await sesame.stop()
    moved = {name for name in before if name.startswith("objects/data/")} - contents(data).keys()
    assert moved


async def empties(grade: str, data: Path, without: frozenset[str]) -> Any:
    async with jail(data / "jail", **GRADES[grade], without=without) as driver:
        attacker = await Stage(driver, "python3.12").start("attacks", "index.empties")
        return await attacker.json(b'{"path": "%s"}' % str(data / "sesame.db").encode())


@jail_only
@pytest.mark.skipif("python3.12" not in INTERPRETERS, reason="no interpreter found for python3.12")
@pytest.mark.parametrize("grade", list(GRADES))
async def test_a_function_cannot_empty_it(grade: str, whole: Path, tmp_path: Path) -> None:
    data = shutil.copytree(whole, tmp_path / "data")
    before = (data / "sesame.db").read_bytes()
    assert await empties(grade, data, frozenset()) is not True
    assert (data / "sesame.db").read_bytes() == before
    assert await empties(grade, data, frozenset({"root", "user"})) is True
    assert (data / "sesame.db").read_bytes() == b""


@pytest.mark.usefixtures("few_runtimes")
def test_the_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    sesame = Sesame(settings(tmp_path / "data"))

    async def once() -> None:
        await sesame.start()
        await sesame.stop()

    asyncio.run(once())
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
