"""A query process: answers one question at a time about the logstores of a server. Started by `query_processes`.

It is a separate process so that a query can be ended whatever it does, and uses neither the server's interpreter
lock nor its memory. SAFETY: after loading, its additional memory is limited, and it writes no file. It ends with the
server.
"""

import contextlib
import os
import queue
import resource
import socket
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from sesame.model.errors import Invalid
from sesame.model.logstore import LineIndex, LogIndex
from sesame.store.logs.logstores.answering import LIMITS, Answers, Interrupt
from sesame.store.logs.logstores.query_protocol import (
    Answer,
    Around,
    Ask,
    Bars,
    ContextAsked,
    Failed,
    Found,
    HistogramAsked,
    Place,
    ProjectSql,
    ProjectSqlAsked,
    Question,
    Refused,
    Said,
    SearchAsked,
    Wrong,
    receive,
    send,
)
from sesame.store.logs.logstores.query_protocol import Interrupt as Interrupted
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.segment_files import SegmentFiles
from sesame.store.logs.query.engine import LogQueries, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.project_sql import logstore_and_query
from sesame.store.logs.query.refusals import QueryRefused, too_much_memory
from sesame.store.logs.query.relation import Source

# Calls have priority.
NICENESS = 5
# Memory of a query besides DuckDB's own limit: unsealed logs, and the result as text.
BESIDE_DUCKDB_MB = 1024
MIB = 1024 * 1024
_WARM = "a not b | select count(*) as c, date_trunc('hour', __time__) as t group by t"

_decode = msgspec.msgpack.Decoder(Ask | Interrupted).decode


class _Questions:
    """Reads the server's messages on a separate thread; returns questions, and interrupts the current one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._asked: queue.SimpleQueue[tuple[Ask, Interrupt]] = queue.SimpleQueue()
        self._last: tuple[int, Interrupt] | None = None

    def start(self) -> None:
        threading.Thread(target=self._read, name="questions", daemon=True).start()

    def next(self) -> tuple[Ask, Interrupt]:
        return self._asked.get()

    def _read(self) -> None:
        while (message := receive(self._sock)) is not None:
            said = _decode(message)
            if isinstance(said, Ask):
                self._last = said.number, Interrupt()
                self._asked.put((said, self._last[1]))
            elif self._last is not None and self._last[0] == said.number:
                self._last[1].set()
        # The server is gone, so nobody waits for an answer.
        os._exit(0)


class _Logstores:
    """Answers about the place of the last question, which stays open."""

    def __init__(self) -> None:
        self._open: tuple[Place, Answers] | None = None

    def at(self, place: Place) -> Answers:
        if self._open is None or self._open[0] != place:
            if self._open is not None:
                self._open[1].close()
            self._open = place, Answers(Reader(Path(place.file)), SegmentFiles(Path(place.segments)))
        return self._open[1]


def answer(answers: Answers, question: Question, interrupt: Interrupt) -> Said:
    """Every outcome is an answer."""
    try:
        return _answer(answers, question, interrupt)
    except QueryRefused as refused:
        return Refused(refused.message, refused.part)
    except Invalid as wrong:
        return Wrong(wrong.field, wrong.allowed, str(wrong.actual))
    except MemoryError:
        too_much = too_much_memory(LIMITS.memory_mb)
        return Refused(too_much.message, too_much.part)
    except Exception:  # noqa: BLE001 - the server logs it, and answers the caller without internals
        return Failed(traceback.format_exc())


def _answer(answers: Answers, question: Question, interrupt: Interrupt) -> Said:
    match question:
        case SearchAsked(known, query, now_s):
            return Found(answers.query(known, query, now_s, interrupt))
        case HistogramAsked(known, query, now_s):
            return Bars(tuple(answers.histogram(known, query, now_s, interrupt)))
        case ContextAsked(known, pack_id, pack_meta, back, forward):
            return Around(answers.context(known, pack_id, pack_meta, back, forward, interrupt))
        case ProjectSqlAsked(sql):
            return ProjectSql(*logstore_and_query(sql))


def warm_up() -> None:
    """Makes the grammars and DuckDB do their first work, which takes longer than later work."""
    queries = LogQueries(Path(os.devnull), LIMITS)
    queries.select(Search(parse(_WARM), LogIndex(LineIndex()), 0, 1, 0.0), Source(), Interrupt())
    queries.close()


def raise_walls() -> None:
    """From here on no file can be written, and memory is limited if the system supports it (Linux)."""
    os.nice(NICENESS)
    sys.dont_write_bytecode = True
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(what, (0, 0))
    with contextlib.suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (LIMITS.memory_mb + BESIDE_DUCKDB_MB) * MIB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(fd: str) -> None:
    sock = socket.socket(fileno=int(fd))
    warm_up()
    raise_walls()
    questions, logstores = _Questions(sock), _Logstores()
    questions.start()
    while True:
        asked, interrupt = questions.next()
        answers = logstores.at(asked.place)
        said = answer(answers, asked.question, interrupt)
        send(sock, Answer(asked.number, said, answers.take_damaged()))


if __name__ == "__main__":
    main(*sys.argv[1:])
