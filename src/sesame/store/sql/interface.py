"""What `store.sql.database` and `store.upkeep` need of a kind of database: connections, a lock, messages.

Implemented by `store.sql.sqlite` and `store.sql.postgresql`; `store.sql.backends` chooses.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError

T = TypeVar("T")


class Line(Protocol):
    """One connection for one thread at a time. `opened` counts how often it was opened: 1 until it is lost."""

    opened: int

    def run(self, fn: Callable[[sa.Connection], T], *, in_time: bool = True) -> T:
        """Runs `fn` with the connection, which is opened before when there is none or when it has died while idle.

        Afterwards the connection is in no transaction. With `in_time`, a server that is silent for too long counts as
        gone. Raises what `fn` raises, and `PlatformError` when the database cannot be reached or the connection is lost
        meanwhile; the next call opens another.
        """

    def drop(self) -> None:
        """Gives the connection up, whatever state it is in; idempotent."""

    def close(self) -> None: ...


class Backend(Protocol):
    """One database. `shown` names it in messages, without a password; `next_steps` end those about a loss.

    `probe_every_s`: how often an idle connection must be looked at to know that it still is one; None: never.
    """

    shown: str
    next_steps: str
    probe_every_s: float | None

    def lock(self) -> None:
        """Takes the database for this process until `close`. Raises `ConfigurationError` when another one has it."""

    def prepare(self) -> None:
        """Locks the database and creates or upgrades its tables. Raises `ConfigurationError` if it cannot be used."""

    def writer(self) -> Line:
        """The connection that writes: its transactions are on the disk when they are committed, and exclude others."""

    def reader(self) -> Line:
        """A connection of which each transaction sees one committed state and can change nothing."""

    def close(self) -> None:
        """Gives up the lock; idempotent. The lines are closed by their users."""

    def lost_transaction(self, connection: sa.Connection, error: BaseException) -> bool:
        """Whether `error` ended the whole transaction and not only the statement that raised it.

        Then the connection may be closed already: nothing more is sent on it.
        """

    def unusable(self, error: BaseException) -> ConfigurationError:
        """For an error at start-up: what was found, and the next step."""

    def absent(self) -> str:
        """ "missing" or "empty" where the files of the database are so, else "": also for what is damaged."""

    def missing(self) -> str:
        """What hides the records that should be there ("is empty", "holds no records"), "" when there are some.

        Changes nothing. Raises `ConfigurationError` for a database that is damaged, unreachable or of another program.
        """

    def follow(self, fn: Callable[[sa.Connection], T]) -> T:
        """Runs `fn` in one read transaction, without the lock and beside the process that has it."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files, a line each; nothing for a server."""

    def last_number(self, connection: sa.Connection, table: str, column: str) -> int:
        """The last number that the database gave to a row of the table, also if that row is gone; 0: none yet."""

    def set_last_number(self, connection: sa.Connection, table: str, column: str, number: int) -> None:
        """The next row of the table gets a higher number."""
