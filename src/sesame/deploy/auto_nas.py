"""What `Auto` means for a service's NAS: a directory of its own at /mnt/auto, as fun and s make it in the cloud.

Used by `deploy.funcraft` and `deploy.fc_component`, once they know the service's name.
"""

from typing import Any

from sesame.deploy.yaml_source import Node

MOUNT_DIR = "/mnt/auto"
# What both tools give the files to (reference/runtime.md §11).
OWNER = 10_003


def asked(node: Node) -> bool:
    """Whether the text of a `nasConfig` is `Auto`, or its key of this name is true."""
    if isinstance(node.value, dict):
        return any(name.lower() == "auto" and each.value is True for name, each in node.mapping().items())
    return isinstance(node.value, str) and node.value.lower() == "auto"


def config(service: str, region: str) -> dict[str, Any]:
    """The server stands for no other: its root has a directory for each service."""
    return {
        "userId": OWNER,
        "groupId": OWNER,
        "mountPoints": [{"serverAddr": f"auto.{region}.nas.aliyuncs.com:/{service}", "mountDir": MOUNT_DIR}],
    }
