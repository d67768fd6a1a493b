"""What the import of a module brings along, seen in an interpreter of its own."""

import subprocess
import sys


def imported_with(module: str) -> set[str]:
    """The names of all modules that an interpreter has once it has imported this one, packages among them."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())
