"""Why a process ended, as a function's log says it."""

import pytest

from sesame.sandbox.deaths import line_of


@pytest.mark.parametrize(
    ("reason", "detail", "line"),
    [
        ("exit", "exit status 3", "the function's process ended with exit status 3"),
        ("exit", "killed by SIGSEGV", "the function's process was killed by SIGSEGV (Segmentation fault)"),
        ("exit", "killed by SIGNONE", "the function's process was killed by SIGNONE"),
        ("exit", "killed by signal 40", "the function's process was killed by signal 40"),
        ("exit", "", "the function's process ended; how is not known"),
        ("ran_on", "it ran", "the instance was ended because it cannot be frozen: it ran"),
        ("exit", "exit status 1; 2 refused", "the function's process ended with exit status 1; 2 refused"),
        (
            "out_of_memory",
            "130.00 MB of 128 MB",
            "the function's process was killed because it was out of memory: 130.00 MB of 128 MB",
        ),
    ],
)
def test_each_cause_of_death_has_its_line(reason: str, detail: str, line: str) -> None:
    assert line_of(reason, detail) == f"[sesame] {line}"


@pytest.mark.parametrize("reason", ["killed", "timeout"])
def test_ends_by_the_platform_have_no_line(reason: str) -> None:
    assert line_of(reason, "") == ""
