"""Calls of a session reach its instance: binding, waiting, bounds, deaths and ends, on fakes."""

import asyncio
from typing import Any

import pytest
from tests.engine.conftest import PACKAGE, Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine import sessions
from sesame.engine.instance import State
from sesame.engine.policies import Caps
from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.errors import Exhausted
from sesame.model.function import Function
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.later_settings import LaterSettings
from sesame.model.session import SessionKey
from sesame.model.version import FrozenFunction, Version, frozen_parent
from sesame.sandbox.interface import Call, Reply, SandboxDied

KEEP_ALIVE_S = 300
PARENT = "s/f"
WITH_SESSIONS = LaterSettings(
    session_affinity="HEADER_FIELD", session_affinity_config='{"affinityHeaderFieldName": "my-session"}'
)


def two_sessions_each(config: str = "") -> LaterSettings:
    more = f'{{"affinityHeaderFieldName": "my-session", "sessionConcurrencyPerInstance": 2{config}}}'
    return LaterSettings(session_affinity="HEADER_FIELD", session_affinity_config=more)


def answers(_sandbox: FakeSandbox, call: Call) -> Reply | None:
    """An event "hang" is not answered before the test says so."""
    return None if call.payload.startswith(b"hang") else Reply(True, b"done")


def built(**changes: Any) -> Engine:
    caps = Caps(instances_per_function=4, memory_mb=10_000, starts_at_once=2, keep_alive_s=KEEP_ALIVE_S)
    engine = build(caps)
    engine.deploy(**{"later": WITH_SESSIONS, **changes})
    engine.driver.behaviour = answers
    return engine


async def call(
    engine: Engine, session_id: str, event: bytes = b"e", created_at: float = 0.0, qualifier: str = limits.LATEST
) -> Outcome:
    session = SessionKey(PARENT, session_id, created_at)
    return await engine.dispatcher.invoke(Invocation("r", Target("s", qualifier, "f"), event, session=session))


async def hang(engine: Engine, *session_ids: str) -> list["asyncio.Task[Outcome]"]:
    calls = [asyncio.create_task(call(engine, each, b"hang")) for each in session_ids]
    await settle()
    return calls


async def test_calls_of_a_session_reach_its_instance_and_no_other_call_does() -> None:
    engine = built()
    one, two = (await call(engine, "one")).instance_id, (await call(engine, "two")).instance_id
    assert one != two
    for _time in range(2):
        assert (await call(engine, "one")).instance_id == one
        assert (await call(engine, "two")).instance_id == two
    assert (await engine.call()).instance_id not in (one, two)
    assert engine.pool.counts.cold == 3
    assert engine.local.session_instance(PARENT, "one") == one
    assert engine.local.session_instance(PARENT, "three") == ""


async def test_first_calls_of_one_session_start_one_instance() -> None:
    engine = built()
    first, second, third = await asyncio.gather(*(call(engine, "one") for _ in range(3)))
    assert {first.instance_id, second.instance_id, third.instance_id} == {first.instance_id}
    assert len(engine.driver.made) == 1


async def test_a_call_waits_for_the_instance_of_its_session_in_the_order_of_coming() -> None:
    engine = built()
    calls = await hang(engine, "one", "one", "one")
    (sandbox,) = engine.driver.made
    for number, task in enumerate(calls):
        assert len(sandbox.calls) == number + 1
        sandbox.answer()
        await task
        await settle()
    assert len(engine.driver.made) == 1


async def test_a_call_that_gives_up_waiting_does_not_hold_up_the_next() -> None:
    engine = built()
    first, second, third = await hang(engine, "one", "one", "one")
    (sandbox,) = engine.driver.made
    second.cancel()
    await settle()
    sandbox.answer()
    await first
    await settle()
    sandbox.answer()
    await third
    # One that is given up in the moment in which its turn has come.
    first, second, third = await hang(engine, "one", "one", "one")
    sandbox.answer()
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([first, second])
    await settle()
    (sandbox,) = engine.driver.alive
    sandbox.answer()
    await third
    assert engine.pool.calls == 0


