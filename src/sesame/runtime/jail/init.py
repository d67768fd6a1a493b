"""Process 1 of an instance: reaps whatever ends, and ends when the function's process does.

Entered by steps.py after everything that needs privileges is done.
Never runs user code; its end takes every process of the instance with it, by the kernel's own rule for process 1.
"""

import errno
import os


def run(handler):
    """Waits for the process `handler`. Does not return."""
    while True:
        try:
            pid, status = os.wait()
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            os._exit(1)
        if pid == handler:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
