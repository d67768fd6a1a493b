"""Where the handler lies that compiles a function's sources under its own interpreter. Used by `fc.replays`."""

from pathlib import Path

SOURCE = Path(__file__).parents[1] / "runtime" / "checks" / "sources.py"
# What it is called in the copy of a function's code: no module of a user's has this name.
MODULE = "_sesame_check_sources"
HANDLER = f"{MODULE}.handler"
