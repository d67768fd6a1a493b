"""The bucket of code uploads: each token reaches its own object, and no other caller reaches any."""

import contextlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import oss2
import pytest
import requests
from tests.oss.conftest import ACCOUNT, KEY_ID, SECRET, RunningEndpoint
from tests.support.requesters import FakeRequester

from sesame.control.code_uploads import VALID_S, Loan
from sesame.model.role import Principal, PrincipalKind

THE_ACCOUNT = FakeRequester(Principal(PrincipalKind.ACCOUNT, ACCOUNT))


def lend(endpoint: RunningEndpoint) -> Loan:
    return endpoint.run(endpoint.code_uploads.lend(THE_ACCOUNT, ACCOUNT))


def with_token(endpoint: RunningEndpoint, loan: Loan) -> oss2.Bucket:
    given = loan.credentials
    auth = oss2.StsAuth(given.access_key_id, given.access_key_secret, given.security_token)
    return endpoint.bucket(loan.bucket_name, auth=auth)


@pytest.fixture
def loan(endpoint: RunningEndpoint) -> Iterator[Loan]:
    """An upload that was made: `x` under its name, open to the world as far as its maker could open it."""
    loan = lend(endpoint)
    headers = {"x-oss-object-acl": "public-read-write"}
    assert with_token(endpoint, loan).put_object(loan.object_name, b"x", headers=headers).status == 200
    yield loan
    endpoint.clock.ahead_s = 0.0


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        act()
    assert caught.value.status == 403, caught.value
    return str(caught.value.code)


