"""Compiles the wildcards of RAM policies: `*` matches any number of characters, including none, `?` exactly one.

Called by `identity.policy.evaluator` and `identity.policy.conditions`, once per pattern of a policy. Matching takes
time proportional to pattern plus subject or, with `?` between two `*`, to a 60th of their product.
"""

from collections.abc import Callable

Match = Callable[[str], bool]


def glob(pattern: str, *, ignore_case: bool = False) -> Match:
    """Returns a predicate over whole strings."""
    if ignore_case:
        test = glob(pattern.casefold())
        return lambda subject: test(subject.casefold())
    if not pattern.strip("*") and pattern:
        return _always
    if "*" not in pattern and "?" not in pattern:
        return lambda subject: subject == pattern
    first, *rest = pattern.split("*")
    if not rest:
        return lambda subject: len(subject) == len(first) and _fits(first, subject, 0)
    *between, last = rest
    return _Runs(first, tuple(run for run in between if run), last).match


class _Runs:
    """The runs before the first `*`, between the stars, and after the last one.

    Matching each run between stars at its first possible position suffices: if the pattern matches at all, it does so.
    """

    __slots__ = ("_between", "_first", "_last")

    def __init__(self, first: str, between: tuple[str, ...], last: str) -> None:
        self._first = first
        self._between = tuple(_finder(run) for run in between)
        self._last = last

    def match(self, subject: str) -> bool:
        end = len(subject) - len(self._last)
        at = len(self._first)
        if at > end or not _fits(self._first, subject, 0) or not _fits(self._last, subject, end):
            return False
        for find in self._between:
            at = find(subject, at, end)
            if at < 0:
                return False
        return True


def _fits(run: str, subject: str, at: int) -> bool:
    """Whether the run, in which `?` matches any character, matches the subject at this position."""
    if "?" not in run:
        return subject.startswith(run, at)
    return all(char in ("?", found) for char, found in zip(run, subject[at : at + len(run)], strict=True))


def _finder(run: str) -> Callable[[str, int, int], int]:
    """`find(subject, start, end)` returns the position after the run's first occurrence in that range, or -1."""
    if "?" not in run:
        size = len(run)

        def find(subject: str, start: int, end: int) -> int:
            at = subject.find(run, start, end)
            return -1 if at < 0 else at + size

        return find
    return _find_with_gaps(run)


def _find_with_gaps(run: str) -> Callable[[str, int, int], int]:
    """The Shift-And algorithm: bit i of the state is set if the run's first i+1 characters end here."""
    gaps = sum(1 << i for i, char in enumerate(run) if char == "?")
    masks = {char: gaps for char in run if char != "?"}
    for i, char in enumerate(run):
        if char != "?":
            masks[char] |= 1 << i
    whole = 1 << (len(run) - 1)

    def find(subject: str, start: int, end: int) -> int:
        state = 0
        for at in range(start, end):
            state = ((state << 1) | 1) & masks.get(subject[at], gaps)
            if state & whole:
                return at + 1
        return -1

    return find


def _always(_subject: str) -> bool:
    return True
