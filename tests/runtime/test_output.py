"""What functions write (reference/runtime.md §7): order, completeness, the layout of log lines, the cut."""

import re
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def cut_by(lost: int) -> str:
    return f"[sesame] {lost} bytes of one write were cut here: at most {128 * 1024} bytes are kept of a write"


async def test_stdout_and_stderr_keep_their_order(stage: Any) -> None:
    actor = await stage.start("prints", "index.order")
    await actor.invoke()
    assert actor.lines() == ["one", "two", "three without newline four", "five"]


async def test_a_megabyte_right_before_the_result_is_complete(stage: Any) -> None:
    actor = await stage.start("prints", "index.megabyte")
    for calls in (1, 2, 3):
        assert (await actor.invoke()).payload == b"done"
        assert actor.lines() == ["x" * 1023] * 1024 * calls


async def test_output_of_child_processes(stage: Any) -> None:
    actor = await stage.start("prints", "index.child")
    await actor.invoke()
    assert actor.lines() == ["before", "from the child", "its stderr", "from system", "after"]


async def test_an_unfinished_line(stage: Any) -> None:
    actor = await stage.start("prints", "index.unfinished")
    await actor.invoke()
    assert actor.lines() == ["no newline at the end"]


async def test_a_write_is_cut_at_128_kib(stage: Any) -> None:
    actor = await stage.start("prints", "index.huge")
    await actor.invoke()
    assert actor.lines() == ["y" * (128 * 1024 - 1), cut_by(200 * 1024 - (128 * 1024 - 1)), "next"]


async def test_a_write_is_not_cut_within_a_character(stage: Any) -> None:
    actor = await stage.start("prints", "index.huge_text")
    await actor.invoke()
    kept = (128 * 1024 - 1) // 3
    assert actor.lines() == ["你" * kept, cut_by(3 * 50_000 - 3 * kept), "next"]


async def test_text_is_utf_8(stage: Any) -> None:
    actor = await stage.start("prints", "index.text")
    await actor.invoke()
    assert actor.lines() == ["你好", "bytes or text"]


async def test_stdout_may_be_wrapped_at_every_call(stage: Any) -> None:
    actor = await stage.start("prints", "index.rewrapped")
    for _ in range(3):
        assert (await actor.invoke()).ok
    assert actor.lines() == ["still here"] * 3


async def test_closing_stdout_fails_no_call(stage: Any) -> None:
    actor = await stage.start("prints", "index.closed")
    for _ in range(2):
        assert (await actor.invoke()).payload == b"done"


async def test_output_of_c_libraries(stage: Any) -> None:
    actor = await stage.start("prints", "index.from_c")
    await actor.invoke()
    assert actor.lines() == ["from C"]


async def test_log_lines(stage: Any) -> None:
    actor = await stage.start("logs")
    await actor.invoke(request_id="req-log")
    lines = actor.lines()
    assert re.fullmatch(STAMP + r" req-log \[INFO\] hello world", lines[0])
    assert re.fullmatch(STAMP + r" req-log \[WARNING\] 你好", lines[1])
    assert re.fullmatch(STAMP + r" req-log \[ERROR\] caught", lines[2])
    assert lines[3] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'inside'"


async def test_the_contexts_logger(stage: Any) -> None:
    actor = await stage.start("context_dump", "index.logs")
    await actor.invoke(request_id="r1")
    assert re.fullmatch(STAMP + r" r1 \[INFO\] through getLogger", actor.lines()[0])
    assert re.fullmatch(STAMP + r" r1 \[WARNING\] through logger", actor.lines()[1])


async def test_a_large_log_line_is_truncated_and_ends_with_a_newline(stage: Any) -> None:
    actor = await stage.start("logs", "index.large")
    await actor.invoke()
    first, note, second = actor.lines()
    assert len(first) == 128 * 1024 - 1
    assert re.fullmatch(r"\[sesame\] \d+ bytes of one write were cut here: .*", note)
    assert second.endswith("[INFO] next")


@pytest.mark.parametrize("handler", ["index.falls_through", "index.raises"])
async def test_a_forked_child_does_not_answer(stage: Any, handler: str) -> None:
    actor = await stage.start("forks", handler)
    for _ in range(3):
        assert (await actor.invoke()).payload == b"parent"


async def test_a_terminated_child_dies_silently(stage: Any) -> None:
    actor = await stage.start("forks", "index.terminated")
    assert (await actor.invoke()).payload == b"15"
    assert "Dumping" not in actor.text


async def test_multiprocessing(stage: Any) -> None:
    actor = await stage.start("forks", "index.pool")
    assert await actor.json(request_id="parallel") == ["parallel", True]
    assert actor.lines() == ["in the child process"]


async def test_started_programs_inherit_neither_the_socket(stage: Any) -> None:
    actor = await stage.start("surroundings", "index.child_files")
    assert set(await actor.json()) <= {0, 1, 2, 3}
    own = await stage.start("surroundings", "index.open_files")
    assert len(await own.json()) < 10
