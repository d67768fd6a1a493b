"""Resolves `nasConfig: Auto` of a service or function to its own directory at /mnt/auto, as fun and s do.

Used by `deploy.funcraft`, `deploy.fc_component` and `deploy.fc3_component` once the owner's name is known.
"""

from typing import Any

from sesame.deploy.yaml_source import Node

MOUNT_DIR = "/mnt/auto"
# The user and group id of both tools (reference/runtime.md §11).
OWNER = 10_003


def settle(fields: dict[str, Any], sent: Node | None, owner: str, region: str) -> None:
    """Adds the directory to the API's fields if `sent`, the template's `nasConfig`, requests it."""
    if sent is not None and _asked(sent):
        fields["nasConfig"] = _config(owner, region)


def _asked(node: Node) -> bool:
    """Whether a `nasConfig` is the text `Auto`, or has a true key of this name."""
    if isinstance(node.value, dict):
        return any(name.lower() == "auto" and each.value is True for name, each in node.mapping().items())
    return isinstance(node.value, str) and node.value.lower() == "auto"


def _config(owner: str, region: str) -> dict[str, Any]:
    """The NAS server used for `Auto`: its root has a directory for each owner, by name."""
    return {
        "userId": OWNER,
        "groupId": OWNER,
        "mountPoints": [{"serverAddr": f"auto.{region}.nas.aliyuncs.com:/{owner}", "mountDir": MOUNT_DIR}],
    }
