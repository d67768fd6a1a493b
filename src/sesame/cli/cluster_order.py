"""What each machine of a cluster has to run: `sesame node`, with the settings of `sesame start --cluster`.

Called by `cli.cluster`. Settings are sent as a file, so that no command line or environment contains secrets.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sesame import __version__
from sesame.cli import cluster_needs
from sesame.cluster.keys import KEY_FILE, read_key
from sesame.data_dir import ENDPOINTS_FILE, NODE_FILE
from sesame.on_ray.order import ADDRESS, NODE, Order
from sesame.settings import TABLE, Settings

# Prefix of the variables with store credentials, used on every node unless the store's URL contains them.
STORE_VARIABLES = "AWS_"


def order_of(settings: Settings, key_file: Path | None, agent_port: int) -> Order:
    """Raises `ConfigurationError` for settings that no node could use. Paths are the same on every machine."""
    cluster_needs.require(settings, agent_port)
    key = read_key(key_file or settings.data_dir / KEY_FILE)
    return Order(
        version=__version__,
        command=("-m", "sesame", "node"),
        environment={
            **{name: value for name, value in os.environ.items() if name.startswith(STORE_VARIABLES)},
            "SESAME_NODE": NODE,
            "SESAME_NODE_ADDRESS": ADDRESS,
            "SESAME_AGENT_PORT": str(agent_port),
        },
        files={"SESAME_CONFIG": "\n".join(_lines(settings)) + "\n", "SESAME_CLUSTER_KEY_FILE": key.hex() + "\n"},
        tells=str(settings.data_dir.absolute() / ENDPOINTS_FILE),
        stands=str(settings.data_dir.absolute() / NODE_FILE),
        drain_s=settings.drain_s,
    )


def _lines(settings: Settings) -> Iterator[str]:
    """Lines of `sesame.toml`. A node listens at its own address unless one is given, such as that of all interfaces."""
    for name, row in TABLE.items():
        value = getattr(settings, name)
        if name == "data_dir" or value != row.default:
            yield f"{name} = {_toml(value)}"
    if settings.host == TABLE["host"].default:
        yield f'host = "{ADDRESS}"'


def _toml(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case Path():
            return _toml(str(value.absolute()))
        case dict():
            return "{" + ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_toml(each) for each in value) + "]"
        case str():
            # DEL is the only character that JSON leaves unescaped and TOML forbids.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise AssertionError(f"a setting is of type {type(value).__name__}")
