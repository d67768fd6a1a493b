"""A program that is Sesame in a version which a file names: what `sesame upgrade` finds installed can change.

Run with `python -c`; `version` is the path of the file.
"""

INSTALLED = """
import pathlib, sesame
sesame.__version__ = pathlib.Path("{version}").read_text()
from sesame.cli.main import main
main()
"""
