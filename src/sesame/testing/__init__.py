"""A whole Sesame for tests: docs/testing.md says how it is used."""

from sesame.testing.names import *  # noqa: F403 - its `__all__`
