"""Makes `python -m sesame` the same as the command `sesame`.

Run by the interpreter only. Holds nothing of its own.
"""

from sesame.cli.main import main

main()
