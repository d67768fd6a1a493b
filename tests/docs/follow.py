"""Does what a page says, block by block: makes its files, runs its commands, and compares what they print.

Used by `test_commands.py`, and by tests/packaging for readers who have nothing but the wheel.
"""

import re
import time
from pathlib import Path
from typing import Protocol

from tests.docs import blocks
from tests.docs.blocks import Block, Hidden
from tests.docs.shell import missing_lines
from tests.support.pauses import Pauses

# `sesame start` runs until it is stopped; here it runs already.
_START = re.compile(r"sesame start\b|make start\b")
_READS = re.compile(r"sesame (logs|async (list|show)|list|status|show)\b")
_STATUS = re.compile(r"#.*\bexit status (\d+)")
SETTLES_WITHIN_S = 30.0


class Typing(Protocol):
    """Where the page's commands are typed; `folder` is where `cd` has led."""

    @property
    def folder(self) -> Path: ...
    def run(self, typed: str) -> tuple[int, str]: ...


def follow(name: str, text: str, shell: Typing) -> None:
    """Fails at the first command that ends or prints otherwise than the page shows."""
    for block in blocks.blocks(text):
        if isinstance(block, Hidden):
            status, said = shell.run(block.typed)
            assert status == 0, f"{name}:{block.line}: {block.typed}\n{said}"
        elif block.skipped:
            continue
        elif block.title:
            path = shell.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == blocks.COMMANDS:
            _run(name, block, shell)


def _run(name: str, block: Block, shell: Typing) -> None:
    for command in blocks.commands(block):
        if _START.match(command.typed):
            continue
        deadline, pauses = time.monotonic() + SETTLES_WITHIN_S, Pauses(0.05)
        while wrong := _wrong(command, shell):
            # What was called a moment ago shows up a moment later.
            settles = _READS.match(command.typed) and time.monotonic() < deadline
            assert settles, f"{name}:{command.line}: $ {command.typed}\n{wrong}"
            pauses.block()


def _wrong(command: blocks.Command, shell: Typing) -> str:
    """How the command ended or printed otherwise than the page says; "" where it did not."""
    status, said = shell.run(command.typed)
    expected = _STATUS.search(command.typed)
    if status != (int(expected[1]) if expected else 0):
        return f"ended with {status}:\n{said}"
    missing = missing_lines(command.shown, said)
    return f"did not print {missing}:\n{said}" if missing else ""
