"""The memory that request bodies of one endpoint may take together.

Used by `http.exchange`. Never waits: what does not fit is refused, and the client may try again.
"""


class BodyBudget:
    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes

    @property
    def left_bytes(self) -> int:
        return self._left

    def take(self, size: int) -> bool:
        """Whether `size` bytes fit; then they are taken until `give_back`."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        self._left += size
