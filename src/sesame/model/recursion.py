"""Chains of invocations: which functions led to an invocation, to detect functions that invoke each other.

Carried by invocations and by functions' credentials; extended and checked by the engine. A function is named
`service/function`, whatever its qualifier.
"""

from sesame.model.errors import Recursive
from sesame.model.invocation import Target
from sesame.model.owner import label

# The error code of an invocation refused for recursion.
LIMIT_EXCEEDED = "RecursionLimitExceeded"
# A chain is part of security tokens, which are sent in headers. The oldest entries of a longer chain are dropped.
CHAIN_CHARS_MAX = 2048

Chain = tuple[str, ...]


def extended(chain: Chain, target: Target) -> Chain:
    """The chain for calls made by `target`, which was itself called with `chain`."""
    longer = (*chain, _name(target))
    surplus = sum(map(len, longer)) - CHAIN_CHARS_MAX
    start = 0
    while surplus > 0:
        surplus -= len(longer[start])
        start += 1
    return longer[start:]


def require_below(limit: int, chain: Chain, target: Target) -> None:
    """Raises `Recursive` if the function already occurs `limit` times in the chain; a limit of 0 means none."""
    if limit and chain.count(_name(target)) >= limit:
        raise Recursive(_name(target), limit)


def stands_in(chain: Chain, target: Target) -> bool:
    """Whether the function is part of the chain."""
    return _name(target) in chain


def _name(target: Target) -> str:
    return label(target.service, target.function)
