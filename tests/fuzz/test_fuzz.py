"""No input of a stranger's crashes or hangs what reads it: it is taken, or refused in the reader's own words.

Run by pytest with some inputs of each kind, and for FUZZ_SECONDS each by `make torture` (600 unless it is set).
"""

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.fuzz_process import PROGRESS, kind_of, read_progress
from tests.support.fuzzing import INPUT_BYTES_MAX, Mutation, watched

HERE = Path(__file__).parent
KINDS = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("test_"))
FINDINGS = HERE / "findings"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
# The process opens and closes what its kind needs; then it hangs.
SPARE_S = 120
# How the process ends that somebody stops; libFuzzer has a code of its own for it.
FROM_OUTSIDE = (72, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL)
# Every run tries the same inputs: it says something of the change that it is run for.
SEED = 15


@pytest.mark.parametrize("name", KINDS)
def test_nearly_right_inputs_are_taken_or_refused(name: str) -> None:
    kind = kind_of(name)
    with kind.opened() as take, watched() as attempt:
        for number, data in enumerate(itertools.islice(Mutation(kind, SEED).inputs(), kind.examples)):
            try:
                attempt(take, data[:INPUT_BYTES_MAX])
            except BaseException as error:
                error.add_note(f"input {number} of {name}, seed {SEED}: {data[:4000]!r}")
                raise


@pytest.mark.parametrize("path", sorted(FINDINGS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    with kind_of(path.parent.name).opened() as take, watched() as attempt:
        attempt(take, path.read_bytes())


@pytest.mark.torture
@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_found_in_ten_minutes(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1, 2**31)
    # Also where the output of a test that passed is shown alone.
    print(f"{name}: seed {seed}")
    command = [sys.executable, "-m", "tests.support.fuzz_process", name, str(SECONDS), str(seed), str(tmp_path)]
    with (tmp_path / "output").open("wb+") as output:
        try:
            code = subprocess.run(
                command, stdout=output, stderr=output, timeout=SECONDS + SPARE_S, cwd=HERE.parents[1], check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    count, last = read_progress(tmp_path / PROGRESS)
    print(f"{name}: {count} inputs in {SECONDS:.0f} s")
    if code in FROM_OUTSIDE:
        pytest.fail(f"{name}: something else ended the process, by {code}")
    if code:
        kept = FINDINGS / name / hashlib.sha256(last).hexdigest()[:12]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(last)
        said = (tmp_path / "output").read_bytes()[-8000:].decode(errors="replace")
        pytest.fail(
            f"{name}, seed {seed}, input {count}: the process ended with {code} (-1: it hung). The input is kept in "
            f"{kept}: mend what it finds, and commit it.\n{last[:2000]!r}\n{said}"
        )
    assert count > 0
