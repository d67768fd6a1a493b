"""Fixtures of the stores' tests: each database that Sesame runs on.

Read by pytest.
"""

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a test's database is: a file that is not there yet, or the URL of one with empty tables."""
    if request.param == "sqlite":
        return tmp_path / "db"
    url: str = request.getfixturevalue("postgresql_url")
    return url
