"""Starts the monitor of a function that is a web server, in a fresh interpreter.

    python -S -u -W ignore main.py SOCKET_FD OUTPUT_FD

Executed by sandbox/process/driver.py. Contains no logic, because a script is compiled at each start; a module is not.
"""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))

import monitor

if __name__ == "__main__":
    monitor.serve(monitor.attach(int(sys.argv[1]), int(sys.argv[2])))
