"""What a test's Sesame remembers of its invocations is bounded. Run by pytest, without a process."""

import msgspec

from sesame.engine.invocation_log import LogSource
from sesame.testing.invocation import decoded
from sesame.testing.recorder import BYTES_MAX, Recorder

SOURCE = LogSource("s", "f", "LATEST", "c-1", "p", "l")


def test_a_long_log_is_cut_once_and_says_so() -> None:
    recorder = Recorder()
    recorder.write(SOURCE, "r-1", b"FC Invoke Start RequestId: r-1\r\n", True)
    for _ in range(2 * BYTES_MAX // 1000):
        recorder.write(SOURCE, "r-1", b"x" * 999 + b"\n", True)
    (document,) = msgspec.json.decode(msgspec.json.encode(recorder.records()))
    log = decoded(document).log
    assert log.startswith("FC Invoke Start RequestId: r-1\nxxx")
    assert log.endswith(f"\n[cut at {BYTES_MAX} bytes]\n")
    assert (log.count("[cut"), len(log) < BYTES_MAX + 100) == (1, True)
