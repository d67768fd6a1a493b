"""Errors of PostgreSQL and of its driver: which ones mean a lost connection, and what an operator is told.

Used by `store.sql.postgresql`.
"""

import asyncpg
import sqlalchemy as sa

from sesame.store.sql.refusals import NEXT_STEPS_ELSEWHERE

URL_EXPECTED = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with options as libpq has them"
# Errors of the network or the driver that SQLAlchemy does not wrap; time limits are OSErrors.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


def is_loss(error: BaseException) -> bool:
    """Whether the connection is lost or the server is silent."""
    found = _driver_error(error)
    if isinstance(found, asyncpg.PostgresError):
        # FATAL and PANIC mean that the server ended the connection, for example because an administrator shut it down.
        fatal = getattr(found, "severity_en", "") in ("FATAL", "PANIC")
        return fatal or isinstance(found, asyncpg.PostgresConnectionError)
    return isinstance(found, ConnectionError | TimeoutError | asyncpg.InterfaceError)


def _driver_error(error: BaseException) -> BaseException:
    """asyncpg's error, which SQLAlchemy wraps twice: in its own error around one in DB-API's form."""
    found = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return found.__cause__ if isinstance(found.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError) else found


def first_line(error: BaseException) -> str:
    return (str(_driver_error(error)) or type(error).__name__).splitlines()[0]


def refusal(error: BaseException) -> tuple[str, str]:
    """What is wrong and the next step, for an error of the first connection."""
    cause = _driver_error(error)
    match cause:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            step = "Check user and password of the URL; a password may also stand in PGPASSWORD or in ~/.pgpass"
        case asyncpg.InvalidCatalogNameError():
            step = "Make it first, with `createdb` for example, or name another"
        case asyncpg.InsufficientPrivilegeError():
            step = "Let the user of the URL make tables there: let it own the database"
        case asyncpg.CannotConnectNowError() | asyncpg.TooManyConnectionsError():
            step = "Try again when the server has finished starting, or has connections left"
        case asyncpg.ClientConfigurationError():
            step = f"{URL_EXPECTED[0].upper()}{URL_EXPECTED[1:]}"
        case OSError():
            step = "Check that PostgreSQL runs there and that the URL has its host and port"
        case _:
            step = NEXT_STEPS_ELSEWHERE
    return first_line(cause), step
