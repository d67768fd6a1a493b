"""A real OSS endpoint on a free port, in a thread of its own, and official clients for it.

Used by every test of this package. The tests set the clock of the endpoint. SESAME_TEST_OBJECTS=s3 keeps the bytes of
objects in a bucket (default: files).
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import oss2
import pytest
import requests
from tests.support.databases import new_database
from tests.support.official_sdks import sign_by_oss2

from sesame.control.buckets import Buckets
from sesame.control.code_objects import ObjectSource
from sesame.control.code_uploads import CodeUploads
from sesame.http.asgi import AsgiEndpoint
from sesame.http.server import HttpServer
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.issuer import Issuer
from sesame.identity.keys import AccessKeys
from sesame.identity.roles import DEFAULT_ROLE, Roles, new_role, role_arn
from sesame.identity.tokens import Tokens, master_key
from sesame.model import records
from sesame.model.account import AccessKey, Account
from sesame.model.bucket import Bucket, OssAccount
from sesame.model.role import CodeUpload, MasterKey, Policy, Role, Seed
from sesame.oss.app import OssDependencies, OssEndpoint
from sesame.store.blobs.bucket import Bucket as S3Bucket
from sesame.store.blobs.files import FileBlobs
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.s3 import S3Blobs
from sesame.store.blobs.segments import DATA
from sesame.store.catalog import Catalog
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.sql.database import Database

T = TypeVar("T")

OBJECTS = os.environ.get("SESAME_TEST_OBJECTS", "files")
ACCOUNT = "4200000000000001"
KEY_ID, SECRET = "LTAIexampleroot", "rootsecret"
OTHER_ACCOUNT = "4300000000000002"
OTHER_KEY_ID, OTHER_SECRET = "LTAIexampleother", "othersecret"
REGION = "cn-hangzhou"
VIRTUAL_HOST = "oss.localhost"
KINDS: Mapping[str, type] = {
    records.ACCOUNT: Account,
    records.ACCESS_KEY: AccessKey,
    records.ROLE: Role,
    records.POLICY: Policy,
    records.SEED: Seed,
    records.MASTER_KEY: MasterKey,
    records.BUCKET: Bucket,
    records.CODE_UPLOAD: CodeUpload,
    records.OSS_ACCOUNT: OssAccount,
}


class Clock:
    """The wall's time, and as much more as a test wants."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class RunningEndpoint:
    """The endpoint with what is behind it; `run` takes a coroutine to its loop and waits for the result."""

    def __init__(self, root: Path, *, strict_region: bool = False, place: str | None = None) -> None:
        """`place`: as the setting `objects`."""
        self.root = root
        self._place = place
        self.clock = Clock()
        self._strict_region = strict_region
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="oss-endpoint", daemon=True)

    def __enter__(self) -> "RunningEndpoint":
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_error: object) -> None:
        self.run(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def call(self, fn: Callable[[], T]) -> T:
        """For what belongs on the loop's thread and is not a coroutine."""

        async def on_loop() -> T:
            return fn()

        return self.run(on_loop())

    async def _start(self) -> None:
        path = self.root / "db"
        self.database = Database(path if path.exists() else new_database(path))
        await self.database.open()
        self.catalog = Catalog(self.database, KINDS)
        await self.catalog.open()
        blobs = (
            FileBlobs(self.root / "objects") if self._place is None else S3Blobs(S3Bucket(parse_location(self._place)))
        )
        self.objects = Objects(self.database, blobs)
        await self.objects.open()
        self.keys = AccessKeys(self.catalog)
        await self.keys.ensure_account(ACCOUNT, KEY_ID, SECRET)
        other = AccessKey(OTHER_KEY_ID, OTHER_SECRET, OTHER_ACCOUNT)
        await self.catalog.edit(lambda tx: tx.put(records.ACCESS_KEY, "", OTHER_KEY_ID, other))
        self.roles = Roles(self.catalog)
        await self.roles.seed(ACCOUNT, {})
        self.tokens = Tokens(await master_key(self.catalog), self.clock)
        self.issuer = Issuer(self.tokens, self.roles, self.clock)
        self.code_uploads = CodeUploads(
            self.catalog, self.objects, Uploads(self.objects, self.clock), self.issuer, self.clock
        )
        self.source = ObjectSource(self.catalog, self.objects, ACCOUNT, REGION)
        endpoint = OssEndpoint(
            OssDependencies(
                buckets=Buckets(self.catalog),
                objects=self.objects,
                uploads=Uploads(self.objects, self.clock),
                authentication=Authentication(self.keys, self.tokens),
                authorization=Authorization(self.catalog, self.roles),
                clock=self.clock,
                region=REGION,
                virtual_hosts=(VIRTUAL_HOST,),
                strict_region=self._strict_region,
            )
        )
        self._server = HttpServer(AsgiEndpoint(endpoint, endpoint.refuse))
        await self._server.start()
        self.url = self._server.url

    async def _stop(self) -> None:
        await self._server.stop(grace_s=1.0)
        await self.objects.close()
        await self.database.close()

    def bucket(self, name: str = "photos", auth: Any = None) -> oss2.Bucket:
        return oss2.Bucket(auth or oss2.Auth(KEY_ID, SECRET), self.url, name, region=REGION, enable_crc=True)

    def service(self) -> oss2.Service:
        return oss2.Service(oss2.Auth(KEY_ID, SECRET), self.url)

    def request(
        self,
        method: str,
        key: str = "",
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        bucket: str = "photos",
        auth: Any = None,
    ) -> requests.Response:
        """Signs one request (V4 unless `auth` says otherwise) and sends it without an SDK's changes."""
        path = f"/{bucket}/{oss2.compat.urlquote(key, '')}" if bucket else "/"
        call = oss2.http.Request(method, self.url + path, params=dict(params or {}), headers=dict(headers or {}))
        call.region, call.product, call.cloudbox_id = REGION, "oss", None
        sign_by_oss2(auth or oss2.AuthV4(KEY_ID, SECRET), call, bucket, key)
        sent = {name: value.encode() for name, value in call.headers.items() if value}
        return requests.request(method, call.url, params=call.params, headers=sent, data=body or None, timeout=20)

    def sts(self, role: str = DEFAULT_ROLE, session: str = "service", **kwargs: Any) -> oss2.StsAuth:
        """As a function of a service with that role has it."""
        given = self.call(lambda: self.issuer.credentials(role_arn(ACCOUNT, role), session, 3.0))
        return oss2.StsAuth(given.access_key_id, given.access_key_secret, given.security_token, **kwargs)

    def make_role(self, name: str, document: str) -> None:
        self.run(self.roles.put_policy(ACCOUNT, Policy(name, document)))
        self.run(self.roles.put(ACCOUNT, new_role(name, [name])))

    def files(self) -> dict[str, int]:
        """The sizes of all blobs, by name, also of those on their way, once what is being deleted is."""
        if self._place is None:
            found: dict[str, int] = {}
            for path in (self.root / "objects").rglob("*"):
                # One may go meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        found[path.name] = path.stat().st_size
            return found
        return self.run(self._in_bucket(self._place))

    async def _in_bucket(self, place: str) -> dict[str, int]:
        assert isinstance(self.objects.blobs, S3Blobs)
        await self.objects.removals.retry()
        await self.objects.removals.settled()
        await self.objects.blobs.settled()
        sizes: dict[str, int] = {}
        for found in await S3Bucket(parse_location(place)).listing(DATA):
            name = found.path.split("/")[1]
            sizes[name] = sizes.get(name, 0) + found.size
        return sizes


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEndpoint]:
    place = request.getfixturevalue("s3_store").new_url() if OBJECTS == "s3" else None
    with RunningEndpoint(tmp_path_factory.mktemp("oss"), place=place) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: RunningEndpoint) -> Iterator[oss2.Bucket]:
    """A fresh bucket called photos of the built-in account, emptied and deleted afterwards."""
    bucket = endpoint.bucket()
    bucket.create_bucket()
    yield bucket
    endpoint.clock.ahead_s = 0.0
    for upload in oss2.MultipartUploadIterator(bucket):
        bucket.abort_multipart_upload(upload.key, upload.upload_id)
    for found in oss2.ObjectIterator(bucket):
        bucket.delete_object(found.key)
    bucket.delete_bucket()
