"""What an actor writes on its machine for the node: for its user alone, and not left behind by those that were killed.

Run by pytest.
"""

import tempfile
from pathlib import Path

import msgspec
import pytest

from sesame import __version__
from sesame.on_ray.actors import Node
from sesame.on_ray.order import Order
from sesame.on_ray.policies import Machine


def test_an_actor_removes_the_secrets_of_one_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    order = msgspec.to_builtins(Order(__version__, ("-c", "pass"), files={"SESAME_CONFIG": "secret"}, drain_s=0.0))

    def node(machine: str, host: str) -> Node:
        return Node(msgspec.to_builtins(Machine(machine * 56, "127.0.0.1", host)), order)

    killed = node("a", "m")
    other = node("b", "m-n")
    again = node("a", "m")
    found = sorted(tmp_path.glob("*/*"))
    assert len(found) == 2
    assert {each.parent.stat().st_mode & 0o777 for each in found} == {0o700}
    assert {each.stat().st_mode & 0o777 for each in found} == {0o600}
    for each_node in (killed, again, other):
        assert each_node.drain()
    assert not list(tmp_path.iterdir())
