"""Asks the kernel about a requesting thread: which process it belongs to, and whether a signal is ending it.

Used by `buckets.open_files` for processes of functions, whose pid namespaces are descendants of this one.
"""

from pathlib import Path

_EXITING = 0x4
# Indices of flags and exit code among the fields of /proc/PID/stat that follow the command name.
_FLAGS, _EXIT_CODE = 6, 49
_SIGNAL = 0x7F


def process_of(thread: int) -> int:
    """The thread's process id; 0 if it is unknown."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return 0
    return next((int(line[5:]) for line in status.splitlines() if line.startswith("Tgid:")), 0)


def ended_by_signal(thread: int) -> bool:
    """Whether the thread is closing its files because a signal ends it."""
    try:
        fields = Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return bool(int(fields[_FLAGS]) & _EXITING and int(fields[_EXIT_CODE]) & _SIGNAL)
