"""The runtimes of this machine, looked up once in each process of pytest: each interpreter is run for it."""

from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root

RUNTIMES_HERE = Runtimes.look_up({}, default_root())
INTERPRETERS = RUNTIMES_HERE.found
DEBUGGERS = RUNTIMES_HERE.debuggers
