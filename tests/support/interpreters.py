"""The runtimes of this machine, looked up once in each process of pytest: each interpreter is run for it."""

from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root

_FOUND = Runtimes.look_up({}, default_root())
INTERPRETERS, DEBUGGERS = _FOUND.found, _FOUND.debuggers
