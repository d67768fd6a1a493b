"""Sesame as a lane of `bench_async`: asynchronous calls over its HTTP API, run in its sandbox, recorded in its queue.

Every request is signed; every invocation is stateful, so that its record can be listed. Never looks into the database.
"""

import contextlib
import json
import statistics
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import uvloop

from benchmarks import load, servers
from benchmarks.servers import Endpoint

SERVICE, HELLO, SYNC, CLOCK = "bench", "hello", "sync", "clock"
# States that an invocation passes on its way; what is in none of them has its final record.
UNDER_WAY = ("Enqueued", "Dequeued", "Running", "Retrying")
FINAL = "Succeeded"
PAGE = 100
IDLE_S = 0.03
CLOCK_CODE = "import time\n\ndef my_handler(event, context):\n    return repr(time.time())\n"


class Latencies(msgspec.Struct, frozen=True):
    """Milliseconds until the handler started: since the request was sent, and since its 202 was there.

    The row is committed in between: after the request was sent, and before its 202 leaves.
    """

    from_request: list[float]
    from_answer: list[float]

    def line(self) -> str:
        return (
            f"  handler started after the request was sent: {_told(self.from_request)}; "
            f"after its 202 was there: {_told(self.from_answer)} (the commit lies between)"
        )


class SesameLane:
    """One Sesame with its functions; `clock` returns when it started."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self._endpoint = endpoint
        self.accepted = 0

    def measure(self, callers: int, seconds: float) -> float:
        """Calls a second, from the first that is sent until the last is recorded."""
        start = time.perf_counter()
        self.accept(callers, seconds)
        self.wait_until_recorded()
        return self.last_accepted / (time.perf_counter() - start)

    def accept(self, callers: int, seconds: float, delay_s: int = 0) -> None:
        """Sends asynchronous calls of `hello`; every one must be answered 202."""
        request = self._call(HELLO, {"x-fc-async-delay": str(delay_s)} if delay_s else {})
        run = load.run(self._endpoint.port, request, concurrency=callers, seconds=seconds, expect=b"", status=202)
        self.last_accepted = len(uvloop.run(run).latencies_s)
        self.accepted += self.last_accepted

    def wait_until_recorded(self) -> None:
        servers.wait_for(lambda: not self.under_way(), f"the last record of {self.name}")

    def check(self) -> None:
        """Every accepted call is listed as succeeded, once. Raises `RuntimeError` otherwise."""
        found = len(set(self._ids(HELLO, FINAL)))
        if found != self.accepted:
            raise RuntimeError(f"{self.accepted} calls were accepted and {found} are recorded as {FINAL}")

    def under_way(self) -> bool:
        return any(self._listed(HELLO, state, 1) for state in UNDER_WAY)

    def synchronous(self, callers: int, seconds: float) -> float:
        """Synchronous calls a second, of a function that is never called asynchronously."""
        request = self._endpoint.signed_invocation(SERVICE, SYNC)
        run = load.run(self._endpoint.port, request, concurrency=callers, seconds=seconds, expect=b"hello world")
        return uvloop.run(run).per_second

    def latencies(self, calls: int) -> Latencies:
        """One call at a time, each after a pause, so that nothing is queued."""
        sent, answered, started = [], [], []
        for _number in range(calls):
            time.sleep(IDLE_S)
            name = f"latency-{uuid.uuid4()}"
            request = self._call(CLOCK, {"x-fc-stateful-async-invocation-id": name})
            sent.append(time.time())
            servers.answer(self._endpoint.port, request, 202)
            answered.append(time.time())
            started.append(self._started(name))
        pairs = zip(sent, answered, started, strict=True)
        differences = [(1000 * (at - first), 1000 * (at - second)) for first, second, at in pairs]
        return Latencies([one for one, _ in differences], [other for _, other in differences])

    def _started(self, name: str) -> float:
        path = f"{_FUNCTIONS}/{CLOCK}/stateful-async-invocations/{name}"
        record = {}

        def is_recorded() -> bool:
            record.update(json.loads(servers.answer(self._endpoint.port, self._endpoint.signed("GET", path))))
            return record["status"] not in UNDER_WAY

        servers.wait_for(is_recorded, f"the record of {name}")
        if record["status"] != FINAL:
            raise RuntimeError(f"{name} ended as {record['status']}: {record.get('invocationErrorMessage')}")
        return float(record["returnPayload"])

    def _call(self, function: str, fc_headers: dict[str, str]) -> bytes:
        asynchronous = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-enable": "true"}
        path = f"{_FUNCTIONS}/{function}/invocations"
        return self._endpoint.signed("POST", path, fc_headers={**asynchronous, **fc_headers})

    def _ids(self, function: str, state: str) -> Iterator[str]:
        token = ""
        while True:
            page = self._page(function, state, PAGE, token)
            yield from (record["invocationId"] for record in page["invocations"] or ())
            token = page.get("nextToken") or ""
            if not token:
                return

    def _listed(self, function: str, state: str, limit: int) -> bool:
        return bool(self._page(function, state, limit, "")["invocations"])

    def _page(self, function: str, state: str, limit: int, token: str) -> dict[str, Any]:
        query = f"?status={state}&limit={limit}" + (f"&nextToken={quote(token)}" if token else "")
        request = self._endpoint.signed("GET", f"{_FUNCTIONS}/{function}/stateful-async-invocations", query=query)
        page: dict[str, Any] = json.loads(servers.answer(self._endpoint.port, request))
        return page


_FUNCTIONS = f"/2016-08-15/services/{SERVICE}/functions"


@contextlib.contextmanager
def sesame(name: str, *flags: str, runtime: str, checkout: Path | None = None) -> Iterator[SesameLane]:
    """A Sesame of its own with its functions deployed, and each called once."""
    with servers.sesame(*flags, checkout=checkout) as endpoint:
        client = endpoint.client()
        client.create_service(SERVICE)
        for function, code in ((HELLO, servers.HELLO), (SYNC, servers.HELLO), (CLOCK, CLOCK_CODE)):
            with servers.package({"main.py": code}) as zipped:
                client.create_function(
                    SERVICE, function, handler="main.my_handler", runtime=runtime, codeZipFile=zipped
                )
            client.invoke_function(SERVICE, function)
        yield SesameLane(name, endpoint)


def _told(milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    return f"median {statistics.median(ordered):.2f} ms, p99 {ordered[int(0.99 * (len(ordered) - 1))]:.2f} ms"
