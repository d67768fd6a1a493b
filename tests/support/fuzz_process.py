"""One kind of input for a stated time: `python -m tests.support.fuzz_process KIND SECONDS SEED FOLDER`.

Run by `tests/fuzz/test_fuzz.py`. With the package atheris (the group `fuzz`) the fuzzing is guided by what code each
input reaches: the modules of Sesame are imported with counters. Without it, inputs are mutations of the seeds alone.
FOLDER holds `progress`: how many inputs were tried, and the one that is being tried, whatever becomes of this process.
"""

import importlib
import itertools
import mmap
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.fuzzing import INPUT_BYTES_MAX, Kind, Mutation, Try, watched

try:
    import atheris
except ImportError:
    atheris = None

PROGRESS = "progress"
# The counters are for these; all of a kind's own code is below them.
GUIDED_BY = ["sesame", "zipfile", "lark", "dns", "websockets", "python_multipart", "defusedxml"]
# Beyond this much memory there is a leak, or an input takes too much.
MEMORY_MB = 3000
_HEAD_BYTES = 16


class Progress:
    """The count of inputs tried and the input under way, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("wb+") as file:
            file.truncate(_HEAD_BYTES + INPUT_BYTES_MAX)
            self._memory = mmap.mmap(file.fileno(), 0)
        self.count = 0

    def begin(self, data: bytes) -> None:
        self._memory[8:_HEAD_BYTES] = len(data).to_bytes(8, "big")
        self._memory[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
        self.count += 1
        self._memory[:8] = self.count.to_bytes(8, "big")


def read_progress(path: Path) -> tuple[int, bytes]:
    """How many inputs were tried, and the last of them."""
    data = path.read_bytes()
    size = int.from_bytes(data[8:_HEAD_BYTES], "big")
    return int.from_bytes(data[:8], "big"), data[_HEAD_BYTES : _HEAD_BYTES + size]


def kind_of(name: str) -> Kind:
    kind = importlib.import_module(f"tests.fuzz.{name}").KIND
    assert isinstance(kind, Kind)
    return kind


def main(name: str, seconds: float, seed: int, folder: Path) -> None:
    progress = Progress(folder / PROGRESS)
    if atheris is None:
        kind = kind_of(name)
        with kind.opened() as take, watched() as attempt:
            until = time.monotonic() + seconds
            for data in itertools.takewhile(lambda _: time.monotonic() < until, Mutation(kind, seed).inputs()):
                progress.begin(data[:INPUT_BYTES_MAX])
                attempt(take, data[:INPUT_BYTES_MAX])
        return
    with atheris.instrument_imports(include=GUIDED_BY, enable_loader_override=False):
        kind = kind_of(name)
    with kind.opened() as take, watched() as attempt:
        _guided(kind, take, attempt, progress, [f"-max_total_time={seconds:.0f}", f"-seed={seed}"], folder)


def _guided(kind: Kind, take: Try, attempt: Any, progress: Progress, options: list[str], folder: Path) -> None:
    """Does not return: libFuzzer ends the process, with 0 where nothing was found."""
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate(kind.seeds):
        (seeds / str(number)).write_bytes(data)

    def one(data: bytes) -> None:
        progress.begin(data)
        attempt(take, data)

    def changed(data: bytes, size_max: int, seed: int) -> bytes:
        # Half are changed as the library changes bytes, which knows what compares were near.
        return atheris.Mutate(data, size_max) if seed % 2 else Mutation(kind, seed).changed(data)[:size_max]

    limits = [f"-max_len={INPUT_BYTES_MAX}", f"-rss_limit_mb={MEMORY_MB}", "-timeout=120", "-print_final_stats=1"]
    arguments = ["fuzz", *options, *limits, "-len_control=0", f"-artifact_prefix={folder}/", str(seeds)]
    atheris.Setup(arguments, one, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
