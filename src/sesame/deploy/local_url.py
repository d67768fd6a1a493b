"""The local URL of an HTTP function: a host name of its own below `localhost`, which every machine takes for itself.

Used by `cli.deploy` and `dev.development`; what such a URL leads to is `fc.web`'s.
"""

from sesame.deploy.project import Trigger
from sesame.model import limits
from sesame.model.owner import stands_alone


def local_url(trigger: Trigger, port: int) -> str | None:
    """None for a trigger that is not HTTP's, or of another version than LATEST, which has no such name."""
    if trigger.fields["triggerType"] != "http" or trigger.fields.get("qualifier") not in (None, "", limits.LATEST):
        return None
    host = trigger.function if stands_alone(trigger.service) else f"{trigger.function}.{trigger.service}"
    return f"http://{host}.localhost:{port}/"