async def test_an_instance_has_so_many_sessions() -> None:
    engine = built(runtime="custom", instance_concurrency=5, later=two_sessions_each())
    found = [(await call(engine, each)).instance_id for each in ("a", "b", "c")]
    assert found[0] == found[1] != found[2]
    assert sorted(len(each.sessions) for each in engine.pool.instances()) == [1, 2]
    assert [(await call(engine, each)).instance_id for each in ("a", "b", "c")] == found
    # Calls beside each other, as many as the instance takes.
    calls = await hang(engine, *"aaabb")
    assert len(engine.driver.made) == 2
    waiting = await hang(engine, "b")
    assert not any(each.done() for each in (*calls, *waiting))
    for task in (*calls, *waiting):
        next(sandbox for sandbox in engine.driver.alive if sandbox.hanging).answer()
        await settle()
        assert task.done()
    assert len(engine.driver.made) == 2


async def test_a_burst_of_new_sessions_starts_no_more_instances_than_it_fills() -> None:
    engine = built(runtime="custom", instance_concurrency=5, later=two_sessions_each())
    await asyncio.gather(*(call(engine, each) for each in "abcd"))
    assert sorted(len(each.sessions) for each in engine.pool.instances()) == [2, 2]


async def test_session_isolation_gives_each_session_an_instance_of_its_own() -> None:
    later = LaterSettings(
        session_affinity="HEADER_FIELD",
        session_affinity_config=WITH_SESSIONS.session_affinity_config,
        instance_isolation_mode="SESSION_EXCLUSIVE",
    )
    engine = built(runtime="custom", instance_concurrency=5, later=later)
    found = {(await call(engine, each)).instance_id for each in "abc"}
    assert len(found) == 3
    # It is not used again when its session has ended.
    engine.local.end_session(PARENT, "a")
    assert (await call(engine, "a", created_at=1.0)).instance_id not in found


async def test_a_session_whose_instance_died_gets_a_new_one() -> None:
    engine = built()
    one = (await call(engine, "one")).instance_id
    engine.driver.made[0].die()
    await settle()
    two = (await call(engine, "one")).instance_id
    assert two != one
    assert (await call(engine, "one")).instance_id == two
    # In a call, while another one waits for it.
    first, second = await hang(engine, "one", "one")
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"")
    engine.driver.made[1].die()
    assert (await first).error is not None
    three = (await second).instance_id
    assert three not in (one, two)
    assert (await call(engine, "one")).instance_id == three


async def test_a_start_that_fails_binds_nothing() -> None:
    engine = built()
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied("exit", "1")
    assert (await call(engine, "one")).error is not None
    engine.driver.behaviour = answers
    assert engine.local.session_instance(PARENT, "one") == ""
    assert (await call(engine, "one")).error is None
    assert sum(len(each.sessions) for each in engine.pool.instances()) == 1


async def test_a_session_that_ends_frees_its_place() -> None:
    engine = built()
    one = (await call(engine, "one")).instance_id
    engine.local.end_session(PARENT, "one")
    engine.local.end_session(PARENT, "one")
    assert (await call(engine, "two")).instance_id == one
    # Made anew under the same id.
    assert (await call(engine, "two", created_at=1.0)).instance_id == one
    assert [len(each.sessions) for each in engine.pool.instances()] == [1]


async def test_a_session_that_ends_during_its_first_call_binds_nothing() -> None:
    engine = built()
    engine.driver.starts.closed = True
    (task,) = await hang(engine, "one")
    engine.local.end_session(PARENT, "one")
    engine.driver.starts.open()
    await settle()
    engine.driver.made[0].answer()
    await task
    assert [len(each.sessions) for each in engine.pool.instances()] == [0]


async def test_an_instance_with_a_session_outlives_its_keep_alive() -> None:
    engine = built()
    one = (await call(engine, "one")).instance_id
    engine.clocks.advance(2 * KEEP_ALIVE_S)
    await settle()
    assert (await call(engine, "one")).instance_id == one
    engine.clocks.advance(2 * KEEP_ALIVE_S)
    engine.local.end_session(PARENT, "one")
    engine.clocks.advance(2)
    await settle()
    assert engine.pool.instances() == []


