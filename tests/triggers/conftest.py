"""Fixtures of the triggers' tests: each database that Sesame runs on.

Read by pytest.
"""

from tests.store.conftest import place  # noqa: F401 - a fixture
