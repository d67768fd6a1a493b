"""A whole Sesame for tests; see docs/testing.md."""

from sesame.testing.names import *  # noqa: F403 - its `__all__`
