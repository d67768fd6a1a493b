"""How functions fail (reference/runtime.md §6): error bodies, load failures, and the ways in which a process ends."""

import asyncio
import re
from typing import Any

import pytest

from sesame.sandbox.interface import KillReason, SandboxDied

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_exception_without_the_shims_frames(stage: Any) -> None:
    actor = await stage.start("raises")
    body = await actor.error(b"{}")
    assert body == {
        "errorMessage": "'key'",
        "errorType": "KeyError",
        "stackTrace": [
            ['File "/code/index.py"', "line 19", "in handler", "return inner(json.loads(event))"],
            ['File "/code/index.py"', "line 23", "in inner", "return evt['key']"],
        ],
    }


async def test_the_error_type_has_no_module(stage: Any) -> None:
    body = await (await stage.start("raises", "index.custom")).error()
    assert (body["errorType"], body["errorMessage"]) == ("Custom", "it broke, badly")
    assert body["stackTrace"] == [['File "/code/index.py"', "line 27", "in custom", "raise Custom('it broke, badly')"]]


async def test_messages_that_cannot_be_written(stage: Any) -> None:
    body = await (await stage.start("raises", "index.unprintable")).error()
    assert body["errorMessage"] == "<unprintable Unprintable object>"
    assert (await (await stage.start("raises", "index.text")).error())["errorMessage"] == "你好"
    raw = await (await stage.start("raises", "index.raw")).error()
    assert raw["errorMessage"] == ("\ufffd\ufffd" if stage.py2 else "b'\\xff\\xfe'")


async def test_paths_are_shown_as_the_function_knows_them(stage: Any) -> None:
    body = await (await stage.start("raises", "index.names_its_file")).error()
    assert re.fullmatch(r"/code/index\.pyc?", body["errorMessage"])


async def test_endless_recursion(stage: Any) -> None:
    body = await (await stage.start("raises", "index.deep")).error()
    assert body["errorType"] == ("RuntimeError" if stage.py2 else "RecursionError")
    assert len(body["stackTrace"]) > 500


async def test_a_handler_that_cannot_be_called(stage: Any) -> None:
    assert (await (await stage.start("raises", "index.not_callable")).error())["errorType"] == "TypeError"


