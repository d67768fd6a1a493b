"""What is published in versions: a service with its functions, or one function by itself.

Used by `control` for versions and aliases, whichever they belong to, and by what resolves a qualifier.
"""

import msgspec

from sesame.model import records


class VersionOwner(msgspec.Struct, frozen=True):
    """`kind` is `records.SERVICE` or `records.FUNCTION`; a function that owns its versions belongs to no service."""

    kind: str
    name: str

    @classmethod
    def service(cls, name: str) -> "VersionOwner":
        return cls(records.SERVICE, name)

    @classmethod
    def function(cls, name: str) -> "VersionOwner":
        return cls(records.FUNCTION, name)

    @property
    def key(self) -> str:
        """The parent of its versions, aliases and settings, and the name of its counter.

        A service's name, so that a function's must differ from it: names have no slash.
        """
        return self.name if self.kind == records.SERVICE else f"functions/{self.name}"

    @property
    def functions(self) -> str:
        """The parent of the records of its functions."""
        return self.name if self.kind == records.SERVICE else ""
