"""Whether an error means that a disk is full, which is no defect and which the operator can fix.

Used by the endpoints to tell their callers, and by `cli.own_log` to omit the traceback.
"""

import errno

NEXT_STEP = "free some space on the disk of the data directory"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def full_disk_in(error: object) -> BaseException | None:
    """The error itself or the cause that reports a full disk; None if there is none."""
    while isinstance(error, BaseException):
        if isinstance(error, OSError):
            if error.errno in _NO_SPACE:
                return error
        # An error of the database; comparing its name avoids importing the database's module.
        elif getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return error
        error = error.__cause__ or error.__context__
    return None
