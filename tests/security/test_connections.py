"""A function cannot take the descriptors of the server: it inherits none, and its connections are bounded."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.http.harness import GET, echo, serving, told
from tests.http.test_limits import descriptors_of
from tests.runtime.conftest import Actor, Stage
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

from sesame.http.limits import Limits
from sesame.http.server import HttpServer

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

BOUND = 40
# Of those that are told to come later, whatever the bound is.
REFUSED = 8
TRIED = 400
WITH_BOUND = Limits(connections=BOUND, connections_per_peer=BOUND, refused_connections=REFUSED)
WITHOUT_BOUND = Limits(connections=2 * TRIED, connections_per_peer=2 * TRIED)


@pytest.fixture(scope="module")
def runtime() -> str:
    if "python3.12" not in INTERPRETERS:
        pytest.skip("no interpreter found for python3.12")
    return "python3.12"


async def opens(attacker: Actor, server: HttpServer) -> int:
    event = {"host_address": "127.0.0.1", "tcp": server.port, "most": TRIED}
    return int(await attacker.json(json.dumps(event).encode()))


async def test_connections_of_a_function_take_so_many_descriptors_and_no_more(stage: Stage, until: Any) -> None:
    attacker = await stage.start("attacks", "index.opens_connections")
    async with serving(echo, WITH_BOUND) as server:
        await opens(attacker, server)
        # Those that were taken off the queue of the socket in one turn are closed in the next.
        await until(lambda: descriptors_of(server) <= BOUND + REFUSED, "the rest is closed")
        for _ in range(5):
            assert (await told(server, GET)).startswith(b"HTTP/1.1 200 ")


async def test_without_the_bound_they_take_as_many_as_it_opens(stage: Stage, until: Any) -> None:
    attacker = await stage.start("attacks", "index.opens_connections")
    async with serving(echo, WITHOUT_BOUND) as server:
        opened = await opens(attacker, server)
        assert opened == TRIED
        await until(lambda: descriptors_of(server) >= TRIED, "every connection has a descriptor of the server")


@pytest.mark.parametrize("grade_here", list(GRADES))
@pytest.mark.parametrize("without", ["", "descriptors"])
async def test_no_descriptor_is_inherited(grade_here: str, without: str, tmp_path: Path, runtime: str) -> None:
    """Without the step that closes it, the zygote's control socket is there."""
    async with jail(tmp_path, **GRADES[grade_here], without=frozenset({without} - {""})) as driver:
        attacker = await Stage(driver, runtime).start("attacks", "index.inherits")
        found = await attacker.json(b"{}")
    assert bool(found) == bool(without), found
