"""Every block of commands in the README, the documentation and the examples is run, and prints what the page shows.

A page has a folder of its own; all of them share one Sesame. `blocks.py` says how a page is written for this.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs import blocks
from tests.docs.blocks import Block, Hidden
from tests.docs.follow import follow
from tests.docs.shell import Shell, clean_environment, missing_lines
from tests.journeys.conftest import Sesame

MANY = 40
# What tests/packaging runs, with nothing but the wheel.
BY_THE_WHEEL = ("docs/tutorial.md",)
FIRST_PAGES = ("README.md", "docs/deploy.md")


def name_of(page: Path) -> str:
    return page.relative_to(blocks.REPOSITORY).as_posix()


def has_commands(page: Path) -> bool:
    return any(
        isinstance(each, Block) and each.language == blocks.COMMANDS and not each.skipped
        for each in blocks.blocks(page.read_text())
    )


def pages_with_commands() -> Iterator[Any]:
    """What a reader does first in `make test`, every page by `make test-all`."""
    for page in blocks.pages():
        name = name_of(page)
        if has_commands(page) and name not in BY_THE_WHEEL:
            yield pytest.param(page, marks=() if name in FIRST_PAGES else pytest.mark.thorough, id=name)


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


@pytest.mark.parametrize("page", list(pages_with_commands()))
def test_the_commands_of_a_page_print_what_it_shows(page: Path, shell: Shell) -> None:
    if page.is_relative_to(blocks.REPOSITORY / "examples"):
        shutil.copytree(page.parent, shell.folder, dirs_exist_ok=True)
    follow(name_of(page), page.read_text(), shell)


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
