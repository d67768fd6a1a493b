"""The local URL of an HTTP function: its own host name below `localhost`, which every machine resolves to itself.

Used by `cli.deploy` and `dev.development`; `fc.web` serves these URLs.
"""

from sesame.deploy.project import Trigger
from sesame.model import limits
from sesame.model.owner import stands_alone


def local_url(trigger: Trigger, port: int) -> str | None:
    """None for triggers that are not HTTP triggers of LATEST, the only ones with such a name."""
    if trigger.fields["triggerType"] != "http" or trigger.fields.get("qualifier") not in (None, "", limits.LATEST):
        return None
    host = trigger.function if stands_alone(trigger.service) else f"{trigger.function}.{trigger.service}"
    return f"http://{host}.localhost:{port}/"
