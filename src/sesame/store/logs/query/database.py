"""The DuckDB that answers queries: one in-memory database for all, and a separate connection for each.

Used by `engine`. SAFETY: it can read only the folder of the segments: no other file, no network, no
extension; and no statement can change that. Opening one takes longer than most queries, so it stays open.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb

from sesame.store.logs.query.literals import literal

# DuckDB ignores an interrupt that comes between two statements, so it is repeated until the query has ended.
INTERRUPT_AGAIN_S = 0.05


class Interrupt:
    """Ends a query from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_set = False
        self._ended = threading.Event()

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        with self._lock:
            first, self._is_set = not self._is_set, True
            if self._connection is None or not first:
                return
            self._connection.interrupt()
        threading.Thread(target=self._repeat, name="log-query-interrupt", daemon=True).start()

    def _repeat(self) -> None:
        while not self._ended.wait(INTERRUPT_AGAIN_S):
            with self._lock:
                if self._connection is not None:
                    self._connection.interrupt()

    @contextlib.contextmanager
    def watching(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """While the body runs, `set` interrupts the connection; if it was already called, raises immediately."""
        with self._lock:
            if self._is_set:
                raise duckdb.InterruptException("interrupted before it began")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None
            self._ended.set()


class Database:
    """Several threads may open connections at a time. All share its memory and its threads."""

    def __init__(self, folder: Path, *, memory_mb: int, threads: int) -> None:
        self._folder = folder
        self._memory_mb = memory_mb
        self._threads = threads
        self._lock = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None

    @contextlib.contextmanager
    def connection(self, interrupt: Interrupt) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for the duration of the body, with temporary tables and views that no other connection sees."""
        with self._lock:
            if self._root is None:
                self._root = self._open()
            root = self._root
            connection = root.cursor()
        try:
            with interrupt.watching(connection):
                yield connection
        except (duckdb.FatalException, duckdb.InternalException):
            # DuckDB answers nothing afterwards, so the next query opens another.
            with self._lock:
                self._root = None if self._root is root else self._root
            raise
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock:
            if self._root is not None:
                self._root.close()
                self._root = None

    def _open(self) -> duckdb.DuckDBPyConnection:
        root = duckdb.connect(config={"memory_limit": f"{self._memory_mb}MB", "threads": self._threads})
        # Nothing is written to a disk: a query that needs more memory than the limit fails.
        root.execute("SET temp_directory = ''")
        # The name of a table must never refer to a Python variable.
        root.execute("SET python_enable_replacements = false")
        root.execute(f"SET allowed_directories = [{literal(str(self._folder))}]")
        root.execute("SET enable_external_access = false")
        root.execute("SET lock_configuration = true")
        return root
