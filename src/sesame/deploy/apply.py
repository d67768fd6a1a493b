"""Executes a plan's steps at a server in order, and reports each.

Called by the commands `deploy` and `remove`. Stops at the first refused step; running it again continues from there.
"""

import base64
from collections.abc import Callable
from typing import Any

from sesame.cli.client import Refused
from sesame.deploy.plan import Asks, Plan, Step
from sesame.model import limits
from sesame.model.errors import ConfigurationError

Say = Callable[[Step], None]


def apply(plan: Plan, server: Asks, say: Say) -> dict[str, Any]:
    """Returns the server's answer to each step, by the step's subject. Raises the server's refusals."""
    answers: dict[str, Any] = {}
    for step in plan.steps:
        if step.action != "unchanged":
            try:
                if step.before is not None:
                    server.ask(*step.before)
                answers[step.what] = server.ask(step.method, step.path, _document(step))
            except Refused as error:
                raise error.about(step.what) from error.__cause__
        say(step)
    return answers


def _document(step: Step) -> dict[str, Any] | None:
    if step.code is None:
        return None if step.document is None else dict(step.document)
    if len(step.code) > limits.CODE_ZIP_BYTES:
        raise ConfigurationError(
            f"{step.what}: the code's zip has {len(step.code)} bytes; at most {limits.CODE_ZIP_BYTES} are taken: leave "
            "out what is not needed (.fcignore, .funignore), or put the zip into a bucket and name that"
        )
    return {**(step.document or {}), "code": {"zipFile": base64.b64encode(step.code).decode()}}
