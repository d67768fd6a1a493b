"""Starts an instance in a fresh interpreter.

    python -S -u -W ignore main.py SOCKET_FD OUTPUT_FD [SITE_PACKAGES [COMPILED_FD ...]]

Executed by sandbox/process/driver.py, and in a jail by jail/steps.py for functions with variables that are only read at
the start of an interpreter. Contains no logic, because a script is compiled at each start; a module is not.
"""

import sys

import bootstrap

if __name__ == "__main__":
    attached = bootstrap.attach(int(sys.argv[1]), int(sys.argv[2]))
    bootstrap.serve(attached, "".join(sys.argv[3:4]), [int(fd) for fd in sys.argv[4:]])
