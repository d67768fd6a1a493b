"""The handler that compiles a function's sources under the function's own interpreter. Used by `fc.replays`."""

from pathlib import Path

SOURCE = Path(__file__).parents[1] / "runtime" / "checks" / "sources.py"
# Its module name in the copy of a function's code, chosen so that no user's module has it.
MODULE = "_sesame_check_sources"
HANDLER = f"{MODULE}.handler"
