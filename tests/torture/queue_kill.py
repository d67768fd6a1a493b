"""Kills Sesame, zygotes, instances and PostgreSQL at random moments under asynchronous calls, and judges what is left.

Used by test_queue_kill here and in the journeys. SESAME_TORTURE_SEED sets the random numbers; the seed is printed.
Never kills anything but what it started.
"""

import collections
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import requests
from tests.support import postgresql
from tests.support.signer import Api
from tests.support.zips import zip_of
from tests.torture import queue_check
from tests.torture.async_callers import FAILS, SERVICE, STEADY, WEB, Caller, Pace
from tests.torture.forked_sesame import ACCOUNT_ID, REGION, ForkedSesame
from tests.torture.ledger import Ledger
from tests.torture.queue_check import FINAL, Kill, Records, Verdict

CODE = Path(__file__).parents[1] / "functions" / "torture_executions" / "index.py"
RUNTIME = "python3.10"
ROLE = "caller"
CALLERS = 4
LIFE_S_MAX = 0.4
# Now and then nothing is killed for a while: what runs twice then has no excuse.
CALM_EVERY, CALM_S = 15, 1.5
POSTGRESQL_DOWN_S_MAX = 1.0
SETTLED_TIMEOUT_S = 180.0
# Which share of the kills meets each.
WEIGHTS = {"sesame": 0.4, "instance": 0.4, "zygote": 0.2}
# Instances that are killed cost attempts; with so many no event runs out of them.
RETRIES, RETRIES_OF_FAILURES = 8, 1


class Plan(msgspec.Struct, frozen=True):
    """How many kills of Sesame, its zygotes and instances, and how many more of PostgreSQL; for at most so long.

    Meanwhile calls come at this pace.
    """

    moments: int
    of_postgresql: int = 0
    seconds_max: float = 3600.0
    pace: Pace = Pace()


def run(folder: Path, plan: Plan, server: postgresql.Server | None = None) -> Verdict:
    """On SQLite, or with a `server` on a database of its own there. Raises `AssertionError` for what is amiss."""
    seed = int(os.environ.get("SESAME_TORTURE_SEED", time.time_ns()))
    print(f"SESAME_TORTURE_SEED={seed}")
    config = folder / "sesame.toml"
    # Without the right to call functions, records would not reach the function that they are for.
    config.write_text(f'[roles.{ROLE}]\npolicies = ["AliyunFCInvocationAccess"]\n')
    # The ledger, to which functions tell what they did, listens on this machine.
    flags = ["--config", str(config), "--network", "host"]
    if server is not None:
        server.sql(f"CREATE DATABASE torture TEMPLATE {postgresql.TEMPLATE}")
        flags += ["--database", server.url("torture")]
    sesame = ForkedSesame(folder, RUNTIME, *flags)
    try:
        with Ledger(folder / "ledger.jsonl") as ledger:
            sesame.start()
            deploy(sesame.api(), ledger)
            torture = _Torture(sesame, ledger, server, seed, plan.pace)
            torture.kill_all(plan)
            verdict = torture.judged()
        print(f"{len(torture.kills)} kills: {verdict}")
        return verdict
    except AssertionError as error:
        raise AssertionError(f"{error}\nSesame said last:\n{sesame.said()}") from error
    finally:
        sesame.close()


def deploy(api: Api, ledger: Ledger) -> None:
    service = {"serviceName": SERVICE, "role": f"acs:ram::{ACCOUNT_ID}:role/{ROLE}"}
    _made(api("POST", "/services", msgspec.json.encode(service)))
    for name, handler in ((STEADY, "my_handler"), (WEB, "my_handler"), (FAILS, "my_handler"), ("to", "my_destination")):
        deploy_function(api, name, handler)
    to_function = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/{SERVICE}/functions/to"
    for name, destination in ((STEADY, to_function), (WEB, ledger.url), (FAILS, to_function)):
        config = {
            "destinationConfig": {outcome: {"destination": destination} for outcome in ("onSuccess", "onFailure")},
            "maxAsyncRetryAttempts": RETRIES_OF_FAILURES if name == FAILS else RETRIES,
            "statefulInvocation": True,
        }
        path = f"/services/{SERVICE}/functions/{name}/async-invoke-config"
        _made(api("PUT", path, msgspec.json.encode(config)))


def deploy_function(api: Api, name: str, handler: str) -> None:
    code = msgspec.json.encode(zip_of({"index.py": CODE.read_bytes()})).decode().strip('"')
    function = {"functionName": name, "runtime": RUNTIME, "handler": f"index.{handler}", "memorySize": 128}
    function |= {"timeout": 20, "code": {"zipFile": code}}
    _made(api("POST", f"/services/{SERVICE}/functions", msgspec.json.encode(function)))