async def test_instances_with_sessions_are_evicted_last() -> None:
    engine = build(Caps(instances_per_function=4, memory_mb=256, starts_at_once=2, keep_alive_s=KEEP_ALIVE_S))
    engine.deploy(later=WITH_SESSIONS)
    engine.deploy("g")
    engine.deploy("h")
    one = (await call(engine, "one")).instance_id
    await engine.call("g")
    await engine.call("h")
    assert (await call(engine, "one")).instance_id == one
    assert (await call(engine, "two")).instance_id != one
    assert (await call(engine, "three")).instance_id != one
    await settle()
    # Nothing but instances with sessions is left: the one that has been idle longest goes.
    assert engine.local.session_instance(PARENT, "one") == ""


async def test_a_changed_function_gives_its_sessions_new_instances() -> None:
    engine = built()
    one = (await call(engine, "one")).instance_id
    (task,) = await hang(engine, "two")
    engine.deploy(later=WITH_SESSIONS, description="new")
    assert (await call(engine, "one")).instance_id != one
    new = asyncio.create_task(call(engine, "two"))
    await settle()
    assert new.done()
    engine.driver.made[1].answer()
    assert (await task).instance_id != (await new).instance_id


async def test_of_two_versions_a_session_has_one() -> None:
    engine = built()
    service = engine.catalog.get(records.SERVICE, "", "s")
    assert service is not None
    for version in ("1", "2"):
        engine.catalog.put(records.VERSION, "s", version, Version(version, "", service.document))
        function = Function(
            function_name="f", function_id="id", runtime="python3.10", handler="i.h", package=PACKAGE,
            later=WITH_SESSIONS,
        )  # fmt: skip
        engine.catalog.put(
            records.FROZEN_FUNCTION, frozen_parent("s", version), "f", FrozenFunction(function, "", 0, 0)
        )
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    engine.catalog.put(records.ALIAS, "s", "prod", alias)
    found = {}
    for session_id in "abcd":
        outcomes = [await call(engine, session_id, qualifier="prod") for _ in range(5)]
        assert len({each.instance_id for each in outcomes}) == 1
        found[session_id] = outcomes[0].version_id
    assert set(found.values()) == {"1", "2"}


async def test_closing_ends_what_waits() -> None:
    engine = built()
    calls = await hang(engine, "one", "one")
    await engine.pool.close()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[0], Outcome)
    assert isinstance(done[1], Exception)
    assert engine.pool.calls == 0
    assert [each.state for each in engine.pool.instances()] == []


@pytest.mark.parametrize("config", ['"sessionConcurrencyPerInstance": 20', '"sessionTTLInSeconds": 9'])
async def test_an_instance_has_no_more_sessions_than_calls_at_a_time(config: str) -> None:
    more = f'{{"affinityHeaderFieldName": "my-session", {config}}}'
    engine = built(later=LaterSettings(session_affinity="HEADER_FIELD", session_affinity_config=more))
    assert (await call(engine, "a")).instance_id != (await call(engine, "b")).instance_id
    assert {each.state for each in engine.pool.instances()} == {State.IDLE}


async def test_a_call_whose_session_ended_before_it_had_an_instance_leaves_none_bound() -> None:
    engine = built()
    first, waiting = await hang(engine, "one", "one")
    engine.local.end_session(PARENT, "one")
    await settle()
    assert engine.local.session_instance(PARENT, "one") != ""
    # Made anew under the same id, it would not be touched.
    engine.local.forget_session(SessionKey(PARENT, "one", 1.0))
    assert engine.local.session_instance(PARENT, "one") != ""
    engine.local.forget_session(SessionKey(PARENT, "one", 0.0))
    assert engine.local.session_instance(PARENT, "one") == ""
    for sandbox in engine.driver.made:
        sandbox.answer()
    await asyncio.gather(first, waiting)
    assert {len(each.sessions) for each in engine.pool.instances()} == {0}


async def test_calls_that_waited_for_a_former_version_leave_newer_calls_their_instance() -> None:
    engine = built()
    former = await hang(engine, "one", "one", "one")
    engine.deploy(later=WITH_SESSIONS, description="new")
    for _time in range(4):
        new = (await call(engine, "one")).instance_id
        await settle()
        assert engine.local.session_instance(PARENT, "one") == new
        assert (await call(engine, "one")).instance_id == new
    while not all(each.done() for each in former):
        next(sandbox for sandbox in engine.driver.made if sandbox.hanging).answer()
        await settle()
    assert (await call(engine, "one")).instance_id == new


