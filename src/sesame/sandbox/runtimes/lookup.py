"""Each runtime's interpreter and packages on this machine, or the reason why the runtime cannot run.

Built by `app` and the commands; its `launch` is passed to the sandbox driver. Installs nothing.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from sesame.model.limits import NODE_RUNTIMES
from sesame.model.web_server import is_custom
from sesame.sandbox.launch import Launch
from sesame.sandbox.runtimes import interpreters, nodes, web_servers
from sesame.sandbox.runtimes.debuggers import Debuggers
from sesame.sandbox.runtimes.interpreters import Interpreter
from sesame.sandbox.runtimes.node_packages import NodePackages
from sesame.sandbox.runtimes.places import own_interpreters
from sesame.sandbox.runtimes.site_packages import SitePackages


class Runtimes:
    """The runtimes of this machine, looked up once. Interpreters installed later are found at the next start."""

    def __init__(
        self, found: dict[str, Interpreter], packages: SitePackages, node_programs: Mapping[str, Path] | None = None
    ) -> None:
        """`found` and `node_programs` are keyed by runtime."""
        self.found = found
        self.nodes = node_programs or {}
        self.packages = packages
        self.node_packages = NodePackages(packages.root, self.nodes)
        self.debuggers = Debuggers(packages.root, found)

    @classmethod
    def look_up(
        cls,
        overrides: Mapping[str, Path],
        packages_root: Path,
        wanted: Collection[str] = tuple(interpreters.MINOR_VERSIONS),
    ) -> "Runtimes":
        """Looks up the wanted runtimes. Takes up to a second, because each interpreter is run once."""
        of_nodes = {runtime: path for runtime, path in overrides.items() if runtime in NODE_RUNTIMES}
        of_python = {runtime: path for runtime, path in overrides.items() if runtime not in NODE_RUNTIMES}
        found = interpreters.discover(of_python, wanted=wanted, own=own_interpreters(packages_root))
        return cls(found, SitePackages(packages_root, found), nodes.discover(of_nodes, os.environ))

    def runs(self, runtime: str) -> bool:
        """Whether this machine can run the runtime."""
        try:
            self.launch(runtime)
        except LookupError:
            return False
        return True

    def launch(self, runtime: str) -> Launch:
        """How to run the runtime. Raises `LookupError`, which names the missing interpreter and how to get it."""
        if is_custom(runtime):
            return web_servers.launch()
        if runtime in NODE_RUNTIMES:
            if runtime not in self.nodes:
                raise LookupError(
                    f"Runtime {runtime} cannot run here: Node.js was not found. Next: {nodes.HOW_TO_GET}, and start "
                    "Sesame again"
                )
            return web_servers.node_launch(self.nodes[runtime], runtime, self.node_packages.path(runtime))
        interpreter = self.found.get(runtime)
        if interpreter is None:
            if runtime not in interpreters.MINOR_VERSIONS:
                raise LookupError(f"Runtime {runtime} cannot run here: Sesame runs {', '.join(self.known())}")
            raise LookupError(
                f"Runtime {runtime} cannot run here: its interpreter was not found. Get it with "
                f"{interpreters.how_to_get(runtime)}, and start Sesame again"
            )
        if not os.access(interpreter.path, os.X_OK):
            raise LookupError(
                f"Runtime {runtime} cannot run here: its interpreter was removed while Sesame ran. "
                f"Get it with {interpreters.how_to_get(runtime)}, and start Sesame again"
            )
        return Launch(interpreter.path, self.packages.path(runtime), interpreter.notice)

    def paths(self) -> dict[str, Path]:
        return {runtime: interpreter.path for runtime, interpreter in self.found.items()}

    def known(self) -> tuple[str, ...]:
        return tuple(interpreters.MINOR_VERSIONS)

    def missing(self) -> list[str]:
        """Runtimes without an interpreter, or with only a newer one as a substitute."""
        return [name for name in self.known() if name not in self.found or self.found[name].substitute_for]

    def notices(self) -> list[str]:
        """Notices for the operator before the first call, one line each."""
        lines = []
        for runtime in self.known():
            interpreter = self.found.get(runtime)
            if interpreter is None:
                lines.append(f"Runtime {runtime} has no interpreter here. Get it: {interpreters.how_to_get(runtime)}")
                continue
            if interpreter.notice:
                lines.append(f"{interpreter.notice} Get it: {interpreters.how_to_get(runtime)}")
            if self.packages.manifest(runtime) is None:
                lines.append(f"Runtime {runtime} has no packages yet. Install them: sesame runtimes install {runtime}")
        return lines
