"""A whole Sesame for tests: docs/testing.md says how it is used."""

from sesame.testing.cloud import Cloud as Cloud
