"""The local URL of an HTTP function: a host name of its own below `localhost`, which every machine takes for itself.

Used by `cli.deploy` and `dev.development`; what such a URL leads to is `fc.web`'s.
"""

from sesame.deploy.project import Trigger
from sesame.model import limits


def local_url(trigger: Trigger, port: int) -> str | None:
    """None for a trigger that is not HTTP's, or of another version than LATEST, which has no such name."""
    if trigger.fields["triggerType"] != "http" or trigger.fields.get("qualifier") not in (None, "", limits.LATEST):
        return None
    return f"http://{trigger.function}.{trigger.service}.localhost:{port}/"
