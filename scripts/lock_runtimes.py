"""Resolves the packages of each runtime anew: constraints/<runtime>.in (what is asked) → <runtime>.txt (exact).

Run by `make lock [ARGS=python2.7]`, with a network and every interpreter; the result is committed.
Never run by users, and changes nothing outside the constraints.
"""

import sys
from pathlib import Path

from sesame.sandbox.runtimes import interpreters
from sesame.sandbox.runtimes.pip_bootstrap import BootstrappedPip, PipFailed, temporary_folder
from sesame.sandbox.runtimes.site_packages import CONSTRAINTS

# A backport of the standard library's enum: under Python 3 it can only do harm.
LEFT_OUT_OF_PYTHON_3 = {"enum34"}


def main(names: list[str]) -> None:
    found = interpreters.discover()
    for runtime in names or interpreters.MINOR_VERSIONS:
        interpreter = found.get(runtime)
        if interpreter is None or interpreter.substitute_for:
            sys.exit(f"{runtime} needs its own interpreter: {interpreters.how_to_get(runtime)}")
        print(f"{runtime}: resolving …", flush=True)
        try:
            pins = resolve(interpreter)
        except PipFailed as failed:
            sys.exit("\n".join([f"{runtime}: {failed}", *failed.lines[-40:]]))
        header = f"# Resolved by scripts/lock_runtimes.py from {runtime}.in for CPython {interpreter.version}.\n"
        (CONSTRAINTS / f"{runtime}.txt").write_text(header + "".join(f"{pin}\n" for pin in pins))
        print(f"{runtime}: {len(pins)} packages", flush=True)


def resolve(interpreter: interpreters.Interpreter) -> list[str]:
    with temporary_folder() as boot, temporary_folder() as target:
        pip = BootstrappedPip(interpreter, Path(boot))
        pip.fetch((CONSTRAINTS / f"{interpreter.runtime}.build.txt").read_text().split())
        asked = CONSTRAINTS / f"{interpreter.runtime}.in"
        pip.run(
            ["install", "--no-build-isolation", "--no-warn-script-location", "--target", target, "-r", str(asked)],
            lambda line: print(f"{interpreter.runtime}: {line}", flush=True),
        )
        pins = [_pin(info) for info in Path(target).iterdir() if info.name.endswith((".dist-info", ".egg-info"))]
    left_out = LEFT_OUT_OF_PYTHON_3 if interpreter.minor >= (3, 0) else set()
    return sorted((pin for pin in pins if pin.partition("==")[0] not in left_out), key=str.lower)


def _pin(info: Path) -> str:
    metadata = info / ("METADATA" if info.name.endswith(".dist-info") else "PKG-INFO")
    fields = dict(
        line.split(": ", 1)
        for line in metadata.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        if line.startswith(("Name: ", "Version: "))
    )
    return f"{fields['Name']}=={fields['Version']}"


if __name__ == "__main__":
    main(sys.argv[1:])
