"""Records that could not be delivered to their destinations: lists, reads and delivers them again.

Called by the endpoints. `destinations` delivers records; one that it gives up becomes a dead letter.
"""

from typing import Protocol

from sesame.control import checks
from sesame.control.listing import fitting
from sesame.model import limits
from sesame.model.async_invocation import DeadLetter, DeadLetterPage
from sesame.model.errors import DEAD_LETTER, NotFound
from sesame.model.natural import natural


class Deliveries(Protocol):
    """The part of `store.queue.deliveries.DeliveryQueue` that is used here."""

    async def dead_letters(self, start: str, limit: int) -> DeadLetterPage: ...

    async def dead_letter(self, number: int) -> DeadLetter | None: ...

    async def replay(self, number: int) -> bool: ...


class DeadLetters:
    """A dead letter is identified by its number, as text."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def list(self, start: str, limit: int) -> DeadLetterPage:
        """The newest first; `start` is a page's token, or "". Raises `Invalid`.

        The page is shorter than requested if the records would exceed `listing.PAGE_BYTES_MAX`.
        """
        checks.between("limit", limit, 1, limits.LIST_LIMIT_MAX)
        page = await self._deliveries.dead_letters(start, limit)
        number = fitting(len(letter.record) for letter in page.items)
        return page if number == len(page.items) else await self._deliveries.dead_letters(start, number)

    async def get(self, name: str) -> DeadLetter:
        """Raises `NotFound`."""
        found = await self._deliveries.dead_letter(_number(name))
        if found is None:
            raise NotFound(DEAD_LETTER, name)
        return found

    async def replay(self, name: str) -> None:
        """Delivers the record again, with a full number of attempts. Raises `NotFound`."""
        if not await self._deliveries.replay(_number(name)):
            raise NotFound(DEAD_LETTER, name)


def _number(name: str) -> int:
    number = natural(name)
    if number is None:
        raise NotFound(DEAD_LETTER, checks.shown(name))
    return number
