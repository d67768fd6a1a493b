"""Requests whose connections could move."""

from types import SimpleNamespace

import pytest

from sesame.agents import calls, kept_idle


@pytest.fixture
def movable(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calls, kept_idle):
        monkeypatch.setattr(module, "connection_of", lambda _exchange: SimpleNamespace(moves=0))
