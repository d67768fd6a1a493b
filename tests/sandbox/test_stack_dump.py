"""The fault handler's text in the layout of a function's log."""

import re

from sesame.sandbox.stack_dump import HeldOutput, in_log_layout

WRITTEN = b"""half a line of the function's
Thread 0x00007f0000000002 (most recent call first):
  File "/shim/python/watchdog.py", line 63 in _watch

Current thread 0x00007f0000000001 (most recent call first):
  File "/lib/re.py", line 10 in match
  File "/real/index.py", line 5 in search
  File "/real/index.py", line 9 in handler
  File "/shim/python/bootstrap.py", line 120 in _call
"""


def test_stacks_become_records_and_the_rest_stays() -> None:
    text = in_log_layout(WRITTEN, "r-1", "/shim", ("/real/", "/code/")).decode()
    lines = [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", "", line) for line in text.splitlines()]
    assert lines == [
        "half a line of the function's",
        "r-1 [ERROR] Dumping stack trace after function timeout",
        f"r-1 [ERROR] request id = r-1, thread id = {0x7F0000000001}",
        'r-1 [ERROR]   File "/code/index.py", line 9, in handler',
        '  File "/code/index.py", line 5, in search',
        '  File "/lib/re.py", line 10, in match',
    ]


def test_a_missing_stack_is_reported_as_missing() -> None:
    assert in_log_layout(b"", "r", "/shim") == (
        b"[sesame] the stacks of the function could not be had: it did not answer\n"
    )


def test_output_is_held_only_between_hold_and_release() -> None:
    heard = bytearray()
    output = HeldOutput(heard.extend)
    output(b"before\n")
    output.release("r", "/shim")
    assert heard == b"before\n"
    output.hold()
    output(WRITTEN)
    assert heard == b"before\n"
    output.release("r", "/shim")
    assert b"Dumping stack trace" in heard
    output(b"after\n")
    assert heard.endswith(b"after\n")
