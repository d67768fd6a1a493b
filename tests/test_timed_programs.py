"""A program that does not end in time is ended with all that it has started, and whoever waits for it goes on."""

import ast
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sesame import timed_programs
from sesame.on_ray.actors import Node

PATIENCE_S = 60.0
SRC = Path(timed_programs.__file__).parent
# Says which process it has started, which holds the pipes as long as it lives, and goes on or ends by itself.
STARTS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
path, stays = sys.argv[1:]
open(path, "w").write(str(child.pid))
time.sleep(600 if stays == "stays" else 0)
"""


def ended(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def written(path: Path) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


@pytest.mark.parametrize("how", ["stays", "ends"])
def test_what_a_program_has_started_ends_with_it(tmp_path: Path, how: str) -> None:
    found: list[BaseException] = []
    # The time is over once the program has said what it has started.
    within_s, path = 3.0, tmp_path / "pid"

    def try_it() -> None:
        try:
            timed_programs.run([sys.executable, "-c", STARTS, str(path), how], within_s)
        except subprocess.TimeoutExpired as late:
            found.append(late)

    trying = threading.Thread(target=try_it, daemon=True)
    trying.start()
    pid = written(path)
    trying.join(PATIENCE_S)
    assert not trying.is_alive(), "it waits for what the program has started"
    assert [type(each) for each in found] == [subprocess.TimeoutExpired]
    assert ended(pid)


def test_what_it_says_and_how_it_ends_are_told() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = timed_programs.run([sys.executable, "-c", code], PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    done = timed_programs.run([sys.executable, "-u", "-c", code], PATIENCE_S, merged=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\nerr\n", "")


def test_a_command_that_an_actor_runs_ends_with_what_it_has_started(tmp_path: Path) -> None:
    actor = Node.__new__(Node)
    path = tmp_path / "pid"
    actor.__dict__ |= {
        "_process": None,
        "_environment": {},
        "_order": type("Order", (), {"program": ("-c", STARTS)}),
    }
    ran = actor.run([str(path), "stays"], 3.0)
    assert (ran["code"], ran["err"]) == (1, f"{path} stays has not ended within 3 s")
    assert ended(written(path))


def test_no_other_part_waits_for_a_program_in_a_way_that_leaves_something_behind() -> None:
    found = []
    for path in SRC.rglob("*.py"):
        text = path.read_text()
        # Few files start programs, and to parse all takes seconds.
        if "runtime" in path.relative_to(SRC).parts[:1] or "subprocess" not in text:
            continue
        for call in ast.walk(ast.parse(text)):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            of_subprocess = isinstance(call.func.value, ast.Name) and call.func.value.id == "subprocess"
            if of_subprocess and any(each.arg == "timeout" for each in call.keywords):
                found.append(f"{path.relative_to(SRC)}:{call.lineno}")
    assert found == []
