"""Which functions followers serve, and which version of an alias a request calls that may move. On fakes."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.engine.conftest import Engine, build
from tests.engine.test_resolver import publish, target

from sesame.agents import served
from sesame.agents.served import Served
from sesame.http.interface import Exchange
from sesame.model import records
from sesame.model.alias import Alias
from sesame.model.errors import NotFound, PlatformError

ALIAS, WEIGHT = target("prod"), 0.5


class Drawing:
    """An agent at which a request comes; `chances` are what chance gives next."""

    def __init__(self, *chances: float) -> None:
        self.chances = list(chances)
        self.engine: Engine = build(chance=lambda: self.chances.pop(0))
        self.engine.deploy()
        publish(self.engine, "1", "one")
        publish(self.engine, "2", "two")
        self.alias({"2": WEIGHT})
        self.lacks = False
        self.served = Served(self.engine.resolver, cast(Any, self.engine.catalog), lambda _snapshot: self.lacks)

    def alias(self, weights: dict[str, float]) -> None:
        alias = Alias(alias_name="prod", version_id="1", additional_version_weight=weights)
        self.engine.catalog.put(records.ALIAS, "s", "prod", alias)


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is its own connection."""
    monkeypatch.setattr(served, "connection_of", lambda exchange: exchange)


def request(drawn: str = "") -> Exchange:
    return cast(Exchange, SimpleNamespace(drawn=drawn))


def test_one_draw_decides_for_a_request_wherever_it_moves() -> None:
    first, came = Drawing(0.1), request()
    assert first.served.serves_calls_of(ALIAS)
    called = first.served.drawn(ALIAS, came)
    assert called == target("2")
    assert first.served.of(called) is not None
    assert first.served.drawn(ALIAS, came) == called
    # Another agent, at which chance would decide otherwise.
    assert Drawing(0.9).served.drawn(ALIAS, came) == called
    assert Drawing(0.9).served.drawn(ALIAS, request()) == target("1")
    # A version that the alias has no more is drawn for anew.
    assert Drawing(0.9).served.drawn(ALIAS, request("7")) == target("1")


def test_nothing_is_drawn_where_there_is_one_version() -> None:
    agent = Drawing()
    agent.alias({})
    for each in (ALIAS, target(), target("1"), target("nothing")):
        assert agent.served.drawn(each, request()) is each
    assert agent.served.of(ALIAS) is not None
    assert not agent.served.serves_calls_of(target("nothing"))


def test_an_alias_is_the_writers_as_long_as_one_of_its_versions_is() -> None:
    agent = Drawing()
    agent.lacks = True
    assert not agent.served.serves_calls_of(ALIAS)
    with pytest.raises(PlatformError, match="call it again"):
        agent.served.changed(target())
    agent.lacks = False
    agent.alias({"2": WEIGHT})
    assert agent.served.serves_calls_of(ALIAS)


def test_a_call_whose_alias_has_a_canary_since_is_of_one_version() -> None:
    agent = Drawing(0.1, 0.9)
    assert [agent.served.changed(ALIAS).version_id for _ in range(2)] == ["2", "1"]
    agent.engine.catalog.delete(records.ALIAS, "s", "prod")
    with pytest.raises(NotFound):
        agent.served.changed(ALIAS)
