"""`sesame env`: prints how to reach the running Sesame, as exports for a shell, a .env file or JSON.

Prints only endpoints that are served; fails without output if no Sesame runs. Changes nothing.
"""

import shlex
from typing import Any

import click

from sesame.cli import output, server
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.model.log_service_address import log_service_endpoint
from sesame.settings import TABLE


@click.command()
@click.option(
    "--format", "form", type=click.Choice(["shell", "dotenv", "json"]), default="shell", show_default=True,
    help="Exports for a shell, lines NAME=VALUE for a .env file, or one JSON object.",
)  # fmt: skip
@with_json
@with_settings("data_dir")
def env(form: str, as_json: bool, **flags: Any) -> None:
    """Prints account, keys and endpoints: eval "$(sesame env)"."""
    if as_json:
        form = "json"
    data_dir = server.directory(settle(flags).data_dir)
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
        "SLS_ENDPOINT": log_service_endpoint(endpoints.sls) if endpoints.sls else "",
        "SLS_PROXY": endpoints.sls,
        "STS_ENDPOINT": endpoints.sts,
        # For commands that read the directory itself, such as `sesame logs`.
        TABLE["data_dir"].environment: str(data_dir.path),
    }
    set_values = {name: value for name, value in values.items() if value}
    if form == "json":
        output.json_document(set_values)
        return
    for name, value in set_values.items():
        click.echo(f"export {name}={shlex.quote(value)}" if form == "shell" else f"{name}={_dotenv(value)}")


def _dotenv(value: str) -> str:
    """Quotes a value for .env files: plain values stay as they are, others get double quotes with escapes."""
    if value and all(character.isalnum() or character in "-_./:@%+," for character in value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")
    return f'"{escaped}"'
