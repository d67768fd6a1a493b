"""Documents of XML that callers send to the object store, read by every reader of them."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from tests.support.fuzzing import Kind, Try

from sesame.model.bucket import Bucket
from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.oss import access_settings, bucket_settings, lifecycle_rules, xml
from sesame.oss.answers import Answer
from sesame.oss.bucket_operations import put_bucket
from sesame.oss.errors import OssError
from sesame.oss.object_operations import delete_objects
from sesame.oss.request import Request
from sesame.oss.restore import restore_object

ROOTS = {
    "Delete": b"<Delete><Quiet>true</Quiet><Object><Key>a&amp;&#1;b</Key><VersionId>null</VersionId></Object></Delete>",
    "CompleteMultipartUpload": b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"E\"</ETag></Part>"
    b"</CompleteMultipartUpload>",
    "Tagging": b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "CORSConfiguration": b"<?xml version='1.0' encoding='UTF-8'?><CORSConfiguration><CORSRule><AllowedOrigin>*"
    b"</AllowedOrigin><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>10</MaxAgeSeconds></CORSRule><ResponseVary>"
    b"false</ResponseVary></CORSConfiguration>",
    "LifecycleConfiguration": b"<LifecycleConfiguration><Rule><ID>r</ID><Prefix>a/</Prefix><Status>Enabled</Status>"
    b"<Expiration><Days>1</Days></Expiration><Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><Not><Prefix>a/b"
    b"</Prefix></Not></Filter><Transition><Days>3</Days><StorageClass>IA</StorageClass></Transition></Rule><Rule><ID>s"
    b"</ID><Prefix>b</Prefix><Status>Disabled</Status><AbortMultipartUpload><CreatedBeforeDate>2026-01-02T00:00:00.000Z"
    b"</CreatedBeforeDate></AbortMultipartUpload></Rule></LifecycleConfiguration>",
    "RefererConfiguration": b"<RefererConfiguration><AllowEmptyReferer>true</AllowEmptyReferer><RefererList><Referer>"
    b"http://*.x?</Referer></RefererList></RefererConfiguration>",
    "RestoreRequest": b"<RestoreRequest><Days>2</Days><JobParameters><Tier>Bulk</Tier></JobParameters>"
    b"</RestoreRequest>",
    "CreateBucketConfiguration": b"<CreateBucketConfiguration xmlns='urn:x'><StorageClass>IA</StorageClass>"
    b"</CreateBucketConfiguration>",
}  # fmt: skip
CAUSE = "fuzz"
STORED = StoredObject("photos", "k", "", 1, "E", 0, ObjectKind.NORMAL, ObjectMeta(storage_class="ColdArchive"), 0.0)


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def whole(self, limit_bytes: int) -> bytes:
        assert len(self._data) <= limit_bytes
        return self._data


class _Store:
    """Stands in for everything that the operations change; changes are made, and forgotten."""

    async def change(self, _name: str, change: Callable[[Bucket], Bucket]) -> None:
        change(Bucket("photos", "42"))

    async def create(self, _bucket: Bucket, *, sets_acl: bool) -> None: ...

    async def delete(self, _name: str, keys: list[str], _cause: object) -> None:
        assert all(keys)

    async def update(self, _name: str, _key: str, change: Callable[[StoredObject], StoredObject]) -> None:
        change(STORED)


STORE = _Store()
OPERATIONS: dict[str, Callable[[Any], Coroutine[Any, Any, Answer]]] = {
    "Delete": delete_objects,
    "Tagging": bucket_settings.put_tags,
    "CORSConfiguration": bucket_settings.put_cors,
    "LifecycleConfiguration": lifecycle_rules.put_lifecycle,
    "RefererConfiguration": access_settings.put_referer,
    "RestoreRequest": restore_object,
    "CreateBucketConfiguration": put_bucket,
}


async def permitted(_request: object) -> None: ...


def call_of(data: bytes) -> Any:
    dependencies = SimpleNamespace(buckets=STORE, objects=STORE, clock=lambda: 1_767_323_045.0)
    request = Request("PUT", "photos", "k", {}, {}, "http://127.0.0.1", "127.0.0.1", False)
    return SimpleNamespace(
        body=_Body(data), request=request, dependencies=dependencies, bucket=Bucket("photos", "42"), key="k",
        caller=SimpleNamespace(principal=SimpleNamespace(account_id="42")), require=permitted,
        cause=lambda _event: CAUSE,
    )  # fmt: skip


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    with asyncio.Runner() as runner:

        def take(data: bytes) -> None:
            name = next((name for name in ROOTS if name.encode() in data), "CompleteMultipartUpload")
            with contextlib.suppress(OssError):
                assert xml.parse(data, name).tag == name
            operation = OPERATIONS.get(name)
            if operation is None:
                return
            with contextlib.suppress(OssError):
                answer = runner.run(operation(call_of(data)))
                # What is answered can be read again.
                if isinstance(answer.body, bytes) and answer.body:
                    ElementTree.fromstring(answer.body)

        yield take


KIND = Kind(
    seeds=list(ROOTS.values()),
    words=[
        b"<Key>", b"</Key>", b"<Key/>", b"&amp;", b"&lt;", b"&#0;", b"&#x0;", b"&#xFFFFFF;", b"&unknown;", b"<![CDATA[",
        b"]]>", b"<!--", b"-->", b"<?xml version='1.0' encoding='utf-16'?>", b"<?pi ?>", b" xmlns='urn:x'", b"<x:Key>",
        b"<!DOCTYPE d [<!ENTITY e 'x'>]>", b"&e;", b"\xef\xbb\xbf", b"\xee\x80\x80", b"\xf3\xb0\x80\x80", b"\x0b",
        b"<Days>", b"9999-12-31T23:59:59.999999Z", b"0001-01-01T00:00:00Z", b"<Not>", b"<Tag>", b"true", b"Enabled",
    ],
    opened=opened,
)  # fmt: skip
