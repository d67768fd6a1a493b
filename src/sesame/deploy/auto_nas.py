"""What `Auto` means for the NAS of a service or function: a directory of its own at /mnt/auto, as fun and s make it.

Used by `deploy.funcraft`, `deploy.fc_component` and `deploy.fc3_component`, once they know its name.
"""

from typing import Any

from sesame.deploy.yaml_source import Node

MOUNT_DIR = "/mnt/auto"
# What both tools give the files to (reference/runtime.md §11).
OWNER = 10_003


def settle(fields: dict[str, Any], sent: Node | None, owner: str, region: str) -> None:
    """Puts the directory into the API's fields where `sent`, the template's `nasConfig`, asks for it."""
    if sent is not None and _asked(sent):
        fields["nasConfig"] = _config(owner, region)


def _asked(node: Node) -> bool:
    """Whether the text of a `nasConfig` is `Auto`, or its key of this name is true."""
    if isinstance(node.value, dict):
        return any(name.lower() == "auto" and each.value is True for name, each in node.mapping().items())
    return isinstance(node.value, str) and node.value.lower() == "auto"


def _config(owner: str, region: str) -> dict[str, Any]:
    """The server stands for no other: its root has a directory for each owner, by name."""
    return {
        "userId": OWNER,
        "groupId": OWNER,
        "mountPoints": [{"serverAddr": f"auto.{region}.nas.aliyuncs.com:/{owner}", "mountDir": MOUNT_DIR}],
    }
