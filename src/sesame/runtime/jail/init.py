"""Process 1 of an instance: reaps every process that ends, and ends when the function's process does.

Entered by steps.py after everything that needs privileges is done; runs no user code. When process 1 of a pid namespace
ends, the kernel kills every process in it, so that nothing of an instance outlives its function.
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
