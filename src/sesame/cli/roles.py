"""`sesame roles`: lists, shows, makes and removes roles, of a running Sesame or in a stopped one's data directory.

Replaces a RAM endpoint, which Sesame lacks. A running Sesame is asked over HTTP with the account's key; for a stopped
one, the command locks and opens the directory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
import msgspec

from sesame.cli import output, server
from sesame.cli.client import Client
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.data_dir import DataDir
from sesame.identity.keys import ACCOUNT_NAME
from sesame.identity.role_definitions import RoleDefinition
from sesame.identity.roles import RoleDescription, Roles
from sesame.model import records
from sesame.model.errors import AlreadyExists, ConfigurationError, NotFound
from sesame.model.role import SESSION_S_DEFAULT, SESSION_S_MAX, SESSION_S_MIN
from sesame.settings import Settings
from sesame.store.catalog import Catalog
from sesame.store.sql.backends import backend_of
from sesame.store.sql.database import Database
from sesame.store.sql.pairing import require_own_database

PATH = "/sesame/roles"
T = TypeVar("T")
Work = Callable[[Roles, str], Awaitable[T]]


@click.group()
def roles() -> None:
    """Lists, shows, makes and removes the account's roles, whether or not Sesame runs."""


@roles.command("list")
@with_json
@with_settings("data_dir", "database")
def list_roles(as_json: bool, **flags: Any) -> None:
    """Lists one role per line: its name, the services that use it, its policies."""
    found = _Directory(flags).all()
    if as_json:
        output.json_document({"roles": found})
        return
    for role in found:
        used = f"  used by {', '.join(role.services)}" if role.services else ""
        policies = ", ".join(policy.policy_name for policy in role.policies) or "no policies"
        _print(f"{role.role_name}  {policies}{used}")


@roles.command()
@click.argument("name")
@with_json
@with_settings("data_dir", "database")
def show(name: str, as_json: bool, **flags: Any) -> None:
    """Prints one role: ARN, trust policy, every policy with its document, and the services that use it."""
    role = _Directory(flags).show(name)
    if as_json:
        output.json_document(role)
        return
    lines = (
        role.role_name,
        f"  arn          {role.arn}",
        f"  description  {role.description or '-'}",
        f"  sessions     at most {role.max_session_duration} s",
        f"  services     {', '.join(role.services) or '-'}",
        f"  trust        {role.trust_policy}",
    )
    for line in lines:
        _print(line)
    for policy in role.policies:
        document = policy.document or "(no policy has this name: it grants nothing)"
        _print(f"  policy       {policy.policy_name} ({policy.policy_type}): {document}")


