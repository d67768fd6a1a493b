"""Starts an instance in a fresh interpreter: `python -S -u -W ignore main.py SOCKET_FD OUTPUT_FD [SITE_PACKAGES]`.

Executed by sandbox/process/driver.py, in the place where an instance shall live.
Never holds logic: a script is compiled anew at each start, a module is not.
"""

import sys

import bootstrap

if __name__ == "__main__":
    bootstrap.serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4])
