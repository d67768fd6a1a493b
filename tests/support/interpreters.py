"""The interpreters of this machine and their debuggers, found once in each process of pytest: each is run for it."""

from sesame.sandbox.runtimes.debuggers import Debuggers
from sesame.sandbox.runtimes.interpreters import discover
from sesame.sandbox.runtimes.places import default_root

INTERPRETERS = discover()
DEBUGGERS = Debuggers(default_root(), INTERPRETERS)
