"""Requests whose connections could move, or have: what stands for one is its own connection."""

from types import SimpleNamespace

import pytest

from sesame.agents import calls, kept_idle


@pytest.fixture
def movable(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calls, kept_idle):
        monkeypatch.setattr(module, "connection_of", lambda exchange: exchange or SimpleNamespace(moves=0))
