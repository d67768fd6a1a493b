"""A request being processed, and the collaborators that operations share.

Created by `oss.app` and passed to every operation.
"""

from collections.abc import Callable

import msgspec

from sesame.control.buckets import Buckets
from sesame.identity.authentication import Caller
from sesame.model.bucket import Bucket
from sesame.model.object_event import Cause
from sesame.oss.auth import Authenticator
from sesame.oss.body import Body
from sesame.oss.permissions import AccessRequest, Permissions
from sesame.oss.request import Request
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects


class Dependencies(msgspec.Struct, frozen=True):
    """`clock` gives Unix seconds; `region` is reported as the location of buckets (`cn-hangzhou`)."""

    authenticator: Authenticator
    buckets: Buckets
    objects: Objects
    uploads: Uploads
    permissions: Permissions
    clock: Callable[[], float]
    region: str


class Call(msgspec.Struct, frozen=True):
    """`found` is the bucket named in the request; None only for CreateBucket and requests to the service."""

    dependencies: Dependencies
    request: Request
    caller: Caller
    body: Body
    found: Bucket | None
    request_id: str

    @property
    def bucket(self) -> Bucket:
        assert self.found is not None, "oss.app looks the bucket up before it calls an operation on it"
        return self.found

    @property
    def key(self) -> str:
        return self.request.key

    def cause(self, event: str) -> Cause:
        """Describes this request as the cause of a change; `event` is one of `model.object_event`."""
        return Cause(
            event=event,
            account_id=self.bucket.account_id,
            principal_id=self.caller.principal.principal_id,
            at=self.dependencies.clock(),
            source_ip=self.request.client_ip,
            request_id=self.request_id,
            chain=self.caller.principal.chain,
        )

    async def require(self, wanted: AccessRequest) -> None:
        """Checks rights to a resource other than the one in the route. Raises OssError AccessDenied."""
        await self.dependencies.permissions.require(self.caller, self.request, wanted)
