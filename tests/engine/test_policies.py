"""The policies: whom to evict, when idle dies, when to freeze; as properties of pure functions.

Run by pytest.
Never starts a process.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import Engine, build

from sesame.engine.instance import Instance, State
from sesame.engine.policies import Caps, Taken, expired, no_capacity_for, to_freeze, victims
from sesame.model import limits
from sesame.model.invocation import Target

MEMORY_MB = {"a": 128, "b": 256, "c": 512}
CAPS = Caps(instances_per_function=3, memory_mb=1024, starts_at_once=1, keep_alive_s=300)

crowds = st.lists(
    st.tuples(st.sampled_from(sorted(MEMORY_MB)), st.sampled_from(list(State)), st.floats(0, 1000)), max_size=12
)


def crowd(engine: Engine, members: list[tuple[str, State, float]]) -> list[Instance]:
    """As many of the members as there may be."""
    found: list[Instance] = []
    for name, state, idle_since in members:
        if sum(i.snapshot.function == name for i in found) == CAPS.instances_per_function:
            continue
        if memory_mb(found) + MEMORY_MB[name] > CAPS.memory_mb:
            continue
        snapshot = engine.resolver.resolve(Target("s", limits.LATEST, name))
        instance = Instance(snapshot, f"c-{len(found)}", lambda *_: None, engine.clocks)
        instance.state, instance.idle_since = state, idle_since
        found.append(instance)
    return found


def memory_mb(instances: list[Instance]) -> int:
    return sum(instance.snapshot.limits.memory_mb for instance in instances)


def deployed() -> Engine:
    engine = build()
    for name, size_mb in MEMORY_MB.items():
        engine.deploy(name, memory_size=size_mb)
    return engine


def test_an_instance_that_never_fits_is_refused_with_what_to_change() -> None:
    name = next(iter(MEMORY_MB))
    snapshot = deployed().resolver.resolve(Target("s", limits.LATEST, name))
    found = victims([], snapshot, msgspec.structs.replace(CAPS, memory_mb=MEMORY_MB[name] - 1))
    assert isinstance(found, str)
    assert f"one instance of {MEMORY_MB[name]} MB is more than the {MEMORY_MB[name] - 1} MB" in found

    assert "try again" not in found
    of_disk = victims([], snapshot, msgspec.structs.replace(CAPS, disk_mb=snapshot.limits.disk_mb - 1))
    assert isinstance(of_disk, str)
    assert "(diskSize), or this Sesame more (--max-disk-mb)" in of_disk
    assert "try again" not in of_disk


@pytest.mark.parametrize(
    ("bounds", "step"),
    [
        ({"instances": 0}, "; raise its limit of on-demand instances"),
        ({"reserved": 0}, "; raise its reservedConcurrency"),
    ],
)
def test_a_function_without_any_instance_is_not_told_to_wait(bounds: dict[str, int], step: str) -> None:
    name = next(iter(MEMORY_MB))
    snapshot = deployed().resolver.resolve(Target("s", limits.LATEST, name))
    bounded = msgspec.structs.replace(snapshot, limits=msgspec.structs.replace(snapshot.limits, **bounds))
    found = victims([], bounded, CAPS)
    assert isinstance(found, str)
    assert found.endswith(f"limit of 0 instances{step}")


@given(members=crowds, name=st.sampled_from(sorted(MEMORY_MB)))
def test_evicting_the_victims_frees_enough_and_only_idle_instances_are_victims(
    members: list[tuple[str, State, float]], name: str
) -> None:
    engine = deployed()
    instances = crowd(engine, members)
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, name))
    found = victims(instances, snapshot, CAPS)
    own = [i for i in instances if i.snapshot.function == name]
    if isinstance(found, str):
        busy = [i for i in instances if i.state is not State.IDLE]
        busy_own = [i for i in busy if i in own]
        too_much = memory_mb(busy) + MEMORY_MB[name] > CAPS.memory_mb
        assert len(busy_own) == CAPS.instances_per_function or too_much, "refused although idle ones could go"
        assert ("limit of 3" in found) or ("memory for instances is used up" in found)
        return
    assert all(instance.state is State.IDLE for instance in found)
    assert len({instance.instance_id for instance in found}) == len(found)
    staying = [instance for instance in instances if instance not in found]
    assert memory_mb(staying) + MEMORY_MB[name] <= CAPS.memory_mb
    assert len([i for i in staying if i in own]) < CAPS.instances_per_function
    for_memory = [i for i in found if i not in own or len(own) < CAPS.instances_per_function]
    if for_memory:
        newest = max(i.idle_since for i in for_memory)
        assert all(i.idle_since >= newest for i in staying if i.state is State.IDLE), "one idle for longer stayed"


@given(members=crowds, now=st.floats(0, 2000))
def test_time_alone_decides_what_expires_and_what_freezes(members: list[tuple[str, State, float]], now: float) -> None:
    idle = [i for i in crowd(deployed(), members) if i.state is State.IDLE]
    gone = expired(idle, now, CAPS.keep_alive_s)
    assert gone == [i for i in idle if now - i.idle_since >= 300]
    frozen = to_freeze(idle, now, CAPS.freeze_after_s)
    assert {i.instance_id for i in gone} <= {i.instance_id for i in frozen}
    for instance in idle:
        instance.frozen = True
    assert to_freeze(idle, now, CAPS.freeze_after_s) == []


def test_a_reserved_concurrency_counts_all_versions() -> None:
    engine = deployed()
    members = [("a", State.BUSY, 0.0), ("a", State.IDLE, 0.0)]
    instances = crowd(engine, members)
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "a"))
    reserved = msgspec.structs.replace(
        snapshot, version_id="1", limits=msgspec.structs.replace(snapshot.limits, reserved=2)
    )
    assert victims(instances, reserved, CAPS) == [instances[1]]
    assert "limit of 2" in victims([instances[0]] * 2, reserved, CAPS)
    assert no_capacity_for(reserved, Taken([snapshot, snapshot]), CAPS)
    assert no_capacity_for(reserved, Taken([snapshot]), CAPS) is None