@roles.command()
@click.argument("name")
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME", help="A system policy, such as AliyunOSSFullAccess."
)
@click.option("--policy-file", type=click.Path(path_type=Path), help="A policy of the role's own: a JSON document.")
@click.option("--trust-file", type=click.Path(path_type=Path), help="Who may assume it [default: Function Compute].")
@click.option("--description", default="", help="The role's description.")
@click.option(
    "--max-session-duration",
    type=click.IntRange(SESSION_S_MIN, SESSION_S_MAX),
    default=SESSION_S_DEFAULT,
    show_default=True,
    metavar="SECONDS",
    help="For how long AssumeRole may lend the role at most.",
)
@with_json
@with_settings("data_dir", "database")
def add(
    name: str,
    policies: tuple[str, ...],
    policy_file: Path | None,
    trust_file: Path | None,
    description: str,
    max_session_duration: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Makes a role and prints its ARN."""
    wanted = RoleDefinition(
        role_name=name,
        policies=policies,
        policy=_document(policy_file),
        trust_policy=_document(trust_file),
        description=description,
        max_session_duration=max_session_duration,
    )
    made = _Directory(flags).add(wanted)
    if as_json:
        output.json_document(made)
    else:
        _print(made.arn)


@roles.command()
@click.argument("name")
@with_json
@with_settings("data_dir", "database")
def remove(name: str, as_json: bool, **flags: Any) -> None:
    """Removes a role with its own policy. Its temporary credentials become invalid."""
    directory = _Directory(flags)
    role = directory.remove(name)
    if as_json:
        output.json_document({"removed": role})
    output.note(f"Removed {role.arn}.")
    if role.services:
        output.note(
            f"Functions of {', '.join(role.services)} still act in it and cannot be called: give the services another "
            "role, or none."
        )
    if any(name.lower() == table.lower() for table in directory.settings.roles):
        output.note(f"[roles.{name}] stands in sesame.toml: the next start makes the role again, as it says there.")


class _Directory:
    """The roles of a data directory's account: from the running Sesame, or else from the directory."""

    def __init__(self, flags: dict[str, Any]) -> None:
        self.settings: Settings = settle(flags)
        self._data_dir = DataDir(self.settings.data_dir, self.settings.database)
        self._flags = flags

    def all(self) -> list[RoleDescription]:
        async def work(found: Roles, account_id: str) -> list[RoleDescription]:
            return found.all_of(account_id)

        client = self._client()
        return self._locked(work) if client is None else _list(client.ask("GET", PATH)["roles"])

    def show(self, name: str) -> RoleDescription:
        async def work(found: Roles, account_id: str) -> RoleDescription:
            return found.describe(account_id, name)

        client = self._client()
        return self._locked(work) if client is None else _one(client.ask("GET", _path(name)))

    def add(self, wanted: RoleDefinition) -> RoleDescription:
        async def work(found: Roles, account_id: str) -> RoleDescription:
            return await found.add(account_id, wanted)

        client = self._client()
        return self._locked(work) if client is None else _one(client.ask("POST", PATH, wanted))

    def remove(self, name: str) -> RoleDescription:
        async def work(found: Roles, account_id: str) -> RoleDescription:
            return await found.remove(account_id, name)

        client = self._client()
        return self._locked(work) if client is None else _one(client.ask("DELETE", _path(name)))

    def _client(self) -> Client | None:
        """A client for the server in the environment, or for the one running on the directory; None if none runs."""
        named = server.Named(self.settings.data_dir, data_dir_given=self._flags.get("data_dir") is not None)
        elsewhere = not named.data_dir_given and server.named_endpoint() is not None
        if not elsewhere and self._data_dir.running() is None:
            return None
        chosen = server.choose(named)
        server.announce(chosen, "Roles")
        return Client(chosen)

    def _locked(self, work: Work[T]) -> T:
        """Runs `work` on a stopped Sesame's directory. Raises `ConfigurationError` if the directory does not exist or
        is in use after all.
        """
        self._data_dir.refuse_file()
        require_own_database(self._data_dir.path, self._data_dir.database)
        if backend_of(self._data_dir.database).absent():
            raise ConfigurationError(
                f"{self._data_dir.path} is not a data directory: start Sesame on it, or name another with --data-dir"
            )
        with self._data_dir:
            return asyncio.run(self._opened(work))

    async def _opened(self, work: Work[T]) -> T:
        database = Database(self._data_dir.database, str(self._data_dir.path))
        await database.open()
        try:
            catalog = Catalog(database)
            await catalog.open()
            account = catalog.get(records.ACCOUNT, "", ACCOUNT_NAME)
            if account is None:
                raise ConfigurationError(f"{self._data_dir.path} has no account yet: start Sesame on it once")
            return await work(Roles(catalog), account.document.account_id)
        except NotFound as error:
            raise ConfigurationError(f"{error}; `sesame roles list` shows those that exist") from error
        except AlreadyExists as error:
            raise ConfigurationError(f"{error}: remove it first, or choose another name") from error
        finally:
            await database.close()


def _document(path: Path | None) -> str:
    """The text of a policy; its contents are checked when the role is made."""
    if path is None:
        return ""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is no JSON document: {error}") from error


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _one(document: Any) -> RoleDescription:
    return msgspec.convert(document, RoleDescription)


def _list(documents: Any) -> list[RoleDescription]:
    return msgspec.convert(documents, list[RoleDescription])


def _print(text: str) -> None:
    output.out.print(output.harmless(text), markup=False)
