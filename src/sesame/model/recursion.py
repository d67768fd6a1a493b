"""Chains of invocations: which functions led to an invocation, so that functions that invoke each other are noticed.

Carried by invocations and by the credentials that functions are given; extended and checked by the engine. A function
is named `service/function`, whatever its qualifier.
"""

from sesame.model.errors import Recursive
from sesame.model.invocation import Target
from sesame.model.owner import label

# How the end of an invocation says that it was refused for this.
LIMIT_EXCEEDED = "RecursionLimitExceeded"
# A chain stands in security tokens, which are sent in headers. Of a longer one the beginning is left out.
CHAIN_CHARS_MAX = 2048

Chain = tuple[str, ...]


def extended(chain: Chain, target: Target) -> Chain:
    """The chain of what this function invokes, when it was itself invoked by this chain."""
    longer = (*chain, _name(target))
    surplus = sum(map(len, longer)) - CHAIN_CHARS_MAX
    start = 0
    while surplus > 0:
        surplus -= len(longer[start])
        start += 1
    return longer[start:]


def require_below(limit: int, chain: Chain, target: Target) -> None:
    """Raises `Recursive` for a function that stands in the chain `limit` times already; 0 is no limit."""
    if limit and chain.count(_name(target)) >= limit:
        raise Recursive(_name(target), limit)


def stands_in(chain: Chain, target: Target) -> bool:
    """Whether the function led to what the chain led to."""
    return _name(target) in chain


def _name(target: Target) -> str:
    return label(target.service, target.function)
