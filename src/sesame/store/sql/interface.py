"""What `store.sql.database` and `store.upkeep` need from a kind of database: connections, a lock, messages.

Implemented by `store.sql.sqlite` and `store.sql.postgresql`; `store.sql.backends` chooses.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError

T = TypeVar("T")


class Line(Protocol):
    """One connection, used by one thread at a time. `opened` counts how often it was opened: 1 until it is lost."""

    opened: int

    def run(self, fn: Callable[[sa.Connection], T], *, in_time: bool = True) -> T:
        """Runs `fn` with the connection, opening one first if there is none or it died while idle.

        Afterwards the connection is in no transaction. With `in_time`, a server that is silent for too long counts as
        lost. Raises what `fn` raises, and `PlatformError` if the database cannot be reached or the connection is lost
        meanwhile; the next call opens another.
        """

    def drop(self) -> None:
        """Drops the connection, whatever its state; idempotent."""

    def close(self) -> None: ...


class Backend(Protocol):
    """One database. `shown` names it in messages, without a password; `next_steps` end those about a loss.

    `probe_every_s`: how often an idle connection must be checked; None: never.
    """

    shown: str
    next_steps: str
    probe_every_s: float | None

    def lock(self) -> None:
        """Locks the database for this process until `close`. Raises `ConfigurationError` if another one has it."""

    def prepare(self) -> None:
        """Locks the database and creates or upgrades its tables. Raises `ConfigurationError` if it cannot be used."""

    def writer(self) -> Line:
        """The connection for writes: its commits are on the disk on return, and its transactions are serialized."""

    def reader(self) -> Line:
        """A connection whose transactions each see one committed state and cannot change anything."""

    def close(self) -> None:
        """Releases the lock; idempotent. The lines are closed by their users."""

    def lost_transaction(self, connection: sa.Connection, error: BaseException) -> bool:
        """Whether `error` ended the whole transaction and not only the statement that raised it.

        The connection may then be closed already: nothing more is sent on it.
        """

    def unusable(self, error: BaseException) -> ConfigurationError:
        """For an error at start-up: what was found, and the next step."""

    def absent(self) -> str:
        """ "missing" or "empty" if the files of the database are, otherwise "", also if it is damaged."""

    def missing(self) -> str:
        """Why there are no records ("is empty", "holds no records"), or "" if there are some.

        Changes nothing. Raises `ConfigurationError` if the database is damaged, unreachable or another program's.
        """

    def follow(self, fn: Callable[[sa.Connection], T]) -> T:
        """Runs `fn` in one read transaction, without the lock and beside the process that has it."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files, a line each; nothing for a server."""

    def last_number(self, connection: sa.Connection, table: str, column: str) -> int:
        """The last number that the database gave to a row of the table, even if that row is deleted; 0: none yet."""

    def set_last_number(self, connection: sa.Connection, table: str, column: str, number: int) -> None:
        """Makes the next row of the table get a higher number."""
