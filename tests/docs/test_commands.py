"""Every block of commands in the README, the documentation and the examples is run, and prints what the page shows.

A page has a folder of its own; all of them share one Sesame. `blocks.py` says how a page is written for this.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs import blocks
from tests.docs.blocks import Block, Hidden
from tests.docs.shell import Shell, clean_environment, missing_lines
from tests.journeys.conftest import Sesame

# `sesame start` runs until it is stopped; here it runs already.
_START = re.compile(r"sesame start\b|make start\b")
_READS = re.compile(r"sesame (logs|async (list|show)|list|status|show)\b")
_STATUS = re.compile(r"#.*\bexit status (\d+)")
MANY = 40
SETTLES_WITHIN_S = 20.0


def name_of(page: Path) -> str:
    return page.relative_to(blocks.REPOSITORY).as_posix()


def has_commands(page: Path) -> bool:
    return any(
        isinstance(each, Block) and each.language == blocks.COMMANDS and not each.skipped
        for each in blocks.blocks(page.read_text())
    )


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    server = Sesame(tmp_path_factory.mktemp("pages"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shell(sesame: Sesame) -> Iterator[Shell]:
    """In a folder of the page's own, whose path no page can tell from another."""
    with tempfile.TemporaryDirectory(prefix="sesame-page-") as folder:
        inside = Path(folder) / "work"
        inside.mkdir()
        yield Shell(inside, clean_environment(SESAME_DATA_DIR=str(sesame.data_dir), NO_COLOR="1", COLUMNS="200"))
        _clear(Shell(inside, clean_environment(SESAME_DATA_DIR=str(sesame.data_dir))))


def _clear(shell: Shell) -> None:
    """Leaves nothing of a page to the next one."""
    # The document comes first, then the note that says which server was asked.
    listed, _end = json.JSONDecoder().raw_decode(shell.run("sesame list --json")[1])
    for service in listed["services"]:
        shell.run(f"sesame delete {service['serviceName']} --all")


@pytest.mark.parametrize("page", [page for page in blocks.pages() if has_commands(page)], ids=name_of)
def test_the_commands_of_a_page_print_what_it_shows(page: Path, shell: Shell) -> None:
    if page.is_relative_to(blocks.REPOSITORY / "examples"):
        shutil.copytree(page.parent, shell.folder, dirs_exist_ok=True)
    for block in blocks.blocks(page.read_text()):
        if isinstance(block, Hidden):
            status, said = shell.run(block.typed)
            assert status == 0, f"{name_of(page)}:{block.line}: {block.typed}\n{said}"
        elif block.skipped:
            continue
        elif block.title:
            path = shell.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == blocks.COMMANDS:
            _run(page, block, shell)


def _run(page: Path, block: Block, shell: Shell) -> None:
    for command in blocks.commands(block):
        if _START.match(command.typed):
            continue
        deadline = time.monotonic() + SETTLES_WITHIN_S
        while wrong := _wrong(command, shell):
            # What was called a moment ago shows up a moment later.
            settles = _READS.match(command.typed) and time.monotonic() < deadline
            assert settles, f"{name_of(page)}:{command.line}: $ {command.typed}\n{wrong}"
            time.sleep(0.05)


def _wrong(command: blocks.Command, shell: Shell) -> str:
    """How the command ended or printed otherwise than the page says; "" where it did not."""
    status, said = shell.run(command.typed)
    expected = _STATUS.search(command.typed)
    if status != (int(expected[1]) if expected else 0):
        return f"ended with {status}:\n{said}"
    missing = missing_lines(command.shown, said)
    return f"did not print {missing}:\n{said}" if missing else ""


def test_every_block_says_what_it_is() -> None:
    """So that no command escapes: a block without a language, or of a shell's, could hold one."""
    known = blocks.SHOWN | {blocks.COMMANDS}
    unknown = [
        f"{name_of(page)}:{each.line}: ```{each.language}"
        for page in blocks.pages()
        for each in blocks.blocks(page.read_text())
        if isinstance(each, Block) and each.language not in known
    ]
    assert not unknown


def test_what_is_not_run_says_why_and_is_little() -> None:
    skipped = [
        (name_of(page), each.skipped)
        for page in blocks.pages()
        for each in blocks.blocks(page.read_text())
        if isinstance(each, Block) and each.skipped
    ]
    assert all(len(reason) > 10 for _page, reason in skipped), skipped
    assert len(skipped) <= MANY, skipped


PAGE = """
<!-- before: mkdir made -->
```python title="made/main.py"
x = 1
```
<!-- not run: needs a machine of its own -->
```console
$ reboot
```
```console
$ cat made/main.py    # the file
x = 1
$ python - <<'END'
print('took', 12.5, 'ms')
END
took 3 ms
```
"""


def test_a_page_is_read_as_it_is_written(tmp_path: Path) -> None:
    hidden, file, skipped, run = blocks.blocks(PAGE)
    assert isinstance(hidden, Hidden)
    assert hidden.typed == "mkdir made"
    assert isinstance(file, Block)
    assert (file.title, file.text) == ("made/main.py", "x = 1\n")
    assert isinstance(skipped, Block)
    assert skipped.skipped == "needs a machine of its own"
    assert isinstance(run, Block)
    first, second = blocks.commands(run)
    assert (first.typed, first.shown) == ("cat made/main.py    # the file", ("x = 1",))
    assert second.typed.splitlines()[-1] == "END"

    folder = tmp_path / "work"
    folder.mkdir()
    shell = Shell(folder, clean_environment())
    status, said = shell.run(second.typed)
    assert (status, missing_lines(second.shown, said)) == (0, [])
    assert shell.run("mkdir deep && cd deep && export NAMED=yes")[0] == 0
    assert shell.run('echo "$NAMED $(basename "$PWD")"')[1] == "yes deep\n"
    assert shell.run("exit 3")[0] == 3


@pytest.mark.parametrize(
    ("shown", "said", "is_missing"),
    [
        ("hello", "hello\n", False),
        ("hello", "hello world\n", True),
        ("hello …", "hello big world\n", False),
        ("took 1 ms", "took 20.5 ms\n", False),
        ("version 1", "version 2\n", True),
        ("a    b", "a b\n", False),
        ("at http://127.0.0.1:9000/x", "at http://127.0.0.1:41234/x\n", False),
        ("a # as said", "a\n", False),
    ],
)
def test_shown_lines_are_compared_loosely_but_compared(shown: str, said: str, is_missing: bool) -> None:
    assert bool(missing_lines([shown], said)) == is_missing
