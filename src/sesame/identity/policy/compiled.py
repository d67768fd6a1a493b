"""Caches compiled policies, up to a number of bytes.

Called by `identity.authorization` and, for trust policies, `identity.roles`. Keyed by the text of policies from the
catalog or from verified tokens; policies that a caller merely sends are never cached.
"""

from collections import OrderedDict
from collections.abc import Callable

import structlog

from sesame.identity.policy.evaluator import CompiledPolicy, MalformedPolicy, parse

# Measured: a policy consisting of one-letter patterns takes 150 bytes per character.
BYTES_PER_CHAR = 200
BYTES_MAX = 16 * 1024 * 1024
# Denies everything.
UNREADABLE = parse('{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}')

log = structlog.get_logger(__name__)


class CompiledPolicies:
    """Caches the most recently used policies. An unreadable policy denies everything, which is logged."""

    def __init__(self, read: Callable[..., CompiledPolicy] = parse) -> None:
        """`read` is `parse`, or `parse_resource_policy` for policies that name principals."""
        self._read = read
        self._kept: OrderedDict[str, CompiledPolicy] = OrderedDict()
        self._bytes = 0

    def policy(self, document: str) -> CompiledPolicy:
        kept = self._kept.get(document)
        if kept is not None:
            self._kept.move_to_end(document)
            return kept
        compiled = self._compiled(document)
        self._kept[document] = compiled
        self._bytes += len(document) * BYTES_PER_CHAR
        while self._bytes > BYTES_MAX:
            oldest, _policy = self._kept.popitem(last=False)
            self._bytes -= len(oldest) * BYTES_PER_CHAR
        return compiled

    def _compiled(self, document: str) -> CompiledPolicy:
        try:
            return self._read(document, strict=False)
        except MalformedPolicy as error:
            log.error("a stored policy cannot be read and denies everything: write it again", error=str(error))
            return UNREADABLE
