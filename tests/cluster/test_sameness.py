"""Which settings nodes have in common, and what is said of those in which they differ."""

import msgspec
import pytest

from sesame._shared_settings import OWN, shared
from sesame.cluster.sameness import decoded, difference, encoded, key_digest, told
from sesame.settings import TABLE, Settings

KEY = b"k" * 32
URL = "s3://bucket/place?endpoint=http://10.0.0.9:8333&region=us-east-1&access_key_id={0}&secret_access_key={0}-secret"
BASE = Settings(
    database="postgresql://sesame:password@10.0.0.9/sesame",
    objects=URL.format("one"),
    account_id="123",
    access_key_id="id",
    access_key_secret="secret of the account",
    destinations={"acs:mns:": "http://10.0.0.9/mns"},
)


def said(**changed: object) -> str:
    other = msgspec.structs.replace(BASE, **changed)
    return difference(shared(other, KEY), shared(BASE, KEY), "n2", "n1")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"objects": URL.format("one").replace("place", "elsewhere")},
            "objects is s3://bucket/elsewhere endpoint=http",
        ),
        ({"objects": URL.format("one").replace("8333", "8334")}, ":8334 region=us-east-1 on n2 and s3://bucket/place"),
        ({"account_id": None}, 'account_id is not given on n2 and "123" on n1'),
        ({"region": "cn-hangzhou"}, 'region is "cn-hangzhou" on n2 and "cn-shanghai" on n1'),
        ({"access_key_secret": "another"}, "access_key_secret, a secret, is another one on n2 than on n1"),
        ({"access_key_secret": None}, "access_key_secret is not given on n2 and a secret on n1"),
        ({"max_instances": 7}, "max_instances is 7 on n2 and 100 on n1"),
        ({"https_port": 443}, "https_port is given on n2 and none on n1"),
        ({"destinations": {}}, 'destinations is {} on n2 and {"acs:mns:":"http://10.0.0.9/mns"} on n1'),
        ({"sandbox": "plain"}, 'sandbox is "plain" on n2 and "auto" on n1'),
    ],
)
def test_a_setting_that_differs_is_named_with_both_values(changed: dict[str, object], expected: str) -> None:
    text = said(**changed)
    assert expected in text
    assert "stop every node first" in text
    for secret in ("one-secret", "password", "secret of the account", "another"):
        assert secret not in text.replace("is another one", "")


def test_what_is_a_machines_own_may_differ() -> None:
    own = {"port": 9100, "max_memory_mb": 512, "host": "10.0.0.2", "network_allow": ("10.0.0.9",), "calls": "none"}
    keys = {"objects": URL.format("another key"), "database": "postgresql://sesame@db.internal/sesame"}
    assert said(**own, **keys) == ""
    assert TABLE.keys() >= OWN, "each is a setting"


def test_many_that_differ_are_counted() -> None:
    changed = {name: 1 for name, row in TABLE.items() if row.kind is int and name not in OWN}
    assert f"and {len(changed) - 5} more differ" in said(**changed)


def test_they_are_kept_as_text_without_secrets() -> None:
    text = encoded(shared(BASE, KEY))
    assert decoded(text) == shared(BASE, KEY)
    assert "secret of the account" not in text
    assert "one-secret" not in text
    assert decoded("") is decoded("[1, 2") is None
    other = b"o" * 32
    assert difference(shared(BASE, other), shared(BASE, KEY), "a", "b"), "a digest is of use to whoever has the key"
    assert key_digest(other) != key_digest(KEY)


def test_a_setting_of_a_newer_version_is_no_difference() -> None:
    known = shared(BASE, KEY)
    newer = {**known, "of_the_future": told(KEY, "of_the_future", 1)}
    assert difference(newer, known, "n2", "n1") == difference(known, newer, "n2", "n1") == ""
