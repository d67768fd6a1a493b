"""A bucket of a test's Sesame: puts, reads, lists and compares objects.

Created by `testing.cloud.Cloud.bucket`.
"""

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sesame.testing.objects import ObjectStore


class Bucket:
    def __init__(self, store: "ObjectStore", name: str) -> None:
        self.name = name
        self._store = store

    def __repr__(self) -> str:
        return f"<Bucket {self.name}>"

    def put(self, key: str, data: bytes | str, *, content_type: str = "") -> None:
        """Creates or replaces an object, which fires the bucket's triggers."""
        self._store.put(self.name, key, data.encode() if isinstance(data, str) else data, content_type)

    def get(self, key: str) -> bytes:
        """Raises `KeyError`, which lists the existing keys."""
        found = self._store.get(self.name, key)
        if found is None:
            raise KeyError(f"bucket {self.name} has no object {key!r}; it has {self.keys() or 'none'}")
        return found

    def delete(self, key: str) -> None:
        """Does nothing if the object does not exist."""
        self._store.delete(self.name, key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys, sorted."""
        return self._store.keys(self.name, prefix)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object by its key, to compare a whole bucket."""
        return {key: self.get(key) for key in self.keys(prefix)}

    def assert_object(self, key: str, expected: bytes | str) -> None:
        """Fails with a difference, line by line if both are text; lists the existing keys if the object is missing."""
        wanted = expected.encode() if isinstance(expected, str) else expected
        found = self._store.get(self.name, key)
        where = f"object {key!r} in bucket {self.name}"
        if found is None:
            raise AssertionError(f"there is no {where}; there is {self.keys() or 'nothing'}")
        if found != wanted:
            raise AssertionError(f"{where} is not as expected:\n{_difference(wanted, found)}")

    def assert_no_object(self, key: str) -> None:
        if self._store.get(self.name, key) is not None:
            raise AssertionError(f"object {key!r} exists in bucket {self.name}")


def _difference(expected: bytes, found: bytes) -> str:
    try:
        before, after = expected.decode().splitlines(), found.decode().splitlines()
    except UnicodeDecodeError:
        at = next(
            (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
        )
        near = slice(max(at - 8, 0), at + 24)
        return (
            f"expected {len(expected)} bytes, found {len(found)}; they differ from byte {at} on\n"
            f"- {expected[near]!r}\n+ {found[near]!r}"
        )
    lines = list(difflib.unified_diff(before, after, "expected", "found", lineterm=""))
    return "\n".join(lines) or f"they differ in line ends: expected {expected!r}, found {found!r}"
