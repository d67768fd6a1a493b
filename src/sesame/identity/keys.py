"""Keeps the built-in account and its access keys in the catalog.

Called by `_identity` once at start-up (`ensure_account`) and by `identity.authentication` for every request (`get`).
Reads only the catalog's memory once it is open.
"""

import re
import secrets

import structlog

from sesame.model import records
from sesame.model.account import AccessKey, Account
from sesame.model.errors import ConfigurationError
from sesame.store.catalog import Catalog, Transaction

ACCOUNT_NAME = "self"
TEMPORARY_KEY_PREFIX = "STS."
_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Characters that need no quoting in a host name, an ARN or an Authorization header.
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_SECRET = re.compile(r"[\x21-\x7e]{1,256}\Z")

log = structlog.get_logger(__name__)


class AccessKeys:
    """The permanent access keys in the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, access_key_id: str) -> AccessKey | None:
        """The key, from memory; None if it is unknown."""
        record = self._catalog.get(records.ACCESS_KEY, "", access_key_id)
        return None if record is None else record.document

    async def ensure_account(self, account_id: str | None, access_key_id: str | None, secret: str | None) -> Account:
        """Creates the built-in account on the first start; later, values given here replace the stored ones.

        A replaced key stops working, so that a leaked key can be changed.
        Raises `ConfigurationError` for invalid settings.
        """
        _check(account_id, access_key_id, secret)

        def decide(tx: Transaction) -> tuple[Account | None, Account]:
            kept = tx.get(records.ACCOUNT, "", ACCOUNT_NAME)
            former: Account | None = None if kept is None else kept.document
            former_key = None if former is None else _key(tx, former.access_key_id)
            account = Account(
                account_id=account_id or (former.account_id if former else _new_account_id()),
                access_key_id=access_key_id or (former.access_key_id if former else _new_access_key_id()),
            )
            if secret is None and former_key is not None and former_key.access_key_id != account.access_key_id:
                raise ConfigurationError(
                    f"access key id '{account.access_key_id}' was given without its secret, and is not the key kept "
                    f"here ('{former_key.access_key_id}'): give --access-key-secret too, or neither"
                )
            if secret is None and former_key is None and access_key_id is not None:
                raise ConfigurationError(
                    f"access key id '{access_key_id}' was given without its secret: give --access-key-secret too, or "
                    "neither, and both are made"
                )
            key = AccessKey(
                access_key_id=account.access_key_id,
                secret=secret or (former_key.secret if former_key else _new_secret()),
                account_id=account.account_id,
            )
            if former_key is not None and former_key.access_key_id != key.access_key_id:
                tx.delete(records.ACCESS_KEY, "", former_key.access_key_id)
            if key != former_key:
                tx.put(records.ACCESS_KEY, "", key.access_key_id, key)
            if account != former:
                tx.put(records.ACCOUNT, "", ACCOUNT_NAME, account)
            return former, account

        former, account = await self._catalog.edit(decide)
        if former is not None and former.account_id != account.account_id:
            log.warning(
                "the account id has changed: buckets and roles stay with the former one",
                former=former.account_id,
                now=account.account_id,
            )
        return account


def _key(tx: Transaction, access_key_id: str) -> AccessKey | None:
    record = tx.get(records.ACCESS_KEY, "", access_key_id)
    return None if record is None else record.document


def _check(account_id: str | None, access_key_id: str | None, secret: str | None) -> None:
    if account_id is not None and not _ACCOUNT_ID.match(account_id):
        raise ConfigurationError(
            f"account id '{account_id}' cannot be used: expected 1 to 64 letters, digits, '-' or '_', "
            "such as 1234567890123456"
        )
    if access_key_id is None:
        if secret is not None:
            raise ConfigurationError("an access key secret was given without its id: give --access-key-id too")
        return
    if not _ACCESS_KEY_ID.match(access_key_id):
        raise ConfigurationError(
            f"access key id '{access_key_id}' cannot be used: expected 1 to 128 letters, digits, '.', '-' or '_'"
        )
    if access_key_id.startswith(TEMPORARY_KEY_PREFIX):
        raise ConfigurationError(
            f"access key id '{access_key_id}' cannot be used: names that begin with '{TEMPORARY_KEY_PREFIX}' "
            "belong to temporary credentials"
        )
    if secret is not None and not _SECRET.match(secret):
        raise ConfigurationError(
            "the access key secret cannot be used: expected 1 to 256 visible ASCII characters without spaces"
        )


def _new_account_id() -> str:
    return "1" + "".join(secrets.choice("0123456789") for _ in range(15))


def _new_access_key_id() -> str:
    return "LTAI" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(20))


def _new_secret() -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(30))
