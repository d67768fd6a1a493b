"""Code that changes under load: updates without a failed or a mixed call, and a canary that gets its share."""

import collections
import itertools
import json
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fc2
import pytest
from tests.journeys.conftest import Sesame
from tests.support.signer import Api

CALLERS = 8
# In `make test`, by `make test-all` and by `make torture`. Updates, and calls meanwhile; each update costs a start for
# each caller.
UPDATES = [
    (3, 300),
    pytest.param(8, 1_000, marks=pytest.mark.thorough),
    pytest.param(20, 10_000, marks=pytest.mark.torture),
]
CANARY_CALLS = [
    300,
    pytest.param(1_000, marks=pytest.mark.thorough),
    pytest.param(5_000, marks=pytest.mark.torture),
]
CANARY_SHARE = 0.2
# Five standard deviations of the binomial distribution: less than one run in a million is outside by chance.
DEVIATIONS = 5

CodeOf = Callable[[int], str]

# One number in three places: what is imported, what imports it, and what is read in the call itself.
INDEX = """
import json
import os

import other

NUMBER = %d


def my_handler(event, context):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "number.txt")) as file:
        return json.dumps([NUMBER, other.NUMBER, int(file.read())])
"""


@pytest.fixture
def code_of(tmp_path: Path) -> CodeOf:
    def code(number: int) -> str:
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.py", INDEX % number)
            archive.writestr("other.py", f"NUMBER = {number}\n")
            archive.writestr("number.txt", str(number))
        return str(path)

    return code


class Load:
    """Callers that go on until so many calls were made, and `until` is acknowledged; each call with the number that
    was current when it began.
    """

    def __init__(self, api: Api, service: str, function: str, calls: int, until: int = 0) -> None:
        self._api = api
        self._target = service, function
        self._numbers = itertools.count(1)
        self._calls = calls
        self._until = until
        self.made = 0
        self.acknowledged = 0
        self.seen: list[tuple[int, int, bytes]] = []
        self.progress = threading.Condition()

    def run(self) -> None:
        call = self._api.caller(*self._target)
        before = -1
        while next(self._numbers) <= self._calls or before < self._until:
            before = self.acknowledged
            status, body = call()
            with self.progress:
                self.made += 1
                self.seen.append((before, status, body))
                self.progress.notify_all()

    def wait_for(self, made: int) -> None:
        with self.progress:
            assert self.progress.wait_for(lambda: self.made >= made, timeout=120), f"{self.made} calls of {made}"


@pytest.mark.parametrize(("updates", "calls"), UPDATES)
@pytest.mark.parametrize("runtime", ["python3.10"])
def test_updates_fail_no_call_and_mix_none(
    sesame: Sesame, client: fc2.Client, service: str, runtime: str, code_of: CodeOf, updates: int, calls: int
) -> None:
    client.create_function(service, "f", runtime, "index.my_handler", codeZipFile=code_of(0))
    load = Load(sesame.api(), service, "f", calls, until=updates)
    with ThreadPoolExecutor(CALLERS) as callers:
        running = [callers.submit(load.run) for _ in range(CALLERS)]
        try:
            for number in range(1, updates + 1):
                # Each code is served before the next one comes: calls that were under way may be of the one before.
                load.wait_for(max(calls * number // (updates + 2), load.made + 2 * CALLERS))
                client.update_function(service, "f", codeZipFile=code_of(number))
                load.acknowledged = number
        finally:
            load.acknowledged = updates
        for caller in running:
            caller.result()
    assert len(load.seen) >= calls
    assert {status for _before, status, _body in load.seen} == {200}
    served = collections.Counter[int]()
    for before, _status, body in load.seen:
        numbers = json.loads(body)
        assert len(set(numbers)) == 1, f"a call saw a mix: {numbers}"
        assert numbers[0] >= before, f"a call that began after update {before} was served by the code of {numbers[0]}"
        served[numbers[0]] += 1
    assert set(served) == set(range(updates + 1))


@pytest.mark.parametrize("calls", CANARY_CALLS)
@pytest.mark.parametrize("runtime", ["python3.10"])
def test_a_canary_gets_its_share(
    sesame: Sesame, client: fc2.Client, service: str, runtime: str, code_of: CodeOf, calls: int
) -> None:
    client.create_function(service, "f", runtime, "index.my_handler", codeZipFile=code_of(1))
    client.publish_version(service)
    client.update_function(service, "f", codeZipFile=code_of(2))
    client.publish_version(service)
    client.create_alias(service, "live", "1", additionalVersionWeight={"2": CANARY_SHARE})
    load = Load(sesame.api(), f"{service}.live", "f", calls)
    with ThreadPoolExecutor(CALLERS) as callers:
        for caller in [callers.submit(load.run) for _ in range(CALLERS)]:
            caller.result()
    served = collections.Counter(tuple(json.loads(body)) for _before, status, body in load.seen if status == 200)
    assert set(served) == {(1, 1, 1), (2, 2, 2)}
    assert sum(served.values()) == calls
    bound = DEVIATIONS * (calls * CANARY_SHARE * (1 - CANARY_SHARE)) ** 0.5
    assert abs(served[2, 2, 2] - calls * CANARY_SHARE) <= bound
