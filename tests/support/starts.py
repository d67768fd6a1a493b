"""Starts a whole Sesame (driver `plain`) on a data directory, with its records and objects there or elsewhere.

Used by the tests of what belongs together; `database` and `objects` as the settings.
"""

from pathlib import Path

import pytest

from sesame.app import Sesame
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings


def sesame_on(data: Path, database: str | None = None, objects: str | None = None) -> Sesame:
    return Sesame(Settings(port=0, oss_port=0, data_dir=data, database=database, objects=objects, sandbox="plain"))


async def start_and_stop(data: Path, database: str | None = None, objects: str | None = None) -> str:
    """Returns the account that it made or found."""
    sesame = sesame_on(data, database, objects)
    await sesame.start()
    account = sesame.endpoints.account_id
    await sesame.stop()
    return account


async def refused(data: Path, database: str | None, objects: str | None, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await sesame_on(data, database, objects).start()