async def test_calls_of_a_session_that_was_made_anew_keep_its_instance() -> None:
    engine = built()
    former = await hang(engine, "one", "one")
    anew = (await call(engine, "one", created_at=1.0)).instance_id
    await settle()
    assert engine.local.session_instance(PARENT, "one") == anew
    for _time in range(2):
        next(sandbox for sandbox in engine.driver.made if sandbox.hanging).answer()
        await settle()
    assert anew not in {each.instance_id for each in await asyncio.gather(*former)}
    assert (await call(engine, "one", created_at=1.0)).instance_id == anew


async def test_calls_that_come_while_one_is_woken_wait_behind_it() -> None:
    engine = built()
    order: list[str] = []

    async def named(name: str) -> None:
        session = SessionKey(PARENT, "one", 0.0)
        await engine.dispatcher.invoke(
            Invocation("r", Target("s", limits.LATEST, "f"), b"e", session=session), lambda _id: order.append(name)
        )

    (first,) = await hang(engine, "one")
    waiting = asyncio.create_task(named("waiting"))
    await settle()
    engine.driver.made[0].answer()
    later = []
    for number in range(5):
        later.append(asyncio.create_task(named(f"later {number}")))
        await asyncio.sleep(0)
    await asyncio.gather(first, waiting, *later)
    assert order == ["waiting", *(f"later {number}" for number in range(5))]


async def test_calls_that_were_woken_in_vain_keep_their_order() -> None:
    engine = built(runtime="custom", instance_concurrency=2, later=two_sessions_each())
    order: list[int] = []

    async def numbered(number: int) -> None:
        session = SessionKey(PARENT, "one", 0.0)
        await engine.dispatcher.invoke(
            Invocation("r", Target("s", limits.LATEST, "f"), b"hang", session=session),
            lambda _id: order.append(number),
        )

    engine.driver.starts.closed = True
    calls = []
    for number in range(6):
        calls.append(asyncio.create_task(numbered(number)))
        await settle()
    engine.driver.starts.open()
    await settle()
    (sandbox,) = engine.driver.made
    while not all(each.done() for each in calls):
        sandbox.answer()
        await settle()
    assert order == list(range(6))


async def test_so_many_calls_wait_for_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WAITING_MAX", 2)
    engine = built()
    calls = await hang(engine, "one", "one", "one")
    with pytest.raises(Exhausted, match="2 calls of session 'one' wait"):
        await call(engine, "one")
    assert (await call(engine, "two")).error is None
    for _call in calls:
        engine.driver.made[0].answer()
        await settle()
    assert [each.done() for each in calls] == [True] * 3
    assert (await call(engine, "one")).error is None


async def test_of_two_versions_one_may_have_no_sessions() -> None:
    engine = built()
    service = engine.catalog.get(records.SERVICE, "", "s")
    assert service is not None
    for version, later in (("1", LaterSettings()), ("2", WITH_SESSIONS)):
        engine.catalog.put(records.VERSION, "s", version, Version(version, "", service.document))
        function = Function(
            function_name="f", function_id="id", runtime="python3.10", handler="i.h", package=PACKAGE, later=later
        )
        engine.catalog.put(
            records.FROZEN_FUNCTION, frozen_parent("s", version), "f", FrozenFunction(function, "", 0, 0)
        )
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    engine.catalog.put(records.ALIAS, "s", "prod", alias)
    # Whatever chance says.
    found = [engine.local.affinity(Target("s", qualifier, "f")) for qualifier in ("1", "2", "prod", "none")]
    assert [each is not None for each in found] == [False, True, True, False]
    served = [await call(engine, session_id, qualifier="prod") for session_id in "abcd"]
    assert {each.version_id for each in served} == {"1", "2"}
    for session_id, outcome in zip("abcd", served, strict=True):
        bound = engine.local.session_instance(PARENT, session_id)
        assert bound == (outcome.instance_id if outcome.version_id == "2" else "")


async def test_settings_from_before_they_were_checked_leave_a_function_without_sessions() -> None:
    engine = built(later=LaterSettings(session_affinity="MCP_SSE", session_affinity_config="{}"))
    assert (await engine.call()).error is None
    assert engine.local.affinity(Target("s", limits.LATEST, "f")) is None
