"""What holds one instance to its memory where no cgroup does."""

from concurrent.futures import ThreadPoolExecutor

from sesame.sandbox.jail.watch import FREE_DESCRIPTORS, KB_PER_DESCRIPTOR, Watch
from sesame.sandbox.jail.zygote_client import JailedProcess
from sesame.sandbox.memory import Census, Gauge

MEMORY_MB = 100


class Family(Gauge):
    """Processes that share nearly all that each of them holds."""

    def __init__(self, held_mb: float, held_together_mb: float, descriptors: int) -> None:
        self._held = held_mb, held_together_mb
        self._descriptors = descriptors

    def processes(self) -> list[int]:
        return [1, 2]

    def census(self, pids: list[int], limit_mb: float) -> Census:
        plain, together = self._held
        return Census(tuple(pids), plain if plain <= limit_mb else together, 2, self._descriptors)

    def note(self, found: Census) -> float:
        return found.memory_mb


async def overrun(family: Family) -> str:
    with ThreadPoolExecutor(1) as executor:
        return str(await Watch(family, JailedProcess(0, -1), MEMORY_MB).overrun(executor) or "")


def descriptors_of(buffers_mb: int) -> int:
    return FREE_DESCRIPTORS + buffers_mb * 1024 // KB_PER_DESCRIPTOR


async def test_shared_pages_count_once_beside_buffers_too() -> None:
    assert await overrun(Family(99, 20, descriptors_of(10))) == ""
    assert await overrun(Family(120, 20, descriptors_of(10))) == ""


async def test_what_is_too_much_is_told() -> None:
    assert await overrun(Family(99, 95, descriptors_of(10))) == (
        "105.00 MB of 100 MB, 10.00 MB of it for 416 open descriptors"
    )
    assert await overrun(Family(120, 101, 3)) == "101.00 MB of 100 MB"
