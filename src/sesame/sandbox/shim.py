"""The path of the sources that run under the functions' own interpreters; these are never imported by Sesame.

Used by the drivers, which show them to an instance or run them.
"""

from pathlib import Path

# `python/` is the shim of an instance, `jail/` builds the jail around it (docs/jail.md).
SHIM = Path(__file__).parents[1] / "runtime"
