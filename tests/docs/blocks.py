"""The fenced blocks of a page: commands with what they print, and files that a reader makes.

Used by `test_commands.py`. A block of commands is `console`, each command after `$ `; a file is a block with a `title`.
A command whose comment says `exit status N` is to end with that; others end with 0. `<!-- not run: REASON -->` before a
block leaves it out; `<!-- before: COMMAND -->` runs something that readers need not see.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).parents[2]
COMMANDS = "console"
# Blocks that only show something. Everything else must be one of these, a block of commands, or a file.
SHOWN = frozenset({"text", "json", "toml", "yaml", "ini", "javascript", "python", "dockerfile"})
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (before|not run): (.*?) -->\s*\Z", re.DOTALL)
_BEFORE = re.compile(r"<!-- before: (.*?) -->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


class Block(msgspec.Struct, frozen=True):
    """`language` and `title` as the fence says; `skipped` the reason why it is not run, "" if it is."""

    line: int
    language: str
    title: str
    text: str
    skipped: str


class Command(msgspec.Struct, frozen=True):
    """A command as it is typed, and the lines that the page shows below it."""

    line: int
    typed: str
    shown: tuple[str, ...]


class Hidden(msgspec.Struct, frozen=True):
    """A command of a comment: it prepares what follows."""

    line: int
    typed: str


def pages() -> list[Path]:
    written = (path for folder in ("docs", "examples") for path in sorted((REPOSITORY / folder).rglob("*.md")))
    return [REPOSITORY / "README.md", *written]


def blocks(text: str) -> Iterator[Block | Hidden]:
    """Blocks and hidden commands of a page, in its order."""
    end = 0
    for fence in _FENCE.finditer(text):
        between = text[end : fence.start()]
        for hidden in _BEFORE.finditer(between):
            yield Hidden(text.count("\n", 0, end + hidden.start()) + 1, hidden[1].strip())
        comment = _COMMENT.search(between)
        end = fence.end()
        language, _, attributes = fence["info"].strip().partition(" ")
        title = _TITLE.search(attributes)
        indent = len(fence["indent"])
        yield Block(
            line=text.count("\n", 0, fence.start()) + 1,
            language=language,
            title=title[1] if title else "",
            text="".join(line[indent:] or "\n" for line in fence["body"].splitlines(keepends=True)),
            skipped=comment[2].strip() if comment and comment[1] == "not run" else "",
        )


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block: one line each, but for backslashes at ends of lines, and here-documents."""
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        assert lines[number].startswith("$ "), f"line {block.line + number + 1}: expected a command after '$ '"
        first, typed = number, [lines[number][2:]]
        until = re.search(r"<<-?\s*'?(\w+)'?", typed[0])
        while typed[-1].endswith("\\") or (until and typed[-1] != until[1]):
            number += 1
            typed.append(lines[number])
        number += 1
        shown = []
        while number < len(lines) and not lines[number].startswith("$ "):
            shown.append(lines[number])
            number += 1
        yield Command(block.line + first + 1, "\n".join(typed), tuple(line for line in shown if line.strip()))
