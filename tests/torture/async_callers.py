"""Callers of asynchronous functions that go on through every kill, and remember what was answered 202.

Used by the kill test of the queue. A caller that got no answer asks again with the same id, now and then.
"""

import http.client
import itertools
import json
import random
import threading

import msgspec
from tests.support.signer import API, Api
from tests.torture.ledger import Ledger

SERVICE = "torture"
# The functions by what becomes of an event: all of them have destinations for success and for failure.
STEADY, WEB, FAILS = "steady", "web", "fails"
FUNCTIONS = (STEADY, WEB, FAILS)
AFTER_A_FAILURE_S = 0.1
ALREADY_THERE = 409


class Pace(msgspec.Struct, frozen=True):
    """How long each caller waits between two calls, and how long a function takes, at most."""

    between_calls_s: float = 0.02
    call_s: float = 0.03


class Sent(msgspec.Struct):
    """One event. `accepted` once it was answered 202, or 409 to the repetition of a call without an answer."""

    id: str
    function: str
    payload: bytes
    accepted: bool = False


class Caller:
    """One thread. `sent` is complete once the thread has ended."""

    def __init__(self, name: str, api: Api, ledger: Ledger, seed: int, pace: Pace) -> None:
        self.sent: list[Sent] = []
        self.refusals: list[str] = []
        self.repeated = 0
        self._name = name
        self._api = api
        self._ledger = ledger
        self._pace = pace
        self._random = random.Random(f"{seed}-{name}")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        connection: http.client.HTTPConnection | None = None
        unanswered: Sent | None = None
        for number in itertools.count():
            if self._over.wait(self._random.uniform(0, self._pace.between_calls_s)):
                return
            again = unanswered is not None and self._random.random() < 0.5
            event = unanswered if again and unanswered is not None else self._new(number)
            self.repeated += again
            connection = connection or self._api.connection()
            try:
                self._call(connection, event, again=again)
                unanswered = None
            except (OSError, http.client.HTTPException):
                connection.close()
                connection, unanswered = None, event
                self._over.wait(AFTER_A_FAILURE_S)

    def _new(self, number: int) -> Sent:
        function = self._random.choice(FUNCTIONS)
        event = {
            "id": f"{self._name}-{number}",
            "ledger": self._ledger.port,
            "at": self._ledger.address,
            "pause_s": round(self._random.uniform(0, self._pace.call_s), 4),
            "fails": function == FAILS,
        }
        self.sent.append(Sent(f"{self._name}-{number}", function, json.dumps(event).encode()))
        return self.sent[-1]

    def _call(self, connection: http.client.HTTPConnection, event: Sent, *, again: bool) -> None:
        path = f"{API}/services/{SERVICE}/functions/{event.function}/invocations"
        headers = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": event.id}
        connection.request("POST", path, event.payload, self._api.signed("POST", path, headers))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 202 or (again and answer.status == ALREADY_THERE):
            event.accepted = True
        else:
            self.refusals.append(f"{answer.status} {json.loads(body)['ErrorCode']}")
            self._over.wait(AFTER_A_FAILURE_S)
