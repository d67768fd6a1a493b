"""Lends clients a place in our object storage for code that is too large for a request, and the right to write there.

Called by the routes of the account (reference/api.md §3.2, GetTempBucketToken).
Never touches an object, and lends nothing beyond the one name and a short time.
"""

import uuid
from collections.abc import Callable
from typing import Protocol

import msgspec

from sesame.fc.v2016.shapes import time
from sesame.fc.v2016.shapes_account import TokenCredentials
from sesame.identity.roles import DEFAULT_ROLE
from sesame.identity.tokens import Grant
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.errors import AccessDenied
from sesame.model.invocation import Credentials
from sesame.model.role import Role
from sesame.store.catalog import Catalog, Transaction

VALID_S = 30 * 60
_ACTIONS = ["oss:PutObject", "oss:GetObject", "oss:ListParts", "oss:AbortMultipartUpload"]


class Issues(Protocol):
    """The part of `identity.tokens.Tokens` that is used here."""

    def issue(self, grant: Grant, valid_s: float) -> Credentials: ...


class KnownRoles(Protocol):
    """The part of `identity.roles.Roles` that is used here."""

    def get(self, account_id: str, role_name: str) -> Role | None: ...


class Loan(msgspec.Struct, frozen=True):
    """A bucket, the name that an object is to have in it, and credentials that may write just that."""

    bucket: str
    object_name: str
    credentials: TokenCredentials


class CodeBucket:
    """One bucket of the account, made when it is first needed."""

    def __init__(self, catalog: Catalog, tokens: Issues, roles: KnownRoles, wall_clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._tokens = tokens
        self._roles = roles
        self._wall_clock = wall_clock

    async def lend(self, account_id: str) -> Loan:
        """Raises `AccessDenied` where the role that uploads go by has been deleted.

        Clients put the object under the bare name, or under folders named like the account and the service
        (reference/api.md §3.2): each of these may be written.
        """
        role = self._roles.get(account_id, DEFAULT_ROLE)
        if role is None:
            raise AccessDenied(
                f"uploads of code go by the role '{DEFAULT_ROLE}', which does not exist: create it again"
            )
        bucket = f"sesame-code-{account_id.lower()}"
        await self._ensure(bucket, account_id)
        name = uuid.uuid4().hex
        places = (name, f"{account_id}/{name}", f"{account_id}/*/{name}")
        policy = {
            "Version": "1",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": _ACTIONS,
                    "Resource": [f"acs:oss:*:{account_id}:{bucket}/{place}" for place in places],
                }
            ],
        }
        grant = Grant(
            account_id=account_id,
            role=role.role_name,
            role_id=role.role_id,
            session="code-upload",
            policy=msgspec.json.encode(policy).decode(),
        )
        lent = self._tokens.issue(grant, VALID_S)
        credentials = TokenCredentials(
            lent.access_key_id, lent.access_key_secret, lent.security_token, time(self._wall_clock() + VALID_S)
        )
        return Loan(bucket, name, credentials)

    async def _ensure(self, bucket: str, account_id: str) -> None:
        if self._catalog.get(records.BUCKET, "", bucket) is not None:
            return

        def edit(tx: Transaction) -> None:
            if tx.get(records.BUCKET, "", bucket) is None:
                tx.put(records.BUCKET, "", bucket, Bucket(bucket_name=bucket, account_id=account_id))

        await self._catalog.edit(edit)
