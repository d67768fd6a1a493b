"""What is said of the jail is what is done: the steps in docs/jail.md, the filters and the script that makes them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "src" / "sesame" / "runtime" / "jail"
SYSTEM_PYTHON = Path("/usr/bin/python3")


def numbered(pattern: str, text: str) -> list[tuple[int, str]]:
    return [(int(number), words) for number, words in re.findall(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize(
    ("file", "title"),
    [("steps.py", "## From fork to function"), ("command.py", "## A command beside the function")],
)
def test_the_page_has_the_steps_of_the_code_in_order(file: str, title: str) -> None:
    code = numbered(r"^ +# SAFETY: (\d+)\. (.+)$", (RUNTIME / file).read_text())
    section = (ROOT / "docs" / "jail.md").read_text().split(title)[1].split("\n## ")[0]
    page = numbered(r"^(\d+)\. (.+)$", section)
    assert [number for number, _ in code] == list(range(1, len(code) + 1))
    assert page == code


def test_privileges_go_before_user_code_comes() -> None:
    steps = (RUNTIME / "steps.py").read_text()

    def in_order(function: str, *marks: str) -> bool:
        body = steps.split(f"def {function}(")[1].split("\ndef ")[0]
        places = [body.index(mark) for mark in marks]
        return places == sorted(places)

    walled = "send(_WALLED_IN)"
    assert in_order(
        "_enter", 'os.write(fds[index], b"0")', "os.fork()", "_wall_in(request)", walled, ".receive()", "_serve("
    )
    told = "send(_ISOLATED)"
    assert in_order(
        "_guard",
        ".send(message",
        "_wait_for_walls(",
        "_mount(order",
        "umount(",
        "give_up_privileges(",
        "die_with(",
        told,
    )
    assert in_order("_serve", "isolation.wait()", "_start_anew(", "shim.serve(")
    shim = (RUNTIME.parent / "python" / "bootstrap.py").read_text().split("def _start(")[1]
    assert shim.index("until_isolated()") < shim.index("surroundings.prepare(") < shim.index("_Instance(")
    steps = (RUNTIME / "command.py").read_text()
    assert in_order("_enter", "die_with(", "setns(", "linux.clone(", 'os.write(fds[index], b"0")', "_lead(request")
    assert in_order("_lead", "setns(", "give_up_privileges(", "die_with(", "os.fork()", "_become(")
    steps = (RUNTIME / "steps.py").read_text()
    assert in_order("give_up_privileges", "_become(", "NO_NEW_PRIVS", "landlock_scope(", "load_seccomp(")


WAITS_FOR_A_MESSAGE = """
import os, sys, threading, time
import linux

ours, theirs = linux.packet_pair()
packets, main = linux.Packets(theirs, 64), threading.get_ident()

def send_once_it_waits():
    while sys._current_frames()[main].f_code.co_name == "<module>":
        time.sleep(0.001)
    # Long enough that it has begun to wait.
    time.sleep(0.1)
    os.write(ours, b"order")

threading.Thread(target=send_once_it_waits, daemon=True).start()
while threading.active_count() < 2:
    time.sleep(0.001)
sys.stdout.write(packets.receive()[0].decode())
"""


def test_other_threads_run_while_a_message_is_waited_for() -> None:
    """The thread that watches a prewarmed sandbox's socket asked for the interpreter's lock every 5 ms."""
    waited = subprocess.run(
        [sys.executable, "-c", WAITS_FOR_A_MESSAGE],
        cwd=RUNTIME,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert waited.stdout == "order"


def seccomp_is_there() -> bool:
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", "import seccomp"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not seccomp_is_there(), reason="needs python3-seccomp")
def test_the_filters_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([SYSTEM_PYTHON, ROOT / "scripts" / "make-seccomp", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (RUNTIME / "seccomp").iterdir()}
    machines = ("x86_64", "aarch64")
    assert set(made) == {f"{machine}{which}.bpf" for machine in machines for which in ("", "-uncounted")}
    assert all(len(data) % 8 == 0 and 0 < len(data) // 8 < 4096 for data in made.values())
