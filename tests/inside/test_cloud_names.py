"""Which names of the cloud lead to which endpoint, and the certificates for them."""

import asyncio
import ssl
from pathlib import Path

import pytest

from sesame.inside.authority import Authority
from sesame.inside.cloud_names import FC, OSS, SLS, product_of

NAMES = {
    "oss-cn-shanghai.aliyuncs.com": OSS,
    "oss-cn-shanghai-internal.aliyuncs.com": OSS,
    "my-bucket.oss-us-west-1-internal.aliyuncs.com": OSS,
    "my-bucket.oss-accelerate.aliyuncs.com": OSS,
    "cn-hangzhou.oss.aliyuncs.com": OSS,
    "1234567890123456.cn-shanghai.fc.aliyuncs.com": FC,
    "1234567890123456.cn-shanghai-internal.fc.aliyuncs.com": FC,
    "fcv3.cn-shanghai.aliyuncs.com": FC,
    "cn-shanghai.log.aliyuncs.com": SLS,
    "project.cn-shanghai-intranet.log.aliyuncs.com": SLS,
    "a.b.oss-cn-shanghai.aliyuncs.com": "",
    "oss-cn-shanghai.aliyuncs.com.example": "",
    "evil-oss-cn-shanghai.aliyuncs.com": "",
    "ossx.aliyuncs.com": "",
    "mns.cn-shanghai.aliyuncs.com": "",
    "sts.aliyuncs.com": "",
    "aliyuncs.com": "",
    "example.com": "",
    "": "",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert product_of(name) == NAMES[name]


def may_certify(name: str) -> bool:
    return bool(product_of(name))


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    serving = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server)
    async with serving:
        port = serving.sockets[0].getsockname()[1]
        async with asyncio.timeout(30):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        writer.close()


async def test_certificates_are_trusted_by_who_has_the_bundle_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority", may_certify)
    authority.open()
    # A later start has the same one.
    again = Authority(tmp_path / "authority", may_certify)
    again.open()
    trusting = ssl.create_default_context(cadata=again.bundle().decode())
    for name in ("oss-cn-shanghai.aliyuncs.com", "bucket.OSS-cn-shanghai.aliyuncs.com"):
        await handshake(authority.server_context(), trusting, name)
    # The event loop may close the connection before the alert has left.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(authority.server_context(), trusting, "example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(authority.server_context(), ssl.create_default_context(), "oss-cn-shanghai.aliyuncs.com")


def test_the_key_is_for_its_owners_eyes(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority", may_certify)
    authority.open()
    assert (tmp_path / "authority").stat().st_mode & 0o077 == 0
    assert (tmp_path / "authority" / "key.pem").stat().st_mode & 0o077 == 0
    assert b"PRIVATE" not in authority.bundle()


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    Authority(tmp_path / "authority", may_certify).open()
    (tmp_path / "authority" / "key.pem").write_bytes(b"no key")
    with pytest.raises(ValueError, match="remove"):
        Authority(tmp_path / "authority", may_certify).open()
