"""Whether an error says that a disk is full: no defect of the code, but what whoever runs Sesame can mend.

Asked by the endpoints, which tell their callers so, and by `cli.own_log`, which leaves the traceback out.
"""

import errno

NEXT_STEP = "free some space on the disk of the data directory"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def full_disk_in(error: object) -> BaseException | None:
    """The error itself, or what led to it; None where no disk is full."""
    while isinstance(error, BaseException):
        if isinstance(error, OSError):
            if error.errno in _NO_SPACE:
                return error
        # An error of the database; its module is not imported for that.
        elif getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return error
        error = error.__cause__ or error.__context__
    return None
