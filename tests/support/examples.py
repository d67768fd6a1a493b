"""How many examples a property test tries: some in every run, many times as many by `make torture`."""

import os

TIMES = "EXAMPLES_TIMES"


def examples(count: int) -> int:
    """`count`, or as many times that as the environment says."""
    return count * int(os.environ.get(TIMES, "1"))
