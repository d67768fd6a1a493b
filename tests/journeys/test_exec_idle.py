"""A command in an idle instance: the instance runs again, and neither freezes nor ends while the command runs."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import fc2
import pytest
from tests.journeys.conftest import RUNTIMES, Sesame, running, wait_until
from tests.journeys.test_exec import Exec, call, instance_of, run, until_said

from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS

__all__ = ["call", "run"]

KEEP_ALIVE_S = 2.0
# An instance is frozen a second after its call.
FROZEN_AFTER_S = 1.3
# The engine freezes and keeps instances, whatever runtime they have.
RUNTIME = list(MINOR_VERSIONS)[-1]
pytestmark = pytest.mark.parametrize("runtime", RUNTIMES[-1:])


@pytest.fixture(params=["auto", pytest.param("plain", marks=pytest.mark.thorough)], scope="module")
def sesame(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(
        tmp_path_factory.mktemp("idle"),
        "--sandbox",
        request.param,
        "--keep-alive-s",
        str(KEEP_ALIVE_S),
        runtime=RUNTIME,
    ) as server:
        yield server


def test_a_frozen_instance_runs_again_and_stays_while_a_command_runs_in_it(
    run: Exec, client: fc2.Client, service: str, call: Callable[..., Any]
) -> None:
    time.sleep(FROZEN_AFTER_S)
    with run("cat") as wire:
        wire.send("\0thawed\n")
        until_said(wire, "thawed\n")
        time.sleep(KEEP_ALIVE_S + 0.5)
        wire.send("\0still here\n")
        until_said(wire, "still here\n")
        assert call().data == b"hello world"
        assert instance_of(client, service, "hello") in run.place
    wait_until(lambda: not client.list_instances(service, "LATEST", "hello").data["instances"], "its end")
