"""Calls of every kind at several agents, at a steady rate, and what is judged of them.

Used by the tests of agents here and in the journeys. Callers are in a process of their own (`benchmarks.restart`): they
come at their times whether or not those before were answered, half of them on connections that are kept, and never try
again.
"""

import contextlib
from collections.abc import Iterator
from urllib.parse import quote

from benchmarks.load import http_request
from benchmarks.restart import NEW_EVERY, Callers, Load, Seen, calling
from benchmarks.servers import Endpoint
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, REGION, SECRET, Sesame, wait_until

FAILED_SHARE_MAX = 0.0002
FOLDER, HANDLER = str(FUNCTIONS / "journey_hello"), "index.my_handler"
WEB_FOLDER = str(FUNCTIONS / "journey_web")
LATER = {"x-fc-invocation-type": "Async"}
SETTLED_S = 300.0


class Calls:
    """A service with a function for synchronous calls, one for asynchronous ones and one with an HTTP trigger."""

    def __init__(self, server: Sesame, service: str, runtime: str) -> None:
        self._server, self._service = server, service
        client = server.client()
        client.create_service(service)
        for name, folder in (("now", FOLDER), ("later", FOLDER), ("web", WEB_FOLDER)):
            client.create_function(service, name, runtime, HANDLER, codeDir=folder, memorySize=128)
        client.create_trigger(service, "web", "web", "http", {"authType": "anonymous", "methods": ["POST"]}, "", "")
        answer = server.api()(
            "PUT", f"/services/{service}/functions/later/async-invoke-config", b'{"statefulInvocation": true}'
        )
        assert answer.status_code == 200, answer.text

    def _requests(self, server: Sesame, port: int) -> tuple[bytes, ...]:
        """One of each kind, as they stand on the wire. They are signed now, for a quarter of an hour."""
        endpoint = Endpoint(port, ACCOUNT_ID, REGION, KEY_ID, SECRET, server.pid)
        later = f"/2016-08-15/services/{self._service}/functions/later/invocations"
        web = f"/2016-08-15/proxy/{self._service}/web/binary"
        return (
            endpoint.signed_invocation(self._service, "now"),
            endpoint.signed("POST", later, fc_headers=LATER),
            http_request("POST", web, {"Host": f"127.0.0.1:{port}"}),
        )

    @contextlib.contextmanager
    def at(self, rate: float, node: Sesame | None = None) -> Iterator[Callers]:
        """So many a second, in equal shares.

        At another `node` of the same Sesame, if one is given, each on a connection of its own.
        """
        server = node or self._server
        port = int(server.endpoint.rpartition(":")[2])
        with calling(Load(port, self._requests(server, port), rate, 1 if node else NEW_EVERY)) as callers:
            yield callers

    def settled(self, accepted: int) -> None:
        """Waits until every call that was accepted to be made later has succeeded."""
        path = f"/services/{self._service}/functions/later/stateful-async-invocations?limit=100"
        found: set[str] = set()

        def succeeded() -> bool:
            token = ""
            while True:
                answer = self._server.api()("GET", f"{path}&status=Succeeded&nextToken={quote(token)}")
                assert answer.status_code == 200, answer.text
                page = answer.json()
                found.update(each["invocationId"] for each in page.get("invocations") or ())
                if not (token := page.get("nextToken") or ""):
                    return len(found) >= accepted

        wait_until(succeeded, f"the success of {accepted} calls that were accepted", SETTLED_S)


def summary(seen: Seen) -> str:
    failed = ", ".join(f"{count} {what}" for what, count in seen.failed.items()) or "none"
    calls = len(seen.waits_s) + seen.failed.total()
    return f"{calls} calls, failed: {failed} ({seen.share:.4%}); the longest wait was {max(seen.waits_s):.2f} s"
