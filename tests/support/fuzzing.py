"""Fuzzing, one kind of input at a time: nearly right inputs by mutation, and a watch for crashes and hangs.

A kind is a module in `tests/fuzz` with a `KIND`. `tests/fuzz/test_fuzz.py` tries some inputs of each in every run, and
lets each run for FUZZ_SECONDS in a process of its own (`tests.support.fuzz_process`) in `make torture`. What was found
is kept in `tests/fuzz/findings/<kind>/`, and tried in every run from then on.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import FrameType

# An input that takes longer than this, in processor time of the process that tries it, is a finding.
HANG_S = 1.0
INPUT_BYTES_MAX = 128 * 1024
_CHANGES_MAX = 6
_REPEATS = (2, 3, 10, 100, 3000)
_NUMBERS = (b"0", b"-1", b"1e999", b"2147483648", b"18446744073709551616", b"9" * 40, b"9" * 5000, b"1.5", b"NaN")
_NASTY = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"\xe4\xb8\xad", b"\xe2\x80\xa8", b"\r\n", b"\n", b"\t", b"%00",
    b"%ff",
    b"\\ud800", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b"(", b")", b"<", b">", b"&", b"=", b":", b";", b",", b"/",
    b"*", b"?", b"..", b" ", b"-", b"+",
)  # fmt: skip

Try = Callable[[bytes], object]
"""Takes one input. Whatever it raises is a finding."""


@dataclass(frozen=True)
class Kind:
    """`seeds` are well-formed inputs, `words` what inputs of this kind are made of, `examples` how many a test tries.

    `opened` gives the function that takes an input, and closes what it holds; use `just` for one that holds nothing.
    """

    seeds: Sequence[bytes]
    words: Sequence[bytes]
    opened: Callable[[], AbstractContextManager[Try]]
    examples: int = 200


def just(take: Try) -> Callable[[], AbstractContextManager[Try]]:
    return lambda: contextlib.nullcontext(take)


class Hang(BaseException):
    """The input took HANG_S of processor time. No Exception, so that nothing on the way takes it for its own."""


class Mutation:
    """Changes well-formed inputs a little. The same seed gives the same inputs."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = kind.seeds
        self._words = (*kind.words, *_NASTY)

    def inputs(self) -> Iterator[bytes]:
        """Without end; the well-formed ones come first."""
        yield from self._seeds
        while True:
            yield self.changed(self._random.choice(self._seeds))

    def changed(self, data: bytes) -> bytes:
        for _ in range(self._random.randint(1, _CHANGES_MAX)):
            data = self._change(data)
        return data[:INPUT_BYTES_MAX]

    def _change(self, data: bytes) -> bytes:
        randomly = self._random
        at = randomly.randint(0, len(data))
        end = min(len(data), at + randomly.choice((1, 1, 2, 4, 8, 20, 60)))
        piece = data[at:end]
        match randomly.randrange(10):
            case 0:
                return data[:at] + data[end:]
            case 1:
                return data[:at] + randomly.choice(self._words) + data[at:]
            case 2:
                return data[:at] + randomly.choice(self._words) + data[end:]
            case 3:
                return data[:at] + piece * randomly.choice(_REPEATS) + data[end:]
            case 4:
                return data[:at] + bytes((randomly.randrange(256),)) + data[at + 1 :]
            case 5:
                other = randomly.choice(self._seeds)
                return data[:at] + other[randomly.randint(0, len(other)) :]
            case 6:
                other = randomly.choice(self._seeds)
                begin = randomly.randint(0, len(other))
                return data[:at] + other[begin : begin + randomly.randint(1, 60)] + data[at:]
            case 7:
                to = randomly.randint(0, len(data))
                return data[:to] + piece + data[to:]
            case 8:
                return self._with_number(data, at)
            case _:
                return data[:at] if randomly.random() < 0.3 else data[:at] + piece[::-1] + data[end:]

    def _with_number(self, data: bytes, at: int) -> bytes:
        """The digits at or after this place become another number; a byte becomes four of a length, if none follow."""
        begin = next((place for place in range(at, len(data)) if 48 <= data[place] <= 57), -1)
        if begin < 0:
            value = self._random.choice((0, 1, len(data), 0x7FFFFFFF, 0xFFFFFFFF, 0x01000000))
            return data[:at] + value.to_bytes(4, self._random.choice(("big", "little"))) + data[at + 4 :]
        end = begin
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        return data[:begin] + self._random.choice(_NUMBERS) + data[end:]


@contextlib.contextmanager
def watched() -> Iterator[Callable[[Try, bytes], None]]:
    """Gives a function that tries an input, and raises `Hang` for one that takes too long. In the main thread only."""

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    def attempt(take: Try, data: bytes) -> None:
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        try:
            take(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        # What does not come back to the interpreter is interrupted late.
        if time.process_time() - began > HANG_S:
            raise Hang

    before = signal.signal(signal.SIGPROF, too_long)
    try:
        yield attempt
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
