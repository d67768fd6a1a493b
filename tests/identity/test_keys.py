"""The built-in account: made once, kept, or as the settings fix it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sesame.identity.keys import AccessKeys
from sesame.model import records
from sesame.model.account import AccessKey, Account
from sesame.model.errors import ConfigurationError
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

KINDS: dict[str, type] = {records.ACCOUNT: Account, records.ACCESS_KEY: AccessKey}


class Stored:
    """One data directory that can be opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[Database] = []

    async def keys(self) -> AccessKeys:
        await self.close()
        database = Database(self._path)
        await database.open()
        self._open.append(database)
        self.catalog = Catalog(database, KINDS)
        await self.catalog.open()
        return AccessKeys(self.catalog)

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Stored]:
    held = Stored(tmp_path / "sesame.db")
    yield held
    await held.close()


async def test_the_account_is_made_once_and_kept(stored: Stored) -> None:
    keys = await stored.keys()
    account = await keys.ensure_account(None, None, None)
    key = keys.get(account.access_key_id)
    assert key is not None
    assert len(account.account_id) == 16
    assert account.account_id.isdigit()
    assert key.access_key_id.startswith("LTAI")
    assert len(key.secret) == 30
    assert key.account_id == account.account_id
    again = await stored.keys()
    assert await again.ensure_account(None, None, None) == account
    assert again.get(account.access_key_id) == key


async def test_two_accounts_are_never_alike(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        held = Stored(tmp_path / name)
        made.append(await (await held.keys()).ensure_account(None, None, None))
        await held.close()
    assert made[0].account_id != made[1].account_id
    assert made[0].access_key_id != made[1].access_key_id


async def test_settings_fix_the_account_and_its_key(stored: Stored) -> None:
    keys = await stored.keys()
    account = await keys.ensure_account("123", "my-key", "my-secret")
    assert (account.account_id, account.access_key_id) == ("123", "my-key")
    assert keys.get("my-key") == AccessKey("my-key", "my-secret", "123")
    assert await (await stored.keys()).ensure_account(None, None, None) == account


async def test_a_key_that_settings_replace_stops_working(stored: Stored) -> None:
    keys = await stored.keys()
    former = await keys.ensure_account(None, None, None)
    account = await keys.ensure_account(None, "new-key", "new-secret")
    assert account.account_id == former.account_id
    assert keys.get(former.access_key_id) is None
    assert keys.get("new-key") == AccessKey("new-key", "new-secret", former.account_id)
    assert stored.catalog.count(records.ACCESS_KEY, "") == 1


async def test_the_secret_of_the_same_key_can_be_changed(stored: Stored) -> None:
    keys = await stored.keys()
    await keys.ensure_account("1", "key", "old")
    await keys.ensure_account("2", "key", "new")
    assert keys.get("key") == AccessKey("key", "new", "2")


async def test_the_id_of_the_kept_key_may_be_repeated_without_its_secret(stored: Stored) -> None:
    keys = await stored.keys()
    account = await keys.ensure_account(None, "key", "secret")
    assert await keys.ensure_account(None, "key", None) == account


async def test_another_id_without_a_secret_is_refused(stored: Stored) -> None:
    keys = await stored.keys()
    with pytest.raises(ConfigurationError, match="without its secret"):
        await keys.ensure_account(None, "key", None)
    account = await keys.ensure_account(None, None, None)
    with pytest.raises(ConfigurationError, match=account.access_key_id):
        await keys.ensure_account(None, "other", None)
    assert keys.get(account.access_key_id) is not None


@pytest.mark.parametrize(
    ("account_id", "key_id", "secret", "says"),
    [
        ("", None, None, "account id ''"),
        ("1 2", None, None, "account id '1 2'"),
        ("a/b", None, None, "account id"),
        (None, "", "s", "access key id ''"),
        (None, "a:b", "s", "access key id 'a:b'"),
        (None, "STS.key", "s", "temporary credentials"),
        (None, "key", "", "secret cannot be used"),
        (None, "key", "with space", "secret cannot be used"),
        (None, None, "secret", "without its id"),
    ],
)
async def test_settings_that_cannot_hold(
    stored: Stored, account_id: str | None, key_id: str | None, secret: str | None, says: str
) -> None:
    keys = await stored.keys()
    with pytest.raises(ConfigurationError, match=says) as caught:
        await keys.ensure_account(account_id, key_id, secret)
    assert secret is None or len(secret) < 2 or secret not in str(caught.value) or says == "without its id"


def test_an_unknown_key_has_no_holder(stored: Stored) -> None:
    class Empty:
        def get(self, kind: str, parent: str, name: str) -> None:
            return None

    assert AccessKeys(Empty()).get("anything") is None  # type: ignore[arg-type]


async def test_another_account_id_is_told_to_the_operator_once_and_without_secrets(stored: Stored) -> None:
    with capture_logs() as said:
        await (await stored.keys()).ensure_account("first", None, None)
        await (await stored.keys()).ensure_account(None, None, None)
        assert said == []
        account = await (await stored.keys()).ensure_account("second", None, None)
        await (await stored.keys()).ensure_account("second", None, None)
    assert [(line["log_level"], line["former"], line["now"]) for line in said] == [("warning", "first", "second")]
    key = (await stored.keys()).get(account.access_key_id)
    assert key is not None
    assert key.secret not in str(said)
