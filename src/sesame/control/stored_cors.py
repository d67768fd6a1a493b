"""The rules of `corsConfig`s that are stored: each is read once, and not for every request.

Used by `control.domains` and `control.http_triggers`, which forget a record's rules when the record changes.
"""

from typing import Any

import structlog

from sesame.control import cors_checks
from sesame.model.cors_rules import NONE, CorsRules
from sesame.model.errors import Rejected

log = structlog.get_logger(__name__)


class StoredCors:
    """`what` says in the log whose `corsConfig`s these are."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._read: dict[str, CorsRules] = {}

    def of(self, name: str, config: Any) -> CorsRules:
        """The rules of the record of this name.

        POLICY: what an earlier version stored and cannot be used allows no page anything, and the log says so once.
        """
        rules = self._read.get(name)
        if rules is None:
            rules = self._read[name] = self._rules(name, config) if config else NONE
        return rules

    def forget(self, name: str) -> None:
        self._read.pop(name, None)

    def _rules(self, name: str, config: Any) -> CorsRules:
        try:
            return cors_checks.read("corsConfig", config)
        except Rejected as error:
            text = f"the corsConfig of {self._what} cannot be used and allows no web page anything: set it again"
            log.error(text, name=name, reason=str(error))
            return NONE
