"""PyYAML's loader, extended to accept tabs where YAML allows them: between tokens and at line ends, never to indent.

Used by `deploy.yaml_source`. PyYAML refuses these tabs, but the tools for which templates are written accept them.
"""

from typing import Any

import yaml

from sesame.deploy import yaml_scalars

_BREAKS = "\r\n\x85\u2028\u2029"


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = yaml_scalars.resolvers()

    def scan_to_next_token(self) -> None:
        line, inside = self.line, self.column > 0
        while True:
            super().scan_to_next_token()
            if self.peek() != "\t":
                return
            if not (self.flow_level or (inside and self.line == line) or self._blank()):
                return  # Indentation by tabs, which PyYAML refuses with the place.
            self._skip()

    def scan_plain_spaces(self, indent: int, start_mark: Any) -> list[str] | None:
        line = self.line
        found = super().scan_plain_spaces(indent, start_mark)
        if self.peek() != "\t" or (self.line != line and not self.flow_level and self.column < indent):
            return found  # No tab, or one that indents what follows.
        spaces = self._skip()
        if self.peek() in _BREAKS:
            # At the end of the line, line folding replaces the tabs.
            return super().scan_plain_spaces(indent, start_mark)
        return [*(found or []), spaces] if self.line == line else found

    def _skip(self) -> str:
        length = self._length()
        skipped = str(self.prefix(length))
        self.forward(length)
        return skipped

    def _blank(self) -> bool:
        """Whether the rest of the line is blank or a comment."""
        return self.peek(self._length()) in f"#\0{_BREAKS}"

    def _length(self) -> int:
        length = 0
        while self.peek(length) in (" ", "\t"):
            length += 1
        return length
