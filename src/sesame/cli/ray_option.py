"""The `--ray-address` option of the commands for a running cluster."""

import click

with_ray_address = click.option(
    "--ray-address",
    metavar="HOST:PORT",
    help="Address of Ray's head [RAY_ADDRESS; default: the Ray running on this machine].",
)
