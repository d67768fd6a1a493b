"""XML bodies: what a key may hold can be deleted, and no body stalls the endpoint or costs more than its size.

Run by pytest against a real endpoint on a free port.
"""

import base64
import hashlib
import time
from xml.etree import ElementTree

import oss2
import pytest
from tests.oss.conftest import RunningEndpoint

from sesame.oss import xml
from sesame.oss.errors import OssError


def delete(endpoint: RunningEndpoint, body: bytes) -> int:
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    response = endpoint.request(
        "POST", params={"delete": "", "encoding-type": "url"}, headers={"Content-MD5": md5}, body=body
    )
    return response.status_code


@pytest.mark.parametrize(
    "key", ["a\x01b", "a\tb", "a\nb", "a\rb", "a\x1f", "a\ufffeb", "a\ue000\x01", "<&>\"'", "\U000f0000\x02"]
)
@pytest.mark.parametrize("reference", ["&#{};", "&#x{:x};"])
def test_every_key_can_be_deleted_by_its_characters_or_by_references(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, key: str, reference: str
) -> None:
    written = "".join(reference.format(ord(char)) for char in key)
    literal = key.replace("&", "&amp;").replace("<", "&lt;")
    for name in (written, literal):
        bucket.put_object(key, b"data")
        assert delete(endpoint, f"<Delete>\r\n<Object>\r\n<Key>{name}</Key>\r\n</Object></Delete>".encode()) == 200
        assert not bucket.object_exists(key)


def test_a_key_in_cdata_is_taken_as_it_stands(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("&#65;", b"data")
    bucket.put_object("A", b"data")
    assert delete(endpoint, b"<Delete><Object><Key><![CDATA[&#65;]]></Key></Object></Delete>") == 200
    assert [found.key for found in oss2.ObjectIterator(bucket)] == ["A"]


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE Delete><Delete/>",
        b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Delete>&b;</Delete>',
        b"<Delete>&#xD800;</Delete>",
        b"<Delete>&#x110000;</Delete>",
        b"<Delete>&nbsp;</Delete>",
        b"<Delete>\xff</Delete>",
        b"<Delete>" + b"<a>" * 40 + b"</a>" * 40 + b"</Delete>",
        b"<Delete>" + b"<a/>" * 100_000 + b"</Delete>",
        b"<" * xml.BODY_BYTES_MAX,
        b"&#1;" * (xml.BODY_BYTES_MAX // 4),
        b">" + b"a\r" * 500_000,
        b"<Delete><Quiet>maybe</Quiet></Delete>",
        b'<?xml version="1.0" encoding="gbk"?><Delete><Object><Key>\xc4\xbf</Key></Object></Delete>',
        b"<?xml version='1.0' encoding = 'UTF-16'?><Delete/>",
    ],
)
def test_other_bodies_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(OssError) as caught:
        xml.flag(xml.parse(body, "Delete"), "Quiet")
    assert caught.value.code == "MalformedXML"
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "start", [b"\xef\xbb\xbf", b'<?xml version="1.0" encoding="utf-8"?>', b"<?xml version='1.0'?>"]
)
def test_documents_in_utf_8_are_read(start: bytes) -> None:
    assert xml.text(xml.parse(start + "<Delete><Quiet>目</Quiet></Delete>".encode(), "Delete"), "Quiet") == "目"


def test_a_version_of_an_object_is_deleted_by_its_only_name(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    body = b"<Delete><Object><Key>k</Key><VersionId>%s</VersionId></Object></Delete>"
    assert delete(endpoint, body % b"CAEQ") == 404
    assert bucket.object_exists("k")
    md5 = base64.b64encode(hashlib.md5(body % b"null").digest()).decode()
    answer = endpoint.request("POST", params={"delete": ""}, headers={"Content-MD5": md5}, body=body % b"null")
    assert ElementTree.fromstring(answer.content).findtext("Deleted/VersionId") == "null"
    assert not bucket.object_exists("k")
