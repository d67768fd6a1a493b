"""The road of an invocation on fakes: results, failures, timeouts, initializers, logs.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
import json

import msgspec
import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.model import limits, records
from sesame.model.command import Command
from sesame.model.errors import NotFound, PlatformError, Recursive, Unusable
from sesame.model.invocation import Invocation, Target
from sesame.sandbox.interface import Call, KillReason, Reply, SandboxDied


async def test_a_call_answers_what_the_function_returned(engine: Engine) -> None:
    outcome = await engine.call(event=b"hello")
    assert (outcome.payload, outcome.error, outcome.cold) == (b"echo:hello", None, True)
    assert (outcome.version_id, outcome.code_checksum, outcome.memory_mb) == ("LATEST", "42", 12.5)


async def test_sequential_calls_reuse_the_instance(engine: Engine) -> None:
    first = await engine.call()
    second = await engine.call()
    assert first.instance_id == second.instance_id
    assert (first.cold, second.cold, len(engine.driver.made)) == (True, False, 1)


async def test_simultaneous_calls_get_an_instance_each(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    calls = [asyncio.create_task(engine.call()) for _ in range(3)]
    await settle()
    assert len(engine.driver.alive) == 3
    for sandbox in engine.driver.made:
        sandbox.answer()
    assert len({outcome.instance_id for outcome in await asyncio.gather(*calls)}) == 3


async def test_the_shim_is_told_who_calls_whom_with_which_credentials(engine: Engine) -> None:
    target = Target("s", "LATEST", "f")
    await engine.dispatcher.invoke(Invocation("r-9", target, b"", retry_count=2, tracing={"span_context": "c"}))
    (call,) = engine.driver.made[0].calls
    assert (call.kind, call.request_id) == ("invoke", "r-9")
    assert call.meta["credentials"] == {
        "access_key_id": "id", "access_key_secret": "secret", "security_token": "token",
    }  # fmt: skip
    assert (call.meta["qualifier"], call.meta["version_id"], call.meta["retry_count"]) == ("LATEST", "LATEST", 2)
    assert call.meta["tracing"] == {"span_context": "c"}
    ((role, validity_s),) = engine.asked
    assert role == ""
    assert validity_s > 3 + 3, "credentials must outlive the initializer and the call"


async def test_a_function_error_keeps_the_instance(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: Reply(False, b'{"errorMessage":"x"}')
    outcome = await engine.call()
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.reason) == ("UnhandledInvocationError", "unhandled")
    assert outcome.payload == b'{"errorMessage":"x"}'
    assert (await engine.call()).instance_id == outcome.instance_id


@pytest.mark.parametrize("reason", ["exit", "out_of_memory", "protocol"])
async def test_a_death_is_an_outcome_and_the_instance_is_replaced(engine: Engine, reason: str) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied(reason)
    outcome = await engine.call()
    assert outcome.error is not None
    assert outcome.error.reason == reason
    assert json.loads(outcome.payload) == {
        "errorMessage": "Process exited unexpectedly before completing request (duration: 0ms, maxMemoryUsage: 12.50MB)"
    }
    assert not engine.driver.alive
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"fine")
    assert (await engine.call()).cold


async def test_a_timeout_kills_the_instance_and_logs_its_stacks(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    engine.clocks.advance(2.9)
    await settle()
    assert not task.done()
    engine.clocks.advance(0.2)
    outcome = await task
    assert outcome.error is not None
    assert outcome.error.reason == "timeout"
    assert json.loads(outcome.payload) == {
        "errorMessage": "Function timed out after 3 seconds (maxMemoryUsage: 12.50MB)"
    }
    assert engine.driver.made[0].dumped
    assert b"Dumping stack trace" in outcome.log_tail
    assert not engine.driver.alive


async def test_an_answered_call_leaves_no_deadline_behind(engine: Engine) -> None:
    await engine.call()
    engine.clocks.advance(10)
    await settle()
    assert len(engine.driver.alive) == 1


async def test_when_the_caller_goes_away_the_instance_is_killed_and_the_log_says_why(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not engine.driver.alive
    assert b"Error: Invocation canceled by client" in b"".join(data for _, _, data in engine.kept)


async def test_the_initializer_runs_once_for_each_instance(engine: Engine) -> None:
    engine.deploy(initializer="index.init")
    await engine.call()
    await engine.call()
    assert [call.kind for call in engine.driver.made[0].calls] == ["initialize", "invoke", "invoke"]


async def test_a_failed_initializer_fails_the_call_and_the_next_gets_a_new_instance(engine: Engine) -> None:
    engine.deploy(initializer="index.init")

    def fails_first(sandbox: FakeSandbox, call: Call) -> Reply:
        return Reply(not (call.kind == "initialize" and sandbox is engine.driver.made[0]), b'{"errorMessage":"i"}')

    engine.driver.behaviour = fails_first
    outcome = await engine.call()
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.reason) == ("UnhandledInvocationError", "initializer")
    assert [call.kind for call in engine.driver.made[0].calls] == ["initialize"]
    second = await engine.call()
    assert second.error is None
    assert second.instance_id != outcome.instance_id


async def test_the_initializer_has_a_time_limit_of_its_own(engine: Engine) -> None:
    engine.deploy(initializer="index.init", initialization_timeout=1, timeout=60)
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    engine.clocks.advance(1.1)
    outcome = await task
    assert b"timed out after 1 seconds" in outcome.payload


async def test_the_log_has_the_shape_of_the_cloud(engine: Engine) -> None:
    def prints(sandbox: FakeSandbox, _call: Call) -> Reply:
        sandbox.on_output(b"one line\n")
        return Reply(True, b"")

    engine.driver.behaviour = prints
    outcome = await engine.call()
    assert outcome.log_tail.decode().startswith(
        "FC Invoke Start RequestId: r-1\r\none line\nFC Invoke End RequestId: r-1\r\n"
    )
    assert (
        b"Duration: 0.00 ms, Billed Duration: 0 ms, Memory Size: 128 MB, Max Memory Used: 12.50 MB" in outcome.log_tail
    )
    assert b"".join(data for _, request_id, data in engine.kept if request_id == "r-1") == outcome.log_tail
    assert engine.kept[0][0].function == "f"
    assert {source.qualifier for source, request_id, _ in engine.kept if request_id == "r-1"} == {"LATEST"}


async def test_the_tail_is_the_end_of_a_long_log(engine: Engine) -> None:
    def prints(sandbox: FakeSandbox, _call: Call) -> Reply:
        for number in range(50_000):
            sandbox.on_output(b"%06d\n" % number)
        return Reply(True, b"")

    engine.driver.behaviour = prints
    outcome = await engine.call()
    assert len(outcome.log_tail) == 4096
    assert b"049999\n" in outcome.log_tail
    assert sum(len(data) for _, _, data in engine.kept) > 350_000, "all of it is kept elsewhere"


async def test_the_end_line_names_the_error(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: Reply(False, b"{}")
    assert b"FC Invoke End RequestId: r-1, Error: Unhandled function error\r\n" in (await engine.call()).log_tail


async def test_a_missing_or_unrunnable_function_is_the_callers_error(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.call("g")
    with pytest.raises(NotFound):
        await engine.call(service="t")
    engine.deploy("php", runtime="php7.2")
    with pytest.raises(Unusable, match=r"runtime 'php7.2' of function 'php' cannot be run here"):
        await engine.call("php")
    engine.deploy("image", runtime="custom-container")
    with pytest.raises(Unusable, match=r"function 'image' has settings that cannot be used: image is missing"):
        await engine.call("image")


async def test_new_code_serves_the_next_call(engine: Engine) -> None:
    await engine.call()
    engine.deploy(description="changed")
    await settle()
    assert not engine.driver.alive, "the idle instance of the old code went"
    assert (await engine.call()).cold


async def test_a_change_of_the_service_replaces_instances_too(engine: Engine) -> None:
    first = await engine.call()
    service = engine.catalog.get(records.SERVICE, "", "s")
    assert service is not None
    engine.catalog.put(records.SERVICE, "", "s", msgspec.structs.replace(service.document, role="r"))
    assert (await engine.call()).instance_id != first.instance_id


async def test_a_call_in_flight_ends_on_the_old_code_and_its_instance_goes(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    engine.deploy(description="changed")
    await settle()
    engine.driver.made[0].answer(b"old")
    assert (await task).payload == b"old"
    await settle()
    assert not engine.driver.alive


async def test_a_failed_start_is_retried(engine: Engine) -> None:
    engine.driver.refuse = 2
    assert (await engine.call()).payload == b"echo:e"


async def test_a_start_that_keeps_failing_is_a_platform_error_and_leaves_nothing(engine: Engine) -> None:
    engine.driver.refuse = 100
    with pytest.raises(PlatformError):
        await engine.call()
    assert engine.pool.instances() == []


async def test_closing_ends_every_instance(engine: Engine) -> None:
    await engine.call()
    await engine.local.drain(0)
    assert not engine.driver.alive
    with pytest.raises(PlatformError):
        await engine.call()


async def test_an_answer_at_the_very_deadline_is_a_timeout_and_its_instance_is_not_reused(
    engine: Engine,
) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    engine.driver.made[0].answer(b"late")
    engine.clocks.advance(3.1)
    outcome = await task
    assert outcome.error is not None
    assert outcome.error.reason == "timeout"
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"fine")
    second = await engine.call()
    assert (second.payload, second.cold) == (b"fine", True)


async def test_a_result_that_is_too_large_fails_the_call_and_ends_the_instance(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, bytes(limits.RESPONSE_PAYLOAD_BYTES))
    assert (await engine.call()).error is None
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, bytes(limits.RESPONSE_PAYLOAD_BYTES + 1))
    outcome = await engine.call()
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.reason) == ("UnhandledInvocationError", "response_too_large")
    assert json.loads(outcome.payload) == {
        "errorMessage": "response payload size 33554433 bytes exceeds maximum allowed size (33554432 bytes)"
    }
    assert not engine.driver.alive


async def test_a_failure_of_the_platform_is_not_logged_as_a_disconnected_client(engine: Engine) -> None:
    def breaks(_sandbox: FakeSandbox, _call: Call) -> Reply:
        raise ZeroDivisionError

    engine.driver.behaviour = breaks
    with pytest.raises(ZeroDivisionError):
        await engine.call()
    kept = b"".join(data for _, _, data in engine.kept)
    assert b"FC Invoke End RequestId: r-1, Error: Internal error (duration: 0ms" in kept
    assert not engine.driver.alive


async def test_closing_the_engine_ends_a_running_call_as_a_death(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    await engine.local.drain(0)
    outcome = await task
    assert outcome.error is not None
    assert b"Process exited unexpectedly" in outcome.payload
    assert engine.pool.instances() == []


async def test_closing_between_initializer_and_call_ends_the_call(engine: Engine) -> None:
    engine.deploy(initializer="index.init")
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    engine.driver.made[0].answer()
    await engine.local.drain(0)
    outcome = await task
    assert outcome.error is not None
    assert b"Process exited unexpectedly" in outcome.payload
    assert not engine.driver.alive


async def test_calls_are_counted_by_how_they_ended(engine: Engine) -> None:
    await engine.call()
    engine.driver.behaviour = lambda _sandbox, _call: Reply(False, b"{}")
    await engine.call()
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied("out_of_memory")
    await engine.call()
    assert dict(engine.dispatcher.ended) == {"": 1, "unhandled": 1, "out_of_memory": 1}


@pytest.mark.parametrize(
    ("reason", "detail", "line"),
    [
        ("exit", "exit status 3", b"[sesame] the function's process ended with exit status 3\n"),
        ("out_of_memory", "130.00 MB of 128 MB", b"was killed because it was out of memory: 130.00 MB of 128 MB\n"),
    ],
)
async def test_the_log_says_why_the_process_ended(engine: Engine, reason: str, detail: str, line: bytes) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied(reason, detail)
    outcome = await engine.call()
    assert line in outcome.log_tail
    assert outcome.log_tail.index(line) < outcome.log_tail.index(b"FC Invoke End")


async def test_a_drain_gives_calls_in_flight_their_time_and_lets_no_other_in(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    draining = asyncio.create_task(engine.local.drain(60))
    await settle()
    with pytest.raises(PlatformError, match="stopping"):
        await engine.call()
    assert not draining.done()
    engine.driver.made[0].answer(b"in time")
    assert (await task).payload == b"in time"
    await draining
    assert not engine.driver.alive
    assert await engine.local.instances("s", "f") == []


async def test_a_drain_ends_calls_that_take_too_long(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    task = asyncio.create_task(engine.call())
    await settle()
    await engine.local.drain(0.01)
    outcome = await task
    assert outcome.error is not None
    assert (outcome.error.reason, engine.driver.made[0].killed_for) == ("killed", KillReason.STOPPING)


async def test_instances_are_listed_by_function_with_their_version(engine: Engine) -> None:
    engine.deploy("g")
    await engine.call()
    await engine.call("g")
    (listed,) = await engine.local.instances("s", "f")
    assert (listed.service, listed.function, listed.version_id) == ("s", "f", limits.LATEST)
    assert (listed.created_at, listed.provisioned) == (engine.clocks.wall(), False)
    async with engine.local.exec(listed, Command(("ls",))) as running:
        assert not running.instance_ended()
        engine.driver.made[0].die()
        await settle()
        assert running.instance_ended()
    with pytest.raises(NotFound):
        async with engine.local.exec(listed, Command(("ls",))):
            pass


@pytest.mark.parametrize("way", ["fails", "canceled", "expires", "changes"])
async def test_every_end_has_a_reason(engine: Engine, way: str) -> None:
    await engine.call()
    (sandbox,) = engine.driver.made
    if way == "fails":
        engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"x" * (limits.RESPONSE_PAYLOAD_BYTES + 1))
        await engine.call()
    elif way == "canceled":
        engine.driver.behaviour = lambda _sandbox, _call: None
        task = asyncio.create_task(engine.call())
        await settle()
        task.cancel()
    elif way == "expires":
        engine.clocks.advance(302)
    else:
        engine.deploy(description="changed")
    await settle()
    assert (
        sandbox.killed_for
        is {
            "fails": KillReason.FAILED,
            "canceled": KillReason.CANCELED,
            "expires": KillReason.EXPIRED,
            "changes": KillReason.OUTDATED,
        }[way]
    )


async def test_credentials_carry_the_chain_that_a_limit_cuts() -> None:
    engine = build(recursion_limit=2)
    engine.deploy()
    target = Target("s", "LATEST", "f")
    for chain in ((), ("s/f",), ("s/f", "s/g")):
        await engine.dispatcher.invoke(Invocation("r-1", target, b"", chain=chain))
    assert engine.chains == [("s/f",), ("s/f", "s/f"), ("s/f", "s/g", "s/f")]
    with pytest.raises(Recursive):
        await engine.dispatcher.invoke(Invocation("r-1", target, b"", chain=("s/f", "s/g", "s/f")))
    assert len(engine.chains) == 3, "a call that was cut starts no instance and asks for no credentials"


async def test_without_a_limit_no_chain_is_kept(engine: Engine) -> None:
    await engine.dispatcher.invoke(Invocation("r-1", Target("s", "LATEST", "f"), b"", chain=("s/f",) * 50))
    assert engine.chains == [()]


async def test_calls_that_are_aborted_fail_as_where_the_process_has_died(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    running = asyncio.create_task(engine.call())
    await settle()
    for instance in engine.pool.instances():
        instance.abort()
        instance.abort()
    outcome = await running
    assert outcome.error is not None
    assert outcome.error.type == "UnhandledInvocationError"
    assert (len(engine.driver.alive), engine.driver.made[0].killed_for) == (0, KillReason.ABORTED)
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"fine")
    assert (await engine.call()).payload == b"fine"
    for instance in engine.pool.instances():
        instance.abort()
    assert (await engine.call()).cold is False, "an idle instance is left alone"
