"""Adds a configuration to attach VS Code to a function to `.vscode/launch.json`, and leaves the rest unchanged.

Used by `cli.dev`. The file is JSON with comments and trailing commas, so it is edited as text, in a single place, and
not at all if that place cannot be found.
"""

import json
import os
from pathlib import Path
from typing import Any

import msgspec

FILE_BYTES_MAX = 1024 * 1024
_SPACE = " \t\r\n"


class Attach(msgspec.Struct, frozen=True):
    """What to debug, the debugger's port, and which local folder corresponds to which remote one."""

    function: str
    port: int
    local: Path
    remote: str


class Unreadable(ValueError):
    """VS Code would not accept the file; the message states where."""


def write(folder: Path, attach: Attach) -> str:
    """Creates or updates `folder/.vscode/launch.json`; returns "", or why it could not.

    `local` is written relative to `folder` if it lies below it.
    """
    path = folder / ".vscode" / "launch.json"
    wanted = configuration(folder, attach)
    try:
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(_indented({"version": "0.2.0", "configurations": [wanted]}) + "\n", "utf-8")
            return ""
        if path.stat().st_size > FILE_BYTES_MAX:
            return f"{path} has more than {FILE_BYTES_MAX} bytes"
        text = path.read_bytes().decode("utf-8")
        merged = merge(text, wanted)
        if merged != text:
            # Replaced atomically; a symbolic link stays one.
            real = path.resolve()
            part = real.with_name(f".{real.name}.{os.getpid()}.part")
            part.write_bytes(merged.encode("utf-8"))
            part.replace(real)
    except (OSError, UnicodeDecodeError, Unreadable) as error:
        return f"{path} was left as it is: {error}"
    return ""


def configuration(folder: Path, attach: Attach) -> dict[str, Any]:
    """A configuration for VS Code's Python debugger."""
    local = attach.local
    shown = (
        f"${{workspaceFolder}}/{local.relative_to(folder).as_posix()}" if local.is_relative_to(folder) else str(local)
    )
    return {
        "name": name_of(attach.function),
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": "127.0.0.1", "port": attach.port},
        "pathMappings": [{"localRoot": shown.removesuffix("/."), "remoteRoot": attach.remote}],
        "justMyCode": True,
        "restart": True,
    }


def name_of(function: str) -> str:
    """The configuration's name, by which an earlier one is found again."""
    return f"Sesame: {function}"


def merge(text: str, wanted: dict[str, Any]) -> str:
    """Replaces the configuration of the same name, or inserts `wanted` before the others.

    Raises `Unreadable` if the text has no list of configurations.
    """
    top = _Scanner(text)
    members = top.members(top.skip(0))
    if "configurations" not in members:
        raise Unreadable('it has no list "configurations"')
    start, _end = members["configurations"]
    if text[start] != "[":
        raise Unreadable(f'"configurations" is no list, in line {text.count(chr(10), 0, start) + 1}')
    items = top.items(start)
    for begin, end in items:
        if text[begin] == "{" and _name(text, top.members(begin)) == wanted["name"]:
            return text[:begin] + _placed(wanted, _column(text, begin)) + text[end:]
    column = _column(text, items[0][0]) if items else _column(text, start) + 4
    comma = "," if items else ""
    close = "" if items else "\n" + " " * max(_column(text, start) - 4, 0)
    return f"{text[: start + 1]}\n{' ' * column}{_placed(wanted, column)}{comma}{close}{text[start + 1 :]}"


def _name(text: str, members: dict[str, tuple[int, int]]) -> str:
    start, end = members.get("name", (0, 0))
    return str(json.loads(text[start:end])) if text[start:end].startswith('"') else ""


def _placed(wanted: dict[str, Any], column: int) -> str:
    """Indents later lines like the first one."""
    return _indented(wanted).replace("\n", "\n" + " " * column)


def _indented(document: Any) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False)


def _column(text: str, at: int) -> int:
    """The indentation of the line at this offset."""
    line = text[text.rfind("\n", 0, at) + 1 :]
    return len(line) - len(line.lstrip(" \t"))


class _Scanner:
    """Finds where values begin and end in JSON with comments, without parsing them."""

    def __init__(self, text: str) -> None:
        self._text = text

    def skip(self, at: int) -> int:
        """The next offset that is neither white space nor part of a comment."""
        text = self._text
        while at < len(text):
            if text[at] in _SPACE or text[at] == "\ufeff":
                at += 1
            elif text.startswith("//", at):
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
            elif text.startswith("/*", at):
                end = text.find("*/", at + 2)
                if end < 0:
                    raise self._bad(at, "a comment that ends")
                at = end + 2
            else:
                return at
        raise self._bad(at, "more")

    def members(self, at: int) -> dict[str, tuple[int, int]]:
        """Begin and end of each value in the object at this offset, by key."""
        found: dict[str, tuple[int, int]] = {}
        at = self._expect(at, "{")
        while self._text[at := self.skip(at)] != "}":
            end = self._string(at)
            key = str(json.loads(self._text[at:end]))
            begin = self.skip(self._expect(self.skip(end), ":"))
            at = self._value(begin)
            found[key] = (begin, at)
            at = self._comma(at, "}")
        return found

    def items(self, at: int) -> list[tuple[int, int]]:
        """Begin and end of each item in the list at this offset."""
        found: list[tuple[int, int]] = []
        at = self._expect(at, "[")
        while self._text[at := self.skip(at)] != "]":
            end = self._value(at)
            found.append((at, end))
            at = self._comma(end, "]")
        return found

    def _value(self, at: int) -> int:
        """The end of the value that begins here. Counts nesting instead of recursing."""
        depth = 0
        while True:
            at = self.skip(at)
            char = self._text[at]
            if char == '"':
                at = self._string(at)
            elif char in "{[":
                depth, at = depth + 1, at + 1
            elif char in "}]":
                depth, at = depth - 1, at + 1
                if depth < 0:
                    raise self._bad(at - 1, "a value")
            elif char in ",:" and depth:
                at += 1
            else:
                begin = at
                while at < len(self._text) and (self._text[at].isalnum() or self._text[at] in "+-._"):
                    at += 1
                if at == begin:
                    raise self._bad(at, "a value")
            if depth == 0:
                return at

    def _string(self, at: int) -> int:
        begin, at = at, self._expect(at, '"')
        while at < len(self._text) and self._text[at] not in '"\n':
            at += 2 if self._text[at] == "\\" else 1
        if at >= len(self._text) or self._text[at] != '"':
            raise self._bad(begin, "a text that ends in its line")
        try:
            json.loads(self._text[begin : at + 1])
        except ValueError as error:
            raise self._bad(begin, "a text") from error
        return at + 1

    def _comma(self, at: int, closing: str) -> int:
        at = self.skip(at)
        if self._text[at] == ",":
            return at + 1
        if self._text[at] != closing:
            raise self._bad(at, f"',' or '{closing}'")
        return at

    def _expect(self, at: int, char: str) -> int:
        if not self._text.startswith(char, at):
            raise self._bad(at, f"'{char}'")
        return at + 1

    def _bad(self, at: int, expected: str) -> Unreadable:
        return Unreadable(f"line {self._text.count(chr(10), 0, at) + 1}: expected {expected}")
