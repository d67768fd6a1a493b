"""What must be recorded is written until it is taken, under the lease that is held then."""

from dataclasses import dataclass, field

from sesame.model.write_again import FIRST_S, MAX_S, write_until_taken


@dataclass
class Held:
    """The lease is a number. `answers` are what the writes come to: an error, or whether they were taken."""

    answers: list[Exception | bool]
    renewed_before: int = 0
    lease: int = 1
    writes: list[int] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    told: list[Exception] = field(default_factory=list)

    async def write(self, lease: int) -> bool:
        self.writes.append(lease)
        if len(self.writes) == self.renewed_before:
            self.lease += 1
        answer = self.answers[len(self.writes) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self) -> tuple[int, bool]:
        return await write_until_taken(self, self.write, self.sleep, self.told.append)


async def test_it_is_repeated_with_short_pauses_until_the_database_is_back() -> None:
    first, gone = OSError("gone"), OSError("still gone")
    held = Held([first, gone, gone, gone, gone, True])
    assert await held.run() == (1, True)
    assert held.slept == [FIRST_S, 0.2, 0.4, MAX_S, MAX_S]
    assert held.told == [first]


async def test_a_lease_that_is_lost_ends_it() -> None:
    held = Held([False])
    assert await held.run() == (1, False)


async def test_what_comes_too_late_for_its_lease_is_written_under_the_new_one() -> None:
    held = Held([False, True], renewed_before=1)
    assert await held.run() == (2, True)
    assert held.writes == [1, 2]


async def test_what_was_taken_under_the_former_lease_is_not_written_again() -> None:
    held = Held([True], renewed_before=1)
    assert await held.run() == (1, True)
    assert held.writes == [1]
