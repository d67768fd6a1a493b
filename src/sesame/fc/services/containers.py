"""Container image settings in the versions with services, where two lists are JSON text (reference/api.md §3.2).

Called by the inputs and shapes.
"""

from typing import Any

import msgspec

from sesame.fc.refusals import InvalidArgument
from sesame.model.container import ARGS_TEXT, COMMAND_TEXT, kept_form, neutral_form, without_none

_EXPECTED = 'the JSON text of a list of texts, such as ["/server", "--port", "9000"]'
_SHOWN_CHARS = 64


def neutral(sent: dict[str, Any]) -> dict[str, Any]:
    """Empty settings stay empty, which removes them. Raises `InvalidArgument` for text that is not a list."""
    if not sent:
        return {}
    settings = neutral_form(sent)
    for field, name in (("entrypoint", "Command"), ("command", "Args")):
        if isinstance(settings[field], str):
            raise InvalidArgument.of(f"CustomContainerConfig.{name}", _EXPECTED, settings[field][:_SHOWN_CHARS])
    return settings


def answered(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """The settings as GetFunction returns them, with each list in the text in which it was sent."""
    if not settings:
        return None
    kept = kept_form(settings)
    found = {
        "image": kept.get("image"),
        "command": _text(kept.get("entrypoint"), kept.get(COMMAND_TEXT)),
        "args": _text(kept.get("command"), kept.get(ARGS_TEXT)),
        "accelerationType": kept.get("accelerationType"),
        "instanceID": kept.get("acrInstanceId"),
        "webServerMode": kept.get("webServerMode"),
    }
    return without_none(found)


def _text(found: Any, sent: str | None) -> str | None:
    """`sent`, unless the list has since been changed through another version."""
    if found is None:
        return None
    if sent is not None and msgspec.json.decode(sent) == list(found):
        return sent
    return msgspec.json.encode(found).decode()