async def test_errors_are_logged_as_json(stage: Any) -> None:
    actor = await stage.start("raises")
    reply = await actor.invoke(b"{}", request_id="the-request")
    head = actor.lines()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z the-request \[ERROR\] \{", head)
    assert actor.text.endswith(reply.payload.decode()[1:] + "\n")


async def test_import_failed(stage: Any) -> None:
    actor = await stage.start("broken_import")
    kind = "ImportError: No module named" if stage.py2 else "ModuleNotFoundError: No module named"
    quoted = "no_such_module_anywhere" if stage.py2 else "'no_such_module_anywhere'"
    body = await actor.error()
    assert body == {
        "errorMessage": "Unable to import module 'index'",
        "errorType": "ImportModuleError",
        "stackTrace": [f"{kind} {quoted}"],
    }
    logged = actor.lines()[-1]
    assert " [ERROR] {" in logged
    assert "'errorType'" in logged


async def test_the_module_does_not_exist(stage: Any) -> None:
    actor = await stage.start("hello", "elsewhere.handler")
    body = await actor.error()
    kind = "ModuleNotFoundError" if stage.runtime == "python3.12" else "ImportError"
    name = "elsewhere" if stage.py2 else "'elsewhere'"
    assert body == {
        "errorMessage": "Unable to import module 'elsewhere'",
        "errorType": "ImportModuleError",
        "stackTrace": [f"{kind}: No module named {name}"],
    }
    nested = await stage.start("hello", "no/such/elsewhere.handler")
    assert (await nested.error())["errorMessage"] == "Unable to import module 'no/such/elsewhere'"


async def test_the_module_is_searched_in_the_code_only(stage: Any) -> None:
    assert (await (await stage.start("hello", "json.loads")).error())["errorType"] == "ImportModuleError"


async def test_syntax_error(stage: Any) -> None:
    body = await (await stage.start("broken_syntax")).error()
    assert body["errorMessage"] == "Syntax error in module 'index'"
    assert body["errorType"] == "UserCodeSyntaxError"
    assert body["stackTrace"][:3] == ['File "/code/index.py"', "line 6", "return )"]
    assert body["stackTrace"][3].startswith("SyntaxError: ")
    assert len(body["stackTrace"]) == 4


async def test_any_other_exception_at_import_and_no_failed_load_is_remembered(stage: Any) -> None:
    actor = await stage.start("broken_value")
    body = await actor.error()
    assert body["errorMessage"] == "Module initialization error: 'cannot start'"
    assert body["errorType"] == "UserCodeError"
    assert body["stackTrace"] == [
        'File "/code/index.py"', "line 10", "in <module>", "broken()",
        'File "/code/index.py"', "line 5", "in broken", "raise ValueError('cannot start')",
        "ValueError: cannot start",
    ]  # fmt: skip
    assert (await actor.invoke()).payload == b"repaired"


async def test_a_handler_without_a_dot(stage: Any) -> None:
    body = await (await stage.start("hello", "handler")).error()
    assert body == {"errorMessage": "Invalid handler 'handler'", "errorType": "InvalidHandleName"}


async def test_the_attribute_is_missing(stage: Any) -> None:
    body = await (await stage.start("hello", "index.absent")).error()
    text = "Handler 'absent' is missing on module 'index'"
    assert body == {"errorMessage": text, "errorType": "HandlerNotFound", "stackTrace": [f"HandlerNotFound: {text}"]}


@pytest.mark.parametrize(
    ("case", "handler", "detail"),
    [
        ("exits", "index.by_sys", "exit status 3"),
        ("exits", "index.with_text", "exit status 1"),
        ("exits", "index.hard", "exit status 9"),
        ("exits", "index.by_signal", "killed by SIGKILL"),
        ("exits", "index.by_realtime_signal", "killed by signal 40"),
        ("exits", "index.crashes", "killed by SIGSEGV"),
        ("exits", "index.with_thread", "exit status 4"),
        ("broken_exit", "index.handler", "exit status 7"),
        ("raises", "index.base", "exit status 1"),
        ("forks", "index.leaves_holder", "exit status 6"),
    ],
)
async def test_exits_and_signals_end_the_process(stage: Any, case: str, handler: str, detail: str) -> None:
    actor = await stage.start(case, handler)
    with pytest.raises(SandboxDied) as died:
        await actor.invoke()
    assert (died.value.reason, str(died.value)) == ("exit", detail)
    assert actor.deaths == 0


async def test_output_before_the_end_is_not_lost(stage: Any) -> None:
    actor = await stage.start("exits", "index.by_sys")
    with pytest.raises(SandboxDied):
        await actor.invoke()
    assert actor.lines() == ["before the end"]
    told = await stage.start("exits", "index.with_text")
    with pytest.raises(SandboxDied):
        await told.invoke()
    assert told.lines() == ["a reason"]
    base = await stage.start("raises", "index.base")
    with pytest.raises(SandboxDied):
        await base.invoke()
    assert "NotAnException: dead" in base.lines()[-1]


async def test_sys_exit_in_a_thread_ends_the_thread(stage: Any) -> None:
    assert (await (await stage.start("exits", "index.in_thread")).invoke()).payload == b"alive"


async def test_a_death_between_two_calls_is_reported_once(stage: Any, until: Any) -> None:
    actor = await stage.start("exits", "index.later")
    assert (await actor.invoke()).payload == b"soon"
    await until(lambda: actor.deaths, "the death was told")
    await until(lambda: "[sesame] the function's process ended with exit status" in actor.text, "the log says why")
    with pytest.raises(SandboxDied) as died:
        await actor.invoke()
    assert died.value.reason == "exit"
    assert actor.deaths == 1


@pytest.mark.parametrize("handler", ["index.handler", "index.on_lock", "index.handles_sigterm"])
async def test_a_timeout_logs_the_stacks(stage: Any, until: Any, handler: str) -> None:
    """A call that hangs is cancelled and killed by its caller; the stacks of its threads are in the log."""
    actor = await stage.start("hangs", handler)
    call = asyncio.create_task(actor.invoke(request_id="slow"))
    await until(lambda: "going to sleep" in actor.text, "the handler runs")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await actor.sandbox.kill(KillReason.TIMEOUT)
    assert re.search(r"Z slow \[ERROR\] Dumping stack trace after function timeout", actor.text)
    assert re.search(r"\[ERROR\] request id = slow, thread id = \d+", actor.text)
    assert 'File "/code/index.py", line ' in actor.text
    assert "in wait_for_it" in actor.text
    assert "bootstrap.py" not in actor.text
    assert "watchdog.py" not in actor.text
    assert actor.deaths == 0


async def test_a_breakpoint_without_a_debugger_says_how_to_get_one(stage: Any) -> None:
    actor = await stage.start(
        "raises", "index.asks_a_debugger", environment={"FC_SERVICE_NAME": "s", "FC_FUNCTION_NAME": "f"}
    )
    body = await actor.error()
    assert body["errorType"] == "BdbQuit"
    assert "`sesame dev --debug s/f`" in body["errorMessage"]


async def test_the_terminal_gets_the_traceback_as_this_python_prints_it(stage: Any) -> None:
    reply = await (await stage.start("raises", "index.chained")).invoke()
    lines = reply.trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: no number"
    assert any(line.startswith('  File "/code/index.py", line ') and line.endswith(", in chained") for line in lines)
    assert ("During handling of the above exception, another exception occurred:" in lines) == (not stage.py2)
    assert "bootstrap" not in reply.trace
    assert (await (await stage.start("raises", "index.custom")).invoke()).payload.count(b"trace") == 0


async def test_a_module_that_cannot_be_loaded_is_traced_to_its_line(stage: Any) -> None:
    broken = (await (await stage.start("broken_syntax")).invoke(kind="load")).trace
    assert broken.startswith('  File "/code/index.py", line '), "as for a script: there are no frames but the import's"
    assert "SyntaxError: " in broken.splitlines()[-1]
    missing = (await (await stage.start("broken_import")).invoke(kind="load")).trace
    assert 'File "/code/index.py", line ' in missing
    assert missing.startswith("Traceback (most recent call last):\n")
