"""What runs before an instance is frozen and before it ends, and what never does."""

from typing import Any

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine.instance import State
from sesame.engine.policies import Caps
from sesame.engine.pool import LAST_HOOKS_S
from sesame.model.errors import Forbidden
from sesame.model.function import InstanceLifecycleConfig, LifecycleHook
from sesame.sandbox.interface import Call, Reply, SandboxDied

HOOKS = InstanceLifecycleConfig(
    pre_freeze=LifecycleHook(handler="index.pre_freeze", timeout=7),
    pre_stop=LifecycleHook(handler="index.pre_stop", timeout=9),
)


def deployed(caps: Caps | None = None, **changes: Any) -> Engine:
    engine = build(caps)
    engine.deploy(instance_lifecycle_config=HOOKS, **changes)
    return engine


def kinds(sandbox: FakeSandbox) -> list[str]:
    return [call.kind for call in sandbox.calls]


def log_of(engine: Engine) -> str:
    return b"".join(data for _source, _request_id, data in engine.kept).decode()


async def idle(engine: Engine, seconds: float) -> None:
    """Time passes, a tick after the other."""
    for _ in range(round(seconds)):
        engine.clocks.advance(1)
        await settle()


async def test_pre_freeze_runs_once_before_the_instance_is_frozen() -> None:
    engine = deployed()
    await engine.call()
    [sandbox] = engine.driver.made
    await idle(engine, 5)
    assert kinds(sandbox) == ["invoke", "pre_freeze"]
    assert sandbox.frozen
    await engine.call()
    assert engine.driver.made == [sandbox]
    await idle(engine, 5)
    assert kinds(sandbox) == ["invoke", "pre_freeze"] * 2


async def test_a_hook_has_its_own_log_and_context() -> None:
    engine = deployed()
    engine.driver.behaviour = lambda sandbox, call: Reply(call.kind == "invoke", b"{}")
    await engine.call(request_id="r-1")
    await idle(engine, 3)
    [_invoke, hook] = engine.driver.made[0].calls
    assert hook.request_id != "r-1"
    assert hook.meta["credentials"]["access_key_id"] == "id"
    assert engine.asked[-1][1] > 7
    assert f"FC PreFreeze Start RequestId: {hook.request_id}\r\n" in log_of(engine)
    assert f"FC PreFreeze End RequestId: {hook.request_id}, Error: Unhandled function error\r\n" in log_of(engine)
    assert engine.driver.made[0].frozen, "a hook that raised holds nothing up"


async def test_a_call_during_a_hook_takes_another_instance() -> None:
    engine = deployed()
    await engine.call()
    engine.driver.behaviour = lambda sandbox, call: None if call.kind == "pre_freeze" else Reply(True, b"ok")
    await idle(engine, 2)
    first = engine.driver.made[0]
    assert first.hanging
    assert (await engine.call()).payload == b"ok"
    assert len(engine.driver.made) == 2
    first.answer()
    await settle()
    assert first.frozen


@pytest.mark.parametrize("ends", ["timeout", "exit"])
async def test_a_hook_that_exceeds_its_time_limit_ends_its_instance(ends: str) -> None:
    engine = deployed()
    await engine.call()

    def behave(_sandbox: FakeSandbox, call: Call) -> Reply | SandboxDied | None:
        return None if ends == "timeout" else SandboxDied("exit")

    engine.driver.behaviour = behave
    await idle(engine, 2)
    if ends == "timeout":
        assert engine.driver.made[0].hanging
        await idle(engine, 8)
    assert not engine.driver.alive
    assert engine.pool.instances() == []
    assert "FC PreStop" not in log_of(engine)


async def test_pre_stop_runs_before_an_instance_expires() -> None:
    engine = deployed()
    await engine.call()
    await idle(engine, 310)
    [sandbox] = engine.driver.made
    assert kinds(sandbox) == ["invoke", "pre_freeze", "pre_stop"]
    assert not sandbox.alive
    assert engine.pool.instances() == []


async def test_pre_stop_runs_before_an_instance_of_old_code_ends() -> None:
    engine = deployed()
    await engine.call()
    engine.deploy(instance_lifecycle_config=HOOKS, description="new")
    await settle()
    assert kinds(engine.driver.made[0]) == ["invoke", "pre_stop"]
    assert not engine.driver.alive


async def test_pre_stop_runs_before_an_instance_is_evicted() -> None:
    engine = deployed(Caps(instances_per_function=1, memory_mb=128, starts_at_once=1, keep_alive_s=300))
    engine.deploy("other")
    await engine.call()
    assert (await engine.call("other")).cold
    assert kinds(engine.driver.made[0]) == ["invoke", "pre_stop"]
    assert not engine.driver.made[0].alive


async def test_pre_stop_does_not_run_after_a_failed_call() -> None:
    engine = deployed()
    engine.driver.behaviour = lambda sandbox, call: SandboxDied("exit")
    await engine.call()
    assert kinds(engine.driver.made[0]) == ["invoke"]


async def test_on_shutdown_pre_stop_runs_in_idle_instances() -> None:
    engine = deployed()
    await engine.call()
    await engine.local.drain(0)
    assert kinds(engine.driver.made[0]) == ["invoke", "pre_stop"]
    assert not engine.driver.alive


async def test_shutdown_does_not_wait_for_pre_stop_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sesame.engine.pool.LAST_HOOKS_S", 0.02)
    assert LAST_HOOKS_S > 1
    engine = deployed()
    await engine.call()
    engine.driver.behaviour = lambda sandbox, call: None
    await engine.local.drain(0)
    assert not engine.driver.alive
    assert engine.pool.instances() == []


async def test_python_2_has_no_hooks() -> None:
    engine = deployed(runtime="python2.7")
    await engine.call()
    await idle(engine, 310)
    assert kinds(engine.driver.made[0]) == ["invoke"]
    assert not engine.driver.alive


async def test_hooks_are_skipped_when_credentials_cannot_be_had() -> None:
    engine = deployed()
    await engine.call()
    [instance] = engine.pool.instances()
    assert instance.state is State.IDLE
    engine.credentials_fail.append(Forbidden("the role is gone"))
    await idle(engine, 3)
    assert kinds(engine.driver.made[0]) == ["invoke"]
    assert engine.driver.made[0].frozen
