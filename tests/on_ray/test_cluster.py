"""What is said of a cluster: what changed, and why Ray cannot be used. Ray itself runs in test_placing."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.s3 import free_port

from sesame.model.errors import ConfigurationError
from sesame.on_ray import actors
from sesame.on_ray import cluster as on_ray
from sesame.on_ray.cluster import UNHEARD_MAX, Cluster, Elsewhere, changes, described
from sesame.on_ray.library import connected, why_not
from sesame.on_ray.order import LOST, Order, Report, filled

RUNS = Report("a", "10.0.0.1", "first", "running", starts=1)


def test_each_change_is_said_once() -> None:
    again = Report("a", "10.0.0.1", "first", "running", starts=2, said="ended by signal 9")
    assert list(changes({}, [RUNS])) == ["10.0.0.1 (first): running"]
    assert list(changes({"a": RUNS}, [RUNS])) == []
    assert list(changes({"a": RUNS}, [again])) == ["10.0.0.1 (first): running, start 2\n    ended by signal 9"]
    assert list(changes({"a": RUNS}, [])) == ["10.0.0.1 (first): gone from Ray"]


def test_an_actor_that_is_not_heard_of_is_said_to_be_so() -> None:
    assert described(Report("a", "10.0.0.1", "first", LOST)) == "10.0.0.1 (first): its actor is not heard of"


def test_orders_are_told_apart_without_what_they_hold() -> None:
    order = Order("1", ("-m", "sesame"), {"A": "1", "B": "2"})
    assert order.digest == Order("1", ("-m", "sesame"), {"B": "2", "A": "1"}).digest
    assert order.digest == Order("2", ("-m", "sesame"), {"A": "1", "B": "2"}).digest, "it may be upgraded meanwhile"
    assert order.digest != Order("1", ("-m", "sesame"), {"A": "1", "B": "3"}).digest
    assert filled("{node} at {address}", "a", "10.0.0.1") == "a at 10.0.0.1"


def test_a_ray_without_a_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ConfigurationError, match=r"RAY_AUTH_MODE is 'disabled'; expected token"), connected(None):
        raise AssertionError


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "host:port", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="expected HOST:PORT"), connected(address):
        raise AssertionError


def test_a_ray_that_is_not_there_is_said_to_be_so_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConfigurationError, match=rf"Ray at {address} is not reached .* `ray start --head`"):
        with connected(address):
            raise AssertionError


def test_without_the_extra_it_is_named() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\nfrom sesame.on_ray.library import connected\nwith connected(None): pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "a cluster needs the extra ray, which is not installed (ray is missing): pip install 'sesame-fc[ray]'" in (
        done.stderr
    )


def test_other_versions_are_told_from_a_token_that_is_not_taken() -> None:
    versions = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n")
    assert "expected the same ones of Ray and Python everywhere" in why_not("10.0.0.1:6379", versions)
    assert "Python: 3.12.1" in why_not("10.0.0.1:6379", versions)
    assert "does not take this token" in why_not("10.0.0.1:6379", ConnectionError("no"))
    assert "no Ray runs on this machine" in why_not("auto", ConnectionError("no"))
    assert "cannot connect to Ray at x:1: no" in why_not("x:1", ValueError("no"))


class _Unheard:
    """A Ray whose head is gone, as `Cluster` uses it: every question fails."""

    class exceptions:
        RayError = RuntimeError

        class ActorDiedError(RuntimeError):
            pass

    def __init__(self, head: str) -> None:
        self.asked = 0
        self._head = head

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=self._head)

    def get(self, _reference: Any, timeout: float) -> Any:
        assert timeout
        self.asked += 1
        raise RuntimeError("unavailable")


PLACER = SimpleNamespace(reports=SimpleNamespace(remote=lambda: None))


def test_who_watches_a_cluster_notices_that_there_is_another_head() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        ray = _Unheard(f"127.0.0.1:{head.getsockname()[1]}")
        with pytest.raises(Elsewhere, match="nothing is heard of the nodes' placer"):
            Cluster(ray, PLACER).watch(lambda _line: None, lambda _s: False)
    assert ray.asked == UNHEARD_MAX


def test_while_no_head_answers_it_goes_on_watching() -> None:
    ray, said = _Unheard(f"127.0.0.1:{free_port()}"), list[str]()
    Cluster(ray, PLACER).watch(said.append, lambda _s: ray.asked > UNHEARD_MAX + 2)
    assert len(said) == 1


class _Placer:
    """An actor of that kind; what its methods answer is there at once."""

    def __init__(self, order: Order, *, drains: bool = False) -> None:
        self.drained = False
        self.drains = SimpleNamespace(remote=lambda: drains)
        self.digest = SimpleNamespace(remote=lambda: order.digest)
        self.drain = SimpleNamespace(remote=self._drain)

    def _drain(self) -> list[Any]:
        self.drained = True
        return []


def test_a_cluster_whose_stop_was_broken_off_is_ended_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order("1", ("-m", "sesame", "node"))
    left, new = _Placer(order, drains=True), _Placer(order)
    placers, killed = [left, new], list[Any]()
    ray = SimpleNamespace(get=lambda answer, timeout: answer, kill=killed.append, exceptions=_Unheard.exceptions)

    @contextlib.contextmanager
    def own_ray(_address: str | None) -> Iterator[Any]:
        yield ray

    monkeypatch.setattr(on_ray, "connected", own_ray)
    monkeypatch.setattr(on_ray, "NAME_FREE_S", 0.0)
    monkeypatch.setattr(actors, "placer", lambda _order: placers.pop(0))
    with on_ray.begun(None, order) as cluster:
        assert cluster.runs_by(order)
    assert (killed, left.drained, new.drained, placers) == ([left], True, False, [])


def test_who_upgrades_the_nodes_is_asked_of_a_placer_that_tells_it() -> None:
    ray = SimpleNamespace(get=lambda answer, timeout: answer, exceptions=_Unheard.exceptions)
    placer = SimpleNamespace(upgrader=SimpleNamespace(remote=lambda: "process 7 on first"))
    assert Cluster(ray, placer).upgrader() == "process 7 on first"
    assert Cluster(ray, PLACER).upgrader() == "", "of a version before"
