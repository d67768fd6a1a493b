"""The Function Compute endpoint of a node that has never been linked to the leader of its cluster.

Served by `_unlinked`. Neither callers nor functions are known: every request gets the same error, in the format of its
API version.
"""

from collections.abc import Callable

from sesame.fc.api_version import Faces
from sesame.fc.app import VERSIONS
from sesame.fc.errors import UNAVAILABLE_CODE
from sesame.fc.headers import DateHeader, new_request_id
from sesame.fc.refusals import Failure
from sesame.http.interface import Answer, Exchange, Refusal

# Callers are not authenticated, so the reason is only shown by `sesame cluster status` and in this node's log.
TEXT = "this node of the cluster is not linked to the node that leads. Please retry, or ask another node."
STATUS = 503


class UnlinkedEndpoint:
    """An `http.interface.Endpoint`."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._faces = Faces(VERSIONS, DateHeader(wall_clock))

    def refuse(self, _refusal: Refusal) -> Answer:
        return self._answer(b"")

    async def serve(self, exchange: Exchange) -> None:
        answer = self._answer(exchange.request.raw_path)
        exchange.send_whole(answer.status, answer.headers, b"", answer.body)

    def _answer(self, raw_path: bytes) -> Answer:
        face = self._faces.of(raw_path) or self._faces.first
        return face.errors.answer(new_request_id(), (STATUS, Failure(UNAVAILABLE_CODE, TEXT)))