ATTACKS: dict[str, Callable[[oss2.Bucket, Loan], Any]] = {
    "get": lambda bucket, loan: bucket.get_object(loan.object_name),
    "head": lambda bucket, loan: bucket.head_object(loan.object_name),
    "put": lambda bucket, loan: bucket.put_object(loan.object_name, b"y"),
    "put another": lambda bucket, loan: bucket.put_object("another", b"y"),
    "append": lambda bucket, loan: bucket.append_object(loan.object_name, 0, b"y"),
    "delete": lambda bucket, loan: bucket.delete_object(loan.object_name),
    "delete many": lambda bucket, loan: bucket.batch_delete_objects([loan.object_name]),
    "list": lambda bucket, loan: bucket.list_objects(),
    "list v2": lambda bucket, loan: bucket.list_objects_v2(),
    "list versions": lambda bucket, loan: bucket.list_object_versions(),
    "list uploads": lambda bucket, loan: bucket.list_multipart_uploads(),
    "begin multipart": lambda bucket, loan: bucket.init_multipart_upload(loan.object_name),
    "copy over": lambda bucket, loan: bucket.copy_object("photos", "mine", loan.object_name),
    "symlink": lambda bucket, loan: bucket.put_symlink("mine", loan.object_name),
    "object acl": lambda bucket, loan: bucket.put_object_acl(loan.object_name, "public-read-write"),
    "read object acl": lambda bucket, loan: bucket.get_object_acl(loan.object_name),
    "object tags": lambda bucket, loan: bucket.get_object_tagging(loan.object_name),
    "bucket acl": lambda bucket, loan: bucket.put_bucket_acl("public-read-write"),
    "bucket info": lambda bucket, loan: bucket.get_bucket_info(),
    "bucket stat": lambda bucket, loan: bucket.get_bucket_stat(),
    "bucket location": lambda bucket, loan: bucket.get_bucket_location(),
    "bucket cors": lambda bucket, loan: bucket.get_bucket_cors(),
    "delete bucket": lambda bucket, loan: bucket.delete_bucket(),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_no_other_caller_reaches_what_is_uploaded(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, loan: Loan, attack: str
) -> None:
    bucket.put_object("mine", b"mine")
    bucket.put_bucket_acl("public-read")
    endpoint.make_role("mighty", '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}')
    strangers = {
        "the account": oss2.Auth(KEY_ID, SECRET),
        "the default role": endpoint.sts(),
        "a role that may do everything": endpoint.sts("mighty"),
        "anonymous": oss2.AnonymousAuth(),
    }
    for auth in strangers.values():
        refused(partial(ATTACKS[attack], endpoint.bucket(loan.bucket_name, auth=auth), loan))
    another = with_token(endpoint, lend(endpoint))
    refused(partial(ATTACKS[attack], another, loan))
    assert with_token(endpoint, loan).get_object(loan.object_name).read() == b"x"


def test_no_caller_copies_out_of_it(endpoint: RunningEndpoint, bucket: oss2.Bucket, loan: Loan) -> None:
    refused(lambda: bucket.copy_object(loan.bucket_name, loan.object_name, "stolen"))
    begun = bucket.init_multipart_upload("stolen").upload_id
    refused(lambda: bucket.upload_part_copy(loan.bucket_name, loan.object_name, (0, 0), "stolen", begun, 1))
    bucket.abort_multipart_upload("stolen", begun)


def test_no_caller_takes_or_sees_its_name(endpoint: RunningEndpoint, loan: Loan) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        endpoint.bucket(loan.bucket_name).create_bucket("public-read-write")
    assert (caught.value.status, caught.value.code) == (409, "BucketAlreadyExists")
    assert loan.bucket_name not in {found.name for found in oss2.BucketIterator(endpoint.service())}


OWN_LIMITS = [
    "put another", "delete", "delete many", "list", "list v2", "list versions", "list uploads", "object acl",
    "read object acl", "object tags", "bucket acl", "bucket info", "delete bucket",
]  # fmt: skip


@pytest.mark.parametrize("attack", OWN_LIMITS)
def test_a_token_reaches_its_object_only_and_cannot_open_it(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, loan: Loan, attack: str
) -> None:
    own = with_token(endpoint, loan)
    refused(lambda: ATTACKS[attack](own, loan))
    refused(lambda: endpoint.bucket(bucket.bucket_name, auth=own.auth).put_object("k", b"y"))
    refused(lambda: oss2.Service(own.auth, endpoint.url).list_buckets())


@pytest.mark.parametrize("folder", ["", f"{ACCOUNT}/", f"{ACCOUNT}/some-service/"])
def test_every_place_where_clients_put_code(endpoint: RunningEndpoint, folder: str) -> None:
    loan = lend(endpoint)
    name = folder + loan.object_name
    own = with_token(endpoint, loan)
    assert own.put_object(name, b"code").status == 200
    assert requests.get(own.sign_url("GET", name, 60), timeout=60).content == b"code"
    assert requests.put(own.sign_url("PUT", name, 60), data=b"more", timeout=60).status_code == 200
    assert endpoint.run(endpoint.code_uploads.read(loan.bucket_name, name, THE_ACCOUNT)) == b"more"


def test_an_upload_in_parts(endpoint: RunningEndpoint) -> None:
    loan = lend(endpoint)
    own = with_token(endpoint, loan)
    begun = own.init_multipart_upload(loan.object_name).upload_id
    first = own.upload_part(loan.object_name, begun, 1, b"a" * 102_400)
    second = own.upload_part(loan.object_name, begun, 2, b"b")
    assert [part.part_number for part in own.list_parts(loan.object_name, begun).parts] == [1, 2]
    parts = [oss2.models.PartInfo(1, first.etag), oss2.models.PartInfo(2, second.etag)]
    own.complete_multipart_upload(loan.object_name, begun, parts)
    code = endpoint.run(endpoint.code_uploads.read(loan.bucket_name, loan.object_name, THE_ACCOUNT))
    assert code == b"a" * 102_400 + b"b"


def take(endpoint: RunningEndpoint, loan: Loan) -> None:
    place = (loan.bucket_name, loan.object_name)
    endpoint.run(endpoint.catalog.edit(lambda tx: endpoint.code_uploads.take(tx, *place, THE_ACCOUNT)))


def test_after_it_is_taken_the_token_is_good_for_nothing(endpoint: RunningEndpoint, loan: Loan) -> None:
    own = with_token(endpoint, loan)
    link = own.sign_url("PUT", loan.object_name, 60)
    begun = own.init_multipart_upload(loan.object_name).upload_id
    take(endpoint, loan)
    refused(lambda: own.put_object(loan.object_name, b"y"))
    refused(lambda: own.get_object(loan.object_name))
    refused(lambda: own.upload_part(loan.object_name, begun, 1, b"y"))
    refused(lambda: own.complete_multipart_upload(loan.object_name, begun, []))
    assert requests.put(link, data=b"y", timeout=60).status_code == 403


def test_after_its_time_the_token_is_good_for_nothing_and_what_was_left_goes(
    endpoint: RunningEndpoint, loan: Loan
) -> None:
    own = with_token(endpoint, loan)
    own.init_multipart_upload(loan.object_name)
    endpoint.run(endpoint.code_uploads.sweep())
    assert own.get_object(loan.object_name).read() == b"x"
    endpoint.clock.ahead_s = VALID_S + 1
    with contextlib.suppress(oss2.exceptions.ServerError):
        own.put_object(loan.object_name, b"y")
        raise AssertionError
    endpoint.run(endpoint.code_uploads.sweep())
    assert endpoint.run(endpoint.objects.head(loan.bucket_name, loan.object_name)) is not None
    endpoint.clock.ahead_s = 2 * VALID_S + 1
    endpoint.run(endpoint.code_uploads.sweep())
    assert endpoint.run(endpoint.objects.head(loan.bucket_name, loan.object_name)) is None
    totals = endpoint.run(endpoint.objects.totals(loan.bucket_name))
    assert (totals.objects, totals.uploads, totals.parts) == (0, 0, 0)


def test_what_belongs_to_no_upload_is_swept(endpoint: RunningEndpoint, loan: Loan) -> None:
    take(endpoint, loan)
    kept = lend(endpoint)
    with_token(endpoint, kept).put_object(f"{ACCOUNT}/s/{kept.object_name}", io.BytesIO(b"kept"))
    endpoint.run(endpoint.code_uploads.sweep())
    assert endpoint.run(endpoint.objects.head(loan.bucket_name, loan.object_name)) is None
    assert endpoint.run(endpoint.objects.head(loan.bucket_name, f"{ACCOUNT}/s/{kept.object_name}")) is not None
