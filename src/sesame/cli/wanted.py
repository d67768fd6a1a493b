"""What the options of a command say of the function of a folder that has no template.

Used by `sesame deploy`, `plan`, `remove`, `build` and `dev`.
"""

from collections.abc import Mapping
from typing import Any

from sesame.cli import naming
from sesame.deploy.folder import Wanted
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings


def wanted(options: Mapping[str, Any], settings: Settings) -> Wanted:
    """Runs each interpreter once unless the runtime is named. A command may lack the options `http` and `variables`."""
    service, function = naming.service_and_function(options["name"]) if options["name"] else (None, None)
    runtimes: tuple[str, ...] = ()
    if not options["runtime"]:
        runtimes = tuple(Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir()).found)
    return Wanted(
        service=service,
        function=function,
        handler=options["handler"],
        runtime=options["runtime"],
        http=options.get("http"),
        environment=naming.pairs(options.get("variables", ()), "--env"),
        runtimes=runtimes,
    )
