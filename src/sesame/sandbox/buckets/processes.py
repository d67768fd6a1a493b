"""What the kernel says of the process that asks: which one a thread belongs to, and whether a signal is ending it.

Used by `buckets.open_files` about functions' processes, which are in namespaces below this one.
"""

from pathlib import Path

_EXITING = 0x4
# In /proc/PID/stat, counted from what follows the command's name: the flags, and the status to exit with.
_FLAGS, _EXIT_CODE = 6, 49
_SIGNAL = 0x7F


def process_of(thread: int) -> int:
    """0 where nobody knows."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return 0
    return next((int(line[5:]) for line in status.splitlines() if line.startswith("Tgid:")), 0)


def ended_by_signal(thread: int) -> bool:
    """Whether the thread closes its files because a signal ends it."""
    try:
        fields = Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return bool(int(fields[_FLAGS]) & _EXITING and int(fields[_EXIT_CODE]) & _SIGNAL)
