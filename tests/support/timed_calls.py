"""Calls of a function that says when each began and ended (tests/functions/journey_times), and what is judged of them.

Used by the journeys in which several processes keep one cap.
"""

import concurrent.futures
from collections.abc import Sequence

import fc2
from fc2.fc_exceptions import FcError

THREADS = 6
# An instance, and when its call began and ended there.
Ran = tuple[str, float, float]


def timed_calls(clients: Sequence[fc2.Client], service: str, calls: int) -> list[Ran]:
    """Each call that was not refused at a cap, by the clients in turn."""

    def call(number: int) -> Ran | None:
        try:
            answer = clients[number % len(clients)].invoke_function(service, "f", payload=b"0.05")
        except FcError as error:
            if error.status_code != 429:
                raise
            return None
        began, ended = map(float, answer.data.decode().split())
        return answer.headers["X-Fc-Instance-Id"], began, ended

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        return [each for each in threads.map(call, range(calls)) if each is not None]


def require_cap(calls: list[Ran], cap: int) -> None:
    assert calls
    for _instance, began, _ended in calls:
        assert sum(other[1] <= began < other[2] for other in calls) <= cap
