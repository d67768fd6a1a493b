"""What functions of a follower write, and rows of its metrics, while there is a writer and while there is none."""

from typing import Any, cast

from sesame.agents import messages as m
from sesame.agents import written
from sesame.agents.link import Link
from sesame.agents.written import ROWS_TOGETHER, Written
from sesame.engine.invocation_log import LogSource
from sesame.model.logstore import LogRecord
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.metric_rows import Row

SOURCE = LogSource("s", "f", "1", "c-1", "p", "l")


class Taking:
    """A link."""

    waiting_bytes = 0

    def __init__(self) -> None:
        self.sent: list[m.Message] = []

    def send(self, message: m.Message, *, soon: bool) -> None:
        assert not soon
        self.sent.append(message)


def rows(count: int) -> list[Row]:
    key = SourceKey("s", "f", "1", "c-1", "p", "l")
    return [(key, LogRecord(number, 0, (("requestId", f"r-{number}"),))) for number in range(count)]


async def test_what_is_kept_leaves_in_order_once_there_is_a_writer() -> None:
    link, there = Taking(), list[Any]()
    writes = Written(lambda: cast(Link, there[0]) if there else None)
    writes.wrote(SOURCE, "r-1", b"line", False)
    await writes.write("topic", rows(ROWS_TOGETHER + 1))
    there.append(link)
    writes.send_kept(cast(Link, link))
    await writes.write("topic", rows(1))
    first, *others = link.sent
    assert isinstance(first, m.Wrote)
    measured = [each for each in others if isinstance(each, m.Measured)]
    assert [len(each.rows) for each in measured] == [ROWS_TOGETHER, 1, 1]
    assert [each.topic for each in measured] == ["topic"] * 3
    assert measured[1].rows == (rows(ROWS_TOGETHER + 1)[-1],)


async def test_rows_beyond_what_may_wait_are_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(written, "BYTES_MAX", 10)
    writes, link = Written(lambda: None), Taking()
    for _ in range(3):
        await writes.write("topic", rows(1))
    writes.send_kept(cast(Link, link))
    assert len(link.sent) == 1
