"""Where the sources lie that run under the functions' own interpreters; reached by path, never imported.

Used by the drivers, which show them to an instance or run them.
"""

from pathlib import Path

# `python/` is the shim of an instance, `jail/` what makes the jail around it (docs/jail.md).
SHIM = Path(__file__).parents[1] / "runtime"
