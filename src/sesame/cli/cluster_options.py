"""The cluster options of `sesame start`; importing `cli.cluster`, which implements them, only if they are given.

Used by `cli.start`.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sesame.cli.cluster_needs import AGENT_PORT
from sesame.cli.options import refuse_given, settle

Command = Callable[..., Any]
_OF_A_CLUSTER = ("ray_address", "cluster_key_file", "agent_port", "detach")


def with_cluster(command: Command) -> Command:
    """Adds `--cluster` and its options; without it the command runs as usual."""

    @functools.wraps(command)
    def with_or_without(cluster: bool, **options: Any) -> Any:
        own = {name: options.pop(name) for name in _OF_A_CLUSTER}
        if not cluster:
            refuse_given(_OF_A_CLUSTER, "these are of a cluster, and --cluster is not given")
            return command(**options)
        from sesame.cli import cluster as of_cluster

        asked = of_cluster.Asked(own["ray_address"], own["cluster_key_file"], own["agent_port"], own["detach"])
        return sys.exit(of_cluster.run(settle(options), asked))

    for option in (
        click.option("--detach", is_flag=True, help="With --cluster: returns once nodes run, and leaves them running."),
        click.option(
            "--agent-port", type=int, default=AGENT_PORT, show_default=True,
            help="With --cluster: port of each machine for the other nodes; the following port is used as well.",
        ),
        click.option(
            "--cluster-key-file", type=click.Path(path_type=Path),
            help="With --cluster: file with its key [default: `cluster.key` in the data directory].",
        ),
        click.option(
            "--ray-address", metavar="HOST:PORT",
            help="With --cluster: address of Ray's head [RAY_ADDRESS; default: the Ray running on this machine].",
        ),
        click.option(
            "--cluster", is_flag=True,
            help="Runs one Sesame on every machine of a running Ray cluster; needs the extra `ray` (docs/cluster.md).",
        ),
    ):  # fmt: skip
        with_or_without = option(with_or_without)
    return with_or_without
