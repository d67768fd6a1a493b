"""Callers of synchronous functions at each machine of a cluster, and what is judged of their calls and instances.

Used by the tests of a cluster's faults. Where a call ran is told by the function itself, to the ledger.
"""

import collections
import http.client
import itertools
import json
import threading
import time

import msgspec
from tests.support.signer import API, Api
from tests.torture.async_callers import SERVICE
from tests.torture.ledger import Ledger, Report

# Runs anywhere, and in few instances only.
ANYWHERE, CAPPED = "anywhere", "capped"
CAP = 3
PAUSE_S = 0.02
AFTER_A_FAILURE_S = 0.1
# A call that is not answered for so long has failed.
TIMEOUT_S = 30.0
PREFIX = "call-"
BEYOND_A_CAP = 429


class Call(msgspec.Struct, frozen=True):
    """`at` is the machine that was asked; `problem` is empty for a call that was answered, or refused for its cap."""

    id: str
    at: str
    began: float
    ended: float
    problem: str = ""
    ran: bool = True


class Caller:
    """One thread, which calls one machine again and again. `calls` is complete once it has ended."""

    def __init__(self, function: str, machine: str, api: Api, ledger: Ledger) -> None:
        self.calls: list[Call] = []
        self._function, self._machine, self._api, self._ledger = function, machine, api, ledger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"{function}-{machine}", daemon=True)

    def is_of(self, function: str, machine: str) -> bool:
        return (self._function, self._machine) == (function, machine)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(TIMEOUT_S * 2)
        assert not self._thread.is_alive()

    def answered_since(self, moment: float) -> int:
        return sum(call.ran and call.began >= moment for call in list(self.calls))

    def _work(self) -> None:
        connection: http.client.HTTPConnection | None = None
        for number in itertools.count():
            if self._over.wait(PAUSE_S):
                return
            if connection is None:
                connection = self._api.connection()
                connection.timeout = TIMEOUT_S
            call = self._call(connection, f"{PREFIX}{self._function}-{self._machine}-{number}")
            self.calls.append(call)
            if call.problem:
                connection.close()
                connection = None
                self._over.wait(AFTER_A_FAILURE_S)

    def _call(self, connection: http.client.HTTPConnection, name: str) -> Call:
        path = f"{API}/services/{SERVICE}/functions/{self._function}/invocations"
        event = {"id": name, "pause_s": PAUSE_S, "ledger": self._ledger.port, "at": self._ledger.address}
        began = time.monotonic()
        problem, ran = "", False
        try:
            connection.request("POST", path, json.dumps(event).encode(), self._api.signed("POST", path))
            answer = connection.getresponse()
            body = answer.read()
            ran = answer.status == 200 and "x-fc-error-type" not in {name.lower() for name in answer.headers}
            if not ran and answer.status != BEYOND_A_CAP:
                problem = f"{answer.status} {body[:300]!r}"
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
        return Call(name, self._machine, began, time.monotonic(), problem, ran)


class Fault(msgspec.Struct, frozen=True):
    """`machine` was lost between these moments; none was, where Ray's head or an agent was killed."""

    what: str
    machine: str
    began: float
    ended: float


def failures(calls: list[Call], reports: list[Report], faults: list[Fault]) -> list[Call]:
    """The calls that failed though neither the machine that was asked was lost nor the one where they ran."""
    ran_at = collections.defaultdict(set)
    for report in reports:
        if report.id.startswith(PREFIX):
            ran_at[report.id].add(report.condition.partition(" ")[2])

    def is_excused(call: Call) -> bool:
        return any(
            fault.machine and fault.machine in {call.at, *ran_at[call.id]}
            and call.began <= fault.ended and fault.began <= call.ended
            for fault in faults
        )  # fmt: skip

    return [call for call in calls if call.problem and not is_excused(call)]


def most_instances(reports: list[Report]) -> tuple[int, str]:
    """The most instances of the capped function that lived at once, from first word to last."""
    lives: dict[str, list[float]] = {}
    for report in reports:
        if report.id.startswith(f"{PREFIX}{CAPPED}-"):
            life = lives.setdefault(report.condition, [report.at, report.at])
            life[1] = report.at
    most: tuple[int, str] = (0, "")
    for began, _ended in lives.values():
        there = sorted(name for name, life in lives.items() if life[0] <= began <= life[1])
        most = max(most, (len(there), f"{there} at {began}"))
    return most
