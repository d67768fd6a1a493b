"""Which of Ray's nodes get a node of Sesame, and how soon one is started again."""

from typing import Any

from sesame.on_ray.policies import Machine, backoff_s, machines, missing


def told(node_id: str, address: str, *, alive: bool = True, cpus: float = 2.0) -> dict[str, Any]:
    """As `ray.nodes()` says it."""
    resources = {"memory": 1e9, **({"CPU": cpus} if cpus else {})}
    return {
        "NodeID": node_id, "Alive": alive, "NodeManagerAddress": address, "NodeManagerHostname": f"host-{node_id}",
        "Resources": resources,
    }  # fmt: skip


def test_machines_are_those_that_live_and_offer_processors() -> None:
    nodes = [told("b", "10.0.0.2"), told("a", "10.0.0.1"), told("dead", "10.0.0.3", alive=False)]
    nodes.append(told("head", "10.0.0.4", cpus=0))
    assert machines(nodes) == (Machine("a", "10.0.0.1", "host-a"), Machine("b", "10.0.0.2", "host-b"))


def test_a_machine_that_came_back_is_another_one() -> None:
    wanted = machines([told("old", "10.0.0.1", alive=False), told("new", "10.0.0.1")])
    assert [machine.id for machine in missing(wanted, {"old"})] == ["new"]
    assert missing(wanted, {"new"}) == []


def test_who_fails_again_and_again_waits_ever_longer_and_half_a_minute_at_most() -> None:
    assert [backoff_s(failures) for failures in (1, 2, 3, 4, 50)] == [0.5, 1.0, 2.0, 4.0, 30.0]
