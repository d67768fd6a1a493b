"""The `--ray-address` option of the commands for a running cluster."""

import click

with_ray_address = click.option(
    "--ray-address",
    metavar="HOST:PORT",
    help="Where Ray's head is [RAY_ADDRESS; default: the Ray that runs on this machine].",
)
