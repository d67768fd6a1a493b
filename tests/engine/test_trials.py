"""Trials: calls of given snapshots, each on an instance of its own that counts against the caps.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio

import msgspec
import pytest
from tests.engine.conftest import Engine, build, settle

from sesame.engine.policies import Caps
from sesame.engine.trials import LocalTrials
from sesame.model import limits
from sesame.model.errors import Exhausted
from sesame.model.invocation import Credentials, Invocation, Target
from sesame.model.snapshot import Snapshot

TARGET = Target("s", limits.LATEST, "f")
SMALL = Caps(instances_per_function=4, memory_mb=256, starts_at_once=2, keep_alive_s=300)


def trials(engine: Engine) -> LocalTrials:
    def credentials(role: str, session_name: str, validity_s: float, chain: object) -> Credentials:
        return Credentials("id", "secret", "token")

    return LocalTrials(engine.pool, engine.clocks, credentials)


def snapshot(engine: Engine, key: str = "trial-1") -> Snapshot:
    return msgspec.structs.replace(engine.resolver.resolve(TARGET), key=key)


async def test_a_trial_runs_on_an_instance_that_ends_with_it_and_keeps_its_log_apart(engine: Engine) -> None:
    warm = await engine.call()
    kept = len(engine.kept)
    trial = await trials(engine).run(snapshot(engine), Invocation("t-1", TARGET, b"tried"))
    await settle()
    assert (trial.outcome.payload, trial.credentials.access_key_secret) == (b"echo:tried", "secret")
    assert trial.outcome.instance_id != warm.instance_id
    assert [each.instance_id for each in engine.pool.instances()] == [warm.instance_id]
    assert len(engine.kept) == kept
    assert trial.outcome.log is not None
    assert b"FC Invoke Start RequestId: t-1" in trial.outcome.log.data


async def test_a_trial_counts_against_the_memory_of_calls() -> None:
    engine = build(SMALL)
    engine.deploy(memory_size=128)
    engine.driver.behaviour = lambda _sandbox, _call: None
    running = [asyncio.create_task(engine.call()) for _ in range(2)]
    await settle()
    with pytest.raises(Exhausted, match="memory"):
        await trials(engine).run(snapshot(engine), Invocation("t-1", TARGET, b""))
    engine.driver.made[0].answer()
    await asyncio.wait([running[0]])
    trial = asyncio.create_task(trials(engine).run(snapshot(engine), Invocation("t-2", TARGET, b"")))
    await settle()
    with pytest.raises(Exhausted, match="memory"):
        await engine.call()
    for sandbox in engine.driver.made[1:]:
        sandbox.answer()
    await asyncio.gather(trial, *running)
