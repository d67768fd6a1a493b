"""Several agents under load: all replaced again and again, and agents killed; see `agents_calls`."""

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fc2
import psutil
import pytest
from tests.journeys.conftest import Sesame, run, running, wait_until
from tests.journeys.test_agents import agents_of, writer_of
from tests.torture.agents_calls import FAILED_SHARE_MAX, Calls, summary
from tests.torture.goodput import good_again

RUNTIME, AGENTS = "python3", 3
CALLS_LEAST, UPGRADES_LEAST = 15_000, 2
RATE = 60.0
# Signatures hold for a quarter of an hour.
SECONDS_MAX = 800.0
KILLS = 3
CALM_S, WATCHED_S = 8.0, 20.0
PAUSE_S = 0.1
# Each while it starts, so that the next one is waited for longer and longer.
KILLED_AGAIN = 7

pytestmark = pytest.mark.torture


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Sesame]:
    flags = ("--agents", str(AGENTS), "--drain-s", "60")
    with running(tmp_path, *flags, runtime=RUNTIME, program=("-m", "sesame"), agents=None) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


class OfficialClient:
    """Calls by the official SDK, one after the other, on a thread."""

    def __init__(self, client: fc2.Client, service: str) -> None:
        self._client, self._service = client, service
        self._over = threading.Event()
        self.answered = 0
        self.failed: list[Exception] = []
        self._thread = threading.Thread(target=self._call)
        self._thread.start()

    def _call(self) -> None:
        while not self._over.wait(PAUSE_S):
            try:
                self._client.invoke_function(self._service, "now")
                self.answered += 1
            except Exception as error:  # noqa: BLE001 (told by the test)
                self.failed.append(error)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def test_upgrades_under_load_fail_hardly_a_call(several: Sesame) -> None:
    calls, began = Calls(several, "upgraded", RUNTIME), time.monotonic()
    sdk = OfficialClient(several.client(), "upgraded")
    upgrades = 0
    try:
        with calls.at(RATE) as callers:
            while upgrades < UPGRADES_LEAST or (time.monotonic() - began) * RATE < CALLS_LEAST:
                before = agents_of(several)
                assert "ready again" in run(several, "upgrade").stderr
                upgrades += 1
                wait_until(functools.partial(_all_replaced, several, upgrades), "the end of the upgrade")
                assert not set(before) & set(agents_of(several))
                assert time.monotonic() - began < SECONDS_MAX, f"only {upgrades} upgrades"
            seen = callers.stop()
    finally:
        sdk.end()
    print(f"\n{upgrades} upgrades of {AGENTS} agents: {summary(seen)}; {sdk.answered} by the SDK, failed: {sdk.failed}")
    assert len(seen.waits_s) + seen.failed.total() >= CALLS_LEAST
    assert seen.share <= FAILED_SHARE_MAX, summary(seen)
    assert sdk.failed == []
    calls.settled(seen.accepted)


def _all_replaced(server: Sesame, times: int) -> bool:
    return server.said().count("All agents have been replaced") == times


@pytest.mark.parametrize("which", ["a follower", "the writer"])
def test_goodput_after_an_agent_is_killed(several: Sesame, which: str) -> None:
    """Prints it: a busy machine has dips of its own. What fails is what was on the agent that was killed."""
    calls = Calls(several, "killed", RUNTIME)
    killed_at: list[float] = []
    with calls.at(RATE) as callers:
        for _ in range(KILLS):
            time.sleep(CALM_S)
            writer = writer_of(several)
            killed = writer if which == "the writer" else next(each for each in agents_of(several) if each != writer)
            killed_at.append(time.monotonic())
            killed.kill()
            time.sleep(WATCHED_S)
            wait_until(lambda: len(agents_of(several)) == AGENTS, "as many agents as before")
        seen = callers.stop()
    found = [good_again(seen.answered_at, moment, moment + WATCHED_S) for moment in killed_at]
    shown = ", ".join(f"{first:.1f} s (the last dip ended after {last:.1f} s)" for first, last in found)
    print(f"\nkill -9 of {which}: goodput as before after {shown}; {summary(seen)}")
    assert all(first < WATCHED_S for first, _last in found), shown
    calls.settled(seen.accepted)


def test_callers_are_never_told_of_an_error_of_ours_while_the_writer_is_killed_again_and_again(several: Sesame) -> None:
    """What was on the writer is cut off; everything else waits, or is told to come again."""
    calls = Calls(several, "again", RUNTIME)
    with calls.at(RATE) as callers:
        time.sleep(CALM_S)
        for _ in range(KILLED_AGAIN):
            killed = writer_of(several)
            killed.kill()
            wait_until(functools.partial(_is_another, several, killed), "the next writer")
            time.sleep(PAUSE_S)
        wait_until(lambda: len(agents_of(several)) == AGENTS, "as many agents as before")
        time.sleep(WATCHED_S)
        seen = callers.stop()
    print(f"\n{summary(seen)}")
    assert not [what for what in seen.failed if what.startswith("500")], summary(seen)
    calls.settled(seen.accepted)


def _is_another(server: Sesame, writer: psutil.Process) -> bool:
    return writer_of(server) != writer
