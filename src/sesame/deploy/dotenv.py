"""Reads `.env` files, as the templates' own tools do: `NAME=VALUE` lines, quotes, comments, and `${NAME}` in values.

Called by the readers of `s.yaml` and `serverless.yml`. The shell's variables take precedence.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from sesame.deploy import yaml_source

# The name, and a value in quotes, which may span lines, or the rest of the line up to a comment.
_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*('[^']*'|"(?:\\.|[^"\\])*"|`[^`]*`|[^\r\n#]*)""", re.MULTILINE
)
_REFERENCE = re.compile(r"\\\$|\$\{(\w+)(?::-([^{}]*))?\}|\$(\w+)")
_ESCAPES = {r"\n": "\n", r"\r": "\r", r"\"": '"'}
_ESCAPE = re.compile(r"\\[nr\"]")


def environment(path: Path, shell: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The shell's variables, and those of the file that it lacks; those of the shell if there is no file.

    Raises `TemplateError` for a file that cannot be read.
    """
    if not path.is_file():
        return shell
    found: dict[str, str] = {}
    for name, sent in _LINE.findall(yaml_source.text_of(path)):
        value = sent.strip()
        quote = value[:1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"`" else ""
        if quote:
            value = value[1:-1]
        if quote == '"':
            value = _ESCAPE.sub(lambda escape: _ESCAPES[escape[0]], value)
        found[name] = value if quote == "'" else _expanded(value, {**found, **shell})
    return {**found, **shell}


def _expanded(value: str, known: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-DEFAULT}` and `$NAME` become values of the variables before it; `\\$` is a dollar sign."""

    def replaced(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return "$" if name is None else known.get(name) or found[2] or ""

    return _REFERENCE.sub(replaced, value)
