"""The memory for all request bodies of one endpoint, shared fairly among instances.

Used by `http.exchange`. Never waits: a body that does not fit is refused, and the client may try again.
"""

from sesame.model.fair_share import may_have


class BodyBudget:
    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes
        # Bytes held by each instance. Instances share fairly; other clients may use whatever is left.
        self._held: dict[str, int] = {}

    @property
    def left_bytes(self) -> int:
        return self._left

    def take(self, size: int, instance: str = "") -> bool:
        """Reserves `size` bytes until `give_back`. Returns False if they do not fit, or exceed the instance's share."""
        if size > self._left:
            return False
        if instance:
            held = self._held.get(instance, 0)
            if not may_have(held, self._left):
                return False
            self._held[instance] = held + size
        self._left -= size
        return True

    def give_back(self, size: int, instance: str = "") -> None:
        self._left += size
        if instance:
            if left := self._held[instance] - size:
                self._held[instance] = left
            else:
                del self._held[instance]
