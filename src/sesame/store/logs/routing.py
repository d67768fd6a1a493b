"""Decides for each batch which of its lines go to a logstore, and writes the reason into a function's log if none do.

Used by `store.logs.intake`.
"""

from collections.abc import Sequence

import structlog

from sesame.store.logs.file import SourceKey
from sesame.store.logs.routes import Route, Routing
from sesame.store.logs.wire import Output, Whole

# Reasons are remembered for this many instances, so that each is written only once.
TOLD_MAX = 1_000
# A call number that no call has, for Sesame's own lines about an instance.
_NO_CALL = 0

log = structlog.get_logger(__name__)


class Router:
    def __init__(self, decide: Routing) -> None:
        self._decide = decide
        # The last reason that was written for each instance.
        self._told: dict[str, str] = {}

    def route(self, outputs: list[Output | Whole], now_ms: int) -> list[tuple[SourceKey, Route]]:
        """The routes of a batch's sources; adds lines to the batch with the reasons why some have none."""
        sources = {output.source for output in outputs if output.source.log_project}
        decided = [(source, self._decide(source)) for source in sources]
        outputs += self._notes([(source, each) for source, each in decided if isinstance(each, str)], now_ms)
        return [(source, each) for source, each in decided if isinstance(each, Route)]

    def _notes(self, refused: Sequence[tuple[SourceKey, str]], now_ms: int) -> list[Output]:
        notes: list[Output] = []
        for source, reason in refused:
            if self._told.get(source.instance_id) == reason:
                continue
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            self._told[source.instance_id] = reason
            place = f"logstore {source.logstore} of project {source.log_project}"
            log.warning("lines of a function are not written to its logstore", function=source.function, reason=reason)
            text = f"[sesame] what this function writes is not in {place}: {reason}\n"
            notes.append(Output(_NO_CALL, source, "", [(now_ms, text.encode())], cut=True))
        return notes
