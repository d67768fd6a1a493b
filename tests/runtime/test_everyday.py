"""What ordinary functions do works as it does under the bare interpreter, in every runtime and driver."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPECTED: dict[str, Any] = {
    "programs": [3, "hello", 1],
    "processes": [[0, 1, 4, 9], "from a child", 0],
    "threads": [True, "MainThread"],
    "pickles": ["值", True],
    "signals": [True, True, True, True, True],
    "files": [1000, False, "", "", False],
    "locales": ["UTF-8", "utf-8", "utf-8"],
    "clocks": [8, 0],
    "secure": [True, True],
    "libraries": True,
    "looks": ["index.py", "index", False, ["bootstrap.py"], "def square(number):", "looks", "/code"],
    "generators": [1, "二"],
}


@pytest.mark.parametrize("name", EXPECTED)
async def test_what_functions_do(stage: Any, name: str) -> None:
    expected = EXPECTED[name]
    if name == "programs" and stage.py2:
        expected = [2, *expected[1:]]
    actor = await stage.start("everyday", f"index.{name}")
    assert await actor.json() == expected


async def test_a_database(stage: Any) -> None:
    assert (await (await stage.start("everyday", "index.databases")).invoke()).payload.decode() == "数据"


async def test_a_logging_configuration_of_its_own(stage: Any) -> None:
    actor = await stage.start("everyday", "index.logs")
    await actor.json()
    assert actor.lines() == ["DEBUG|配置 5"]


async def test_large_output_and_a_large_result(stage: Any) -> None:
    actor = await stage.start("everyday", "index.big")
    assert len((await actor.invoke()).payload) == 5 * 1024 * 1024
    assert actor.lines() == [f"line {number}" for number in range(1000)]
