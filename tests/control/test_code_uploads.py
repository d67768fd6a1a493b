"""Code that was uploaded is used once, by the caller that uploaded it, and as it was uploaded."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fastcrc import crc64
from tests.control.conftest import HELLO, OTHER, Account, hello
from tests.support.queues import FakeQueue
from tests.support.refusals import refused
from tests.support.requesters import FakeRequester

from sesame.control import code_uploads
from sesame.control.code import CodeSource
from sesame.control.code_uploads import CodeUploads, Loan
from sesame.control.functions import Functions
from sesame.control.inputs import CodeInput, FunctionInput, LayerInput
from sesame.control.layers import Layers
from sesame.model import records
from sesame.model.errors import PlatformError, Rejected
from sesame.model.invocation import Credentials
from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.model.role import Principal, PrincipalKind
from sesame.store.blobs.files import FileBlobs
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects

MINE = FakeRequester(Principal(PrincipalKind.ACCOUNT, "123"))
A_ROLE = FakeRequester(Principal(PrincipalKind.ROLE, "123", "deployer", "id-1", "monday"))
SAME_ROLE = FakeRequester(Principal(PrincipalKind.ROLE, "123", "deployer", "id-1", "tuesday"))
ROLE_MADE_ANEW = FakeRequester(Principal(PrincipalKind.ROLE, "123", "deployer", "id-2", "monday"))


class NoCredentials:
    def lend(self, principal: Principal, valid_s: float) -> Credentials:
        return Credentials()


class Stage:
    """Control with object storage behind it."""

    def __init__(self, account: Account, objects: Objects) -> None:
        self.now = 1_700_000_000.0
        self.catalog = account.catalog
        self.objects = objects
        parts = Uploads(objects, lambda: self.now)
        self.uploads = CodeUploads(account.catalog, objects, parts, NoCredentials(), lambda: self.now)
        code = CodeSource(account.packages, None, self.uploads)
        self.functions = Functions(account.catalog, code, FakeQueue(lambda: self.now))
        self.layers = Layers(account.catalog, code)

    async def upload(self, archive: bytes, by: FakeRequester = MINE, kind: ObjectKind = ObjectKind.NORMAL) -> Loan:
        loan = await self.uploads.lend(by, "123")
        upload = self.objects.upload()
        await upload.write(archive)
        written = await upload.finish()
        stored = StoredObject(
            bucket=loan.bucket_name,
            key=loan.object_name,
            blob=written.blob,
            size=written.size,
            etag=written.md5,
            crc64=written.crc64,
            kind=kind,
            meta=ObjectMeta(),
            modified_at=self.now,
        )
        await self.objects.put(stored)
        return loan

    async def kept(self, loan: Loan) -> bool:
        return await self.objects.head(loan.bucket_name, loan.object_name) is not None


@pytest.fixture
async def stage(account: Account, tmp_path: Path) -> AsyncIterator[Stage]:
    objects = Objects(account.database, FileBlobs(tmp_path / "objects"))
    await objects.open()
    await account.service()
    yield Stage(account, objects)
    await objects.close()


def code_at(loan: Loan) -> CodeInput:
    return CodeInput(oss_bucket_name=loan.bucket_name, oss_object_name=loan.object_name)


async def refusal(work: Awaitable[object]) -> str:
    with refused("InvalidArgument") as caught:
        await work
    return str(caught.value)


async def test_an_upload_is_used_once(stage: Stage) -> None:
    loan = await stage.upload(HELLO)
    record = await stage.functions.create("s", hello(code=code_at(loan)), by=MINE)
    assert record.document.package.checksum == str(crc64.xz(HELLO))
    assert not await stage.kept(loan)
    again = stage.functions.create("s", hello(function_name="g", code=code_at(loan)), by=MINE)
    assert "can be used once" in await refusal(again)
    assert "can be used once" in await refusal(
        stage.functions.update("s", "f", FunctionInput(code=code_at(loan)), by=MINE)
    )


def fresh() -> str:
    """A function's name that is not taken."""
    return f"f-{secrets.token_hex(4)}"


Use = Callable[[Stage, Loan], Awaitable[object]]
USES: dict[str, Use] = {
    "create": lambda stage, loan: stage.functions.create(
        "s", hello(function_name=fresh(), code=code_at(loan)), by=MINE
    ),
    "update": lambda stage, loan: stage.functions.update("s", "f", FunctionInput(code=code_at(loan)), by=MINE),
    "layer": lambda stage, loan: stage.layers.create_version("l", LayerInput(code=code_at(loan)), by=MINE),
}


