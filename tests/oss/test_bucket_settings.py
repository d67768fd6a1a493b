"""Tags and CORS rules of buckets, and what is answered about settings that cannot be made here.

Run by pytest against a real endpoint on a free port.
"""

import oss2
import pytest
import requests
from oss2.models import BucketCors, CorsRule, Tagging, TaggingRule
from tests.oss.conftest import RunningEndpoint

PAGE = "https://app.example.com"


def tagging(**tags: str) -> Tagging:
    rule = TaggingRule()
    for name, value in tags.items():
        rule.add(name, value)
    return Tagging(rule)


def test_buckets_have_tags_and_are_found_by_them(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    assert bucket.get_bucket_tagging().tag_set.tagging_rule == {}
    bucket.put_bucket_tagging(tagging(team="blue", tier="1", rank="2"))
    assert bucket.get_bucket_tagging().tag_set.tagging_rule == {"team": "blue", "tier": "1", "rank": "2"}

    def found(**params: str) -> list[str]:
        query = {name.replace("_", "-"): value for name, value in params.items()}
        return [b.name for b in endpoint.service().list_buckets(params=query).buckets]

    assert found(tag_key="team", tag_value="blue") == found(tag_key="team") == ["photos"]
    assert found(tag_key="team", tag_value="red") == found(tag_key="absent") == []
    for wanted, names in (('"team":"blue"', ["photos"]), ('"team":"blue","x":"y"', []), ('"team":"red"', [])):
        assert found(tagging=wanted) == names
    told = endpoint.request("GET", bucket="", params={"tagging": '"team":"blue"'}).text
    assert "<Tagging><TagSet><Tag><Key>" in told
    for wrong in ("team", '"team"', '"team":1', '"team":"blue"}'):
        with pytest.raises(oss2.exceptions.InvalidArgument):
            found(tagging=wrong)
    bucket.delete_bucket_tagging(params={"tagging": "team,tier"})
    assert bucket.get_bucket_tagging().tag_set.tagging_rule == {"rank": "2"}
    bucket.delete_bucket_tagging()
    assert bucket.get_bucket_tagging().tag_set.tagging_rule == {}
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.put_bucket_tagging(tagging(**{f"t{i}": "" for i in range(21)}))


def options(endpoint: RunningEndpoint, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.options(f"{endpoint.url}/photos/k", headers=named, timeout=60)


def test_a_page_of_another_origin_is_let_in_by_rules_only(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    asked = {"Origin": PAGE, "Access_Control_Request_Method": "PUT"}
    closed = options(endpoint, **asked)
    assert (closed.status_code, "CORS is not enabled" in closed.text) == (403, True)
    rules = [
        CorsRule(["https://*.example.com"], ["put", "GET"], ["x-oss-*", "content-type"], ["ETag"], 600),
        CorsRule(["*"], ["GET"]),
    ]
    bucket.put_bucket_cors(BucketCors(rules, response_vary=True))
    kept = bucket.get_bucket_cors()
    assert [rule.allowed_methods for rule in kept.rules] == [["PUT", "GET"], ["GET"]]
    assert kept.response_vary is True
    opened = options(endpoint, **asked, Access_Control_Request_Headers="Content-Type, X-Oss-Date")
    assert opened.status_code == 200
    assert opened.headers["Access-Control-Allow-Origin"] == PAGE
    assert opened.headers["Access-Control-Allow-Headers"] == "Content-Type, X-Oss-Date"
    assert opened.headers["Access-Control-Max-Age"] == "600"
    assert options(endpoint, **asked, Access_Control_Request_Headers="authorization").status_code == 403
    assert options(endpoint, **(asked | {"Origin": "https://example.org"})).status_code == 403
    assert options(endpoint, Origin=PAGE).status_code == 400


def test_answers_name_the_origin_that_may_read_them(bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    bucket.put_bucket_cors(BucketCors([CorsRule([PAGE], ["GET"], expose_headers=["ETag"])]))
    link = bucket.sign_url("GET", "k", 60)
    seen = requests.get(link, headers={"Origin": PAGE}, timeout=60)
    assert (seen.headers["Access-Control-Allow-Origin"], seen.headers["Access-Control-Expose-Headers"]) == (
        PAGE,
        "ETag",
    )
    refused = requests.get(link + "x", headers={"Origin": PAGE}, timeout=60)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (403, PAGE)
    stranger = requests.get(link, headers={"Origin": "https://example.org"}, timeout=60)
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert "Access-Control-Allow-Origin" not in requests.get(link, timeout=60).headers
    bucket.delete_bucket_cors()
    with pytest.raises(oss2.exceptions.NoSuchCors):
        bucket.get_bucket_cors()


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (CorsRule(["*"], ["PATCH"]), "AllowedMethod"),
        (CorsRule(["http://*.*"], ["GET"]), "AllowedOrigin"),
        (CorsRule(["*"], ["GET"], expose_headers=["x-*"]), "ExposeHeader"),
        (CorsRule(["*"], ["GET"], max_age_seconds=-1), "MaxAgeSeconds"),
    ],
)
def test_rules_that_cannot_hold_are_refused(bucket: oss2.Bucket, rule: CorsRule, name: str) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument) as caught:
        bucket.put_bucket_cors(BucketCors([rule]))
    assert caught.value.name == name


def test_settings_that_cannot_be_made_are_said_to_be_unset(bucket: oss2.Bucket) -> None:
    assert bucket.get_bucket_logging().target_bucket == ""
    assert bucket.get_bucket_referer().referers == []
    assert bucket.get_bucket_versioning().status is None
    assert bucket.get_bucket_request_payment().payer == "BucketOwner"
    for ask, missing in (
        (bucket.get_bucket_lifecycle, oss2.exceptions.NoSuchLifecycle),
        (bucket.get_bucket_website, oss2.exceptions.NoSuchWebsite),
        (bucket.get_bucket_policy, oss2.exceptions.NoSuchBucketPolicy),
        (bucket.get_bucket_encryption, oss2.exceptions.NoSuchServerSideEncryptionRule),
    ):
        with pytest.raises(missing):
            ask()
    bucket.delete_bucket_lifecycle()
    with pytest.raises(oss2.exceptions.NotImplemented):
        bucket.put_bucket_logging(oss2.models.BucketLogging("photos", "log/"))


def test_objects_take_the_storage_class_of_their_bucket(endpoint: RunningEndpoint) -> None:
    bucket = endpoint.bucket("cool")
    bucket.create_bucket(input=oss2.models.BucketCreateConfig("IA"))
    bucket.put_object("k", b"12345")
    bucket.put_object("hot", b"1", headers={"x-oss-storage-class": "Standard"})
    assert {found.key: found.storage_class for found in oss2.ObjectIterator(bucket)} == {"k": "IA", "hot": "Standard"}
    stat = bucket.get_bucket_stat()
    assert (stat.infrequent_access_storage, stat.infrequent_access_object_count, stat.standard_storage) == (5, 1, 1)
    bucket.batch_delete_objects(["k", "hot"])
    bucket.delete_bucket()