class _Torture:
    def __init__(
        self, sesame: ForkedSesame, ledger: Ledger, server: postgresql.Server | None, seed: int, pace: Pace
    ) -> None:
        self.kills: list[Kill] = []
        self._sesame = sesame
        self._ledger = ledger
        self._server = server
        self._random = random.Random(seed)
        self._callers = [Caller(f"c{number}", sesame.api(), ledger, seed, pace) for number in range(CALLERS)]
        self._final: Records = {}

    def kill_all(self, plan: Plan) -> None:
        kinds = [kind for kind, share in WEIGHTS.items() for _ in range(round(plan.moments * share))]
        kinds += ["postgresql"] * plan.of_postgresql
        self._random.shuffle(kinds)
        deadline = time.monotonic() + plan.seconds_max
        for caller in self._callers:
            caller.start()
        try:
            for number, kind in enumerate(kinds):
                assert time.monotonic() < deadline, f"only {number} of {len(kinds)} kills in {plan.seconds_max:.0f} s"
                time.sleep(self._random.uniform(0, LIFE_S_MAX) if number % CALM_EVERY else CALM_S)
                self._kill(kind)
                assert self._sesame.lives(), f"Sesame ended by itself after a kill of {kind}"
        finally:
            for caller in self._callers:
                caller.stop()

    def _kill(self, kind: str) -> None:
        if kind == "sesame":
            with self._noted(kind):
                self._sesame.kill()
                self._sesame.start()
            self._remember()
        elif kind == "postgresql":
            assert self._server is not None
            with self._noted(kind):
                self._server.kill()
                time.sleep(self._random.uniform(0, POSTGRESQL_DOWN_S_MAX))
                self._server.start()
        else:
            victim = self._random.choice(self._running(kind))
            with self._noted(kind), contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def _running(self, kind: str) -> list[int]:
        """Soon after a kill there may be none for a while; of zygotes, until an instance has to start."""
        found: list[int] = []

        def look() -> bool:
            found[:] = sorted(self._sesame.instances() if kind == "instance" else self._sesame.zygotes())
            if not found and kind == "zygote":
                self._kill("instance")
            return bool(found)

        _wait(look, f"another {kind}")
        return found

    @contextlib.contextmanager
    def _noted(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.kills.append(Kill(kind, began, time.monotonic() if kind == "postgresql" else began))

    def _remember(self) -> None:
        """Some final records, which must never be others."""
        api = self._sesame.api()
        function = self._random.choice((STEADY, WEB, FAILS))
        for status in FINAL:
            self._final |= queue_check.records(api, function, status, 20)

    def judged(self) -> Verdict:
        """Once nothing is under way any more."""
        api = self._sesame.api()
        _wait(
            lambda: not queue_check.under_way(api),
            "the final record of every event",
            lambda: f"{len(self._ledger.reports())} reports",
        )
        sent = [event for caller in self._callers for event in caller.sent]
        found = queue_check.all_records(api)
        _wait(
            lambda: not queue_check.missing_arrivals(sent, found, self._ledger.reports()),
            "the record of every event at its destination",
            lambda: str(
                [found[name] for name in queue_check.missing_arrivals(sent, found, self._ledger.reports())][:5]
            ),
        )
        for name, before in self._final.items():
            assert _lasting(found[name]) == _lasting(before), "a final record changed"
        verdict = queue_check.judge(sent, found, self._ledger.reports(), self.kills)
        refused = collections.Counter(refusal for caller in self._callers for refusal in caller.refusals)
        print(f"{len(sent)} events sent, {sum(caller.repeated for caller in self._callers)} times again")
        print(f"refused: {dict(refused)}")
        assert verdict.accepted > len(self.kills), "too few events were accepted to judge anything"
        return verdict


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    """Of a final record what never changes; the record at its destination may still be under way."""
    return {key: value for key, value in record.items() if key not in ("destinationStatus", "events")}


def _wait(condition: Callable[[], bool], what: str, found: Callable[[], str] = str) -> None:
    """For as long as what is `found` goes on changing: a busy machine takes minutes for what waits in a queue."""
    last, deadline = found(), time.monotonic() + SETTLED_TIMEOUT_S
    while not condition():
        if (now := found()) != last:
            last, deadline = now, time.monotonic() + SETTLED_TIMEOUT_S
        assert time.monotonic() < deadline, (
            f"{what} was not there, and nothing changed for {SETTLED_TIMEOUT_S:.0f} s: {last}"
        )
        time.sleep(0.1)


def _made(answer: requests.Response) -> None:
    assert answer.status_code == 200, answer.text