@pytest.mark.parametrize("use", list(USES))
async def test_every_use_takes_it(stage: Stage, use: str) -> None:
    await stage.functions.create("s", hello(), by=MINE)
    loan = await stage.upload(OTHER)
    await USES[use](stage, loan)
    assert not await stage.kept(loan)
    for name in USES:
        assert "can be used once" in await refusal(USES[name](stage, loan))


async def test_of_several_at_once_one_takes_it(stage: Stage) -> None:
    loan = await stage.upload(HELLO)
    creates = (stage.functions.create("s", hello(function_name=f"f{n}", code=code_at(loan)), by=MINE) for n in range(8))
    results = await asyncio.gather(*creates, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, Rejected) for result in results) == 7
    assert stage.catalog.count(records.FUNCTION, "s") == 1


async def test_what_is_refused_leaves_it_to_the_next_attempt(stage: Stage) -> None:
    await stage.functions.create("s", hello(), by=MINE)
    loan = await stage.upload(HELLO)
    with refused("FunctionAlreadyExists"):
        await stage.functions.create("s", hello(code=code_at(loan)), by=MINE)
    wrong = hello(function_name="g", code=code_at(loan), expected_checksum="1")
    assert "the checksum of the code package" in await refusal(stage.functions.create("s", wrong, by=MINE))
    with refused("InvalidArgument"):
        await stage.functions.create("s", hello(function_name="g", code=code_at(loan), runtime="no"), by=MINE)
    right = hello(function_name="g", code=code_at(loan), expected_checksum=str(crc64.xz(HELLO)))
    await stage.functions.create("s", right, by=MINE)


async def test_it_is_its_uploader_s_alone(stage: Stage) -> None:
    loan = await stage.upload(HELLO, by=A_ROLE)
    for other in (MINE, ROLE_MADE_ANEW):
        used = stage.functions.create("s", hello(code=code_at(loan)), by=other)
        assert "is no code that you uploaded" in await refusal(used)
    await stage.functions.create("s", hello(code=code_at(loan)), by=SAME_ROLE)


@pytest.mark.parametrize("name", ["", "x", "../x", "a/b"])
async def test_names_that_were_never_lent(stage: Stage, name: str) -> None:
    loan = await stage.uploads.lend(MINE, "123")
    code = CodeInput(oss_bucket_name=loan.bucket_name, oss_object_name=name)
    assert await refusal(stage.functions.create("s", hello(code=code), by=MINE))
    assert "does not exist in bucket" in await refusal(stage.functions.create("s", hello(code=code_at(loan)), by=MINE))


async def test_a_symlink_is_no_code(stage: Stage) -> None:
    loan = await stage.upload(HELLO, kind=ObjectKind.SYMLINK)
    assert "does not exist in bucket" in await refusal(stage.functions.create("s", hello(code=code_at(loan)), by=MINE))


async def test_it_can_be_used_for_a_while_after_its_token_expired(stage: Stage) -> None:
    loan, late = await stage.upload(HELLO), await stage.upload(HELLO)
    stage.now = loan.expires_at + code_uploads.VALID_S - 1
    await stage.functions.create("s", hello(code=code_at(loan)), by=MINE)
    stage.now += 1
    used = stage.functions.create("s", hello(function_name="g", code=code_at(late)), by=MINE)
    assert "within 60 minutes" in await refusal(used)
    await stage.uploads.sweep()
    assert not await stage.kept(late)


async def test_so_many_wait_and_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_uploads, "WAITING_MAX", 2)
    await stage.uploads.lend(MINE, "123")
    await stage.uploads.lend(MINE, "123")
    with refused("ResourceExhausted", match="2 uploads of code wait"):
        await stage.uploads.lend(MINE, "123")
    stage.now += 2 * code_uploads.VALID_S + 1
    await stage.uploads.sweep()
    await stage.uploads.lend(MINE, "123")


async def test_bytes_that_changed_on_the_disk_are_no_code(stage: Stage, tmp_path: Path) -> None:
    loan = await stage.upload(HELLO * 200)
    changed = 0
    for path in (tmp_path / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size == len(HELLO) * 200:
            data = bytearray(path.read_bytes())
            data[7] ^= 1
            path.write_bytes(data)
            changed += 1
    assert changed == 1
    with pytest.raises(PlatformError, match="are not those that were stored"):
        await stage.functions.create("s", hello(code=code_at(loan)), by=MINE)


async def test_other_code_needs_no_upload(stage: Stage) -> None:
    code = CodeInput(zip_file=base64.b64encode(HELLO).decode())
    await stage.functions.create("s", hello(code=code), by=MINE)
