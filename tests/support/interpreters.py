"""The interpreters of this machine, found once in each process of pytest: to look for them runs each."""

from sesame.sandbox.runtimes.interpreters import discover

INTERPRETERS = discover()
