"""What is said of the jail is what is done: the steps in docs/jail.md, the filters and the script that makes them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "src" / "sesame" / "runtime"
SYSTEM_PYTHON = Path("/usr/bin/python3")


def numbered(pattern: str, text: str) -> list[tuple[int, str]]:
    return [(int(number), words) for number, words in re.findall(pattern, text, re.MULTILINE)]


def test_the_page_has_the_steps_of_the_code_in_order() -> None:
    code = numbered(r"^ +# SAFETY: (\d+)\. (.+)$", (RUNTIME / "jail_steps.py").read_text())
    section = (ROOT / "docs" / "jail.md").read_text().split("## From fork to function")[1].split("\n## ")[0]
    page = numbered(r"^(\d+)\. (.+)$", section)
    assert [number for number, _ in code] == list(range(1, len(code) + 1))
    assert page == code


def test_privileges_go_before_user_code_comes() -> None:
    steps = (RUNTIME / "jail_steps.py").read_text()
    order = [
        "os.write(fds[index]",
        "_mount(request, fds)",
        "_become(request",
        "PR_SET_PDEATHSIG",
        "load_seccomp(",
        "os.fork()",
        "serve(",
    ]
    body = steps.split("def _enter(")[1].split("\ndef ")[0].split("# SAFETY: 1.")[1]
    places = [body.index(mark) for mark in order]
    assert places == sorted(places)


def seccomp_is_there() -> bool:
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", "import seccomp"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not seccomp_is_there(), reason="needs python3-seccomp")
def test_the_filters_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([SYSTEM_PYTHON, ROOT / "scripts" / "make-seccomp", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (RUNTIME / "seccomp").iterdir()}
    assert set(made) == {"x86_64.bpf", "aarch64.bpf"}
    assert all(len(data) % 8 == 0 and 0 < len(data) // 8 < 4096 for data in made.values())
