"""`sesame env`: how to reach the running Sesame, as exports for a shell: eval "$(sesame env)".

Prints only what is served; prints nothing and fails when no Sesame runs. Changes nothing.
"""

import shlex
from typing import Any

import click

from sesame.cli.options import settle, with_settings
from sesame.data_dir import DataDir
from sesame.settings import TABLE


@click.command()
@with_settings("data_dir")
def env(**flags: Any) -> None:
    """Prints account, keys and endpoints as shell exports."""
    data_dir = DataDir(settle(flags).data_dir)
    endpoints = data_dir.require_running()
    credentials = data_dir.credentials()
    values = {
        "ACCOUNT_ID": endpoints.account_id,
        "REGION": endpoints.region,
        "ACCESS_KEY_ID": credentials.access_key_id,
        "ACCESS_KEY_SECRET": credentials.access_key_secret,
        "FC_ENDPOINT": endpoints.fc,
        "FC_HTTPS_ENDPOINT": endpoints.fc_https,
        "OSS_ENDPOINT": endpoints.oss,
        # For the commands that read the directory itself, such as `sesame logs`.
        TABLE["data_dir"].environment: str(data_dir.path),
    }
    for name, value in values.items():
        if value:
            click.echo(f"export {name}={shlex.quote(value)}")
