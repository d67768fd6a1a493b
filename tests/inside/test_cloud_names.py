"""Which names of the cloud lead to which endpoint, and the certificates for them."""

import asyncio
import contextlib
import socket
import ssl
import threading
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from tests.http import harness
from tests.support.fakes import FakeClocks

from sesame.http.interface import Exchange
from sesame.inside import certificates as certificates_module
from sesame.inside.authority import Authority
from sesame.inside.certificates import WAITING_MAX, Certificates
from sesame.inside.cloud_names import FC, OSS, SLS, STS, product_of, wildcards
from sesame.model.fair_rate import TURN_S, Rates

PATIENCE_S = 60.0
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
    "sts.aliyuncs.com": STS,
    "sts.cn-shanghai.aliyuncs.com": STS,
    "sts-vpc.cn-shanghai.aliyuncs.com": STS,
    "xsts.aliyuncs.com": "",
    "a.sts.cn-shanghai.aliyuncs.com": "",
    "aliyuncs.com": "",
    "example.com": "",
    "": "",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert product_of(name) == NAMES[name]


def may_certify(name: str) -> bool:
    return bool(product_of(name))


async def answer(exchange: Exchange) -> None:
    exchange.send_whole(200, (), b"", exchange.request.header(b"host") or b"")


@asynccontextmanager
async def serving(certificates: Certificates) -> AsyncIterator[int]:
    async with harness.serving(answer, tls=certificates) as server:
        yield server.port
    certificates.close()


async def handshake(port: int, client: ssl.SSLContext, name: str | None) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (name or "").encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "authority", may_certify)
    made.open()
    return made


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.bundle().decode())


async def test_certificates_are_trusted_by_who_has_the_bundle_alone(tmp_path: Path, authority: Authority) -> None:
    # A later start has the same one.
    again = Authority(tmp_path / "authority", may_certify)
    again.open()
    client = trusting(again)
    async with serving(Certificates(authority)) as port:
        for name in ("oss-cn-shanghai.aliyuncs.com", "bucket.OSS-cn-shanghai.aliyuncs.com"):
            await handshake(port, client, name)
        # The event loop may close the connection before the alert has left.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(port, client, "example.com")
        client.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(port, client, None)
        with pytest.raises(ssl.SSLCertVerificationError):
            await handshake(port, ssl.create_default_context(), "oss-cn-shanghai.aliyuncs.com")


async def test_who_says_no_name_gets_the_names_of_the_region(authority: Authority) -> None:
    client = trusting(authority)
    client.check_hostname = False
    async with serving(Certificates(authority, unnamed=wildcards("cn-shanghai"))) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        found = writer.get_extra_info("peercert")["subjectAltName"]
        writer.close()
        await handshake(port, client, "bucket.oss-cn-shanghai.aliyuncs.com")
    certified = [name for _kind, name in found]
    for name in (
        "sts.aliyuncs.com",
        "sts.cn-shanghai.aliyuncs.com",
        "sts-vpc.cn-shanghai.aliyuncs.com",
        "fc.cn-shanghai.aliyuncs.com",
        "oss-cn-shanghai.aliyuncs.com",
        "oss-cn-shanghai-internal.aliyuncs.com",
        "bucket.oss-cn-shanghai-internal.aliyuncs.com",
        "123.cn-shanghai.fc.aliyuncs.com",
        "123.cn-shanghai-internal.fc.aliyuncs.com",
        "cn-shanghai.log.aliyuncs.com",
        "project.cn-shanghai-intranet.log.aliyuncs.com",
    ):
        assert may_certify(name)
        assert f"*.{name.partition('.')[2]}" in certified


async def test_certificates_are_made_beside_the_event_loop_once_for_a_name(authority: Authority) -> None:
    threads: list[str] = []
    make = authority.context

    def context(*names: str) -> ssl.SSLContext:
        threads.append(threading.current_thread().name)
        return make(*names)

    authority.context = context  # type: ignore[method-assign]
    client = trusting(authority)
    async with serving(Certificates(authority)) as port:
        await asyncio.gather(*(handshake(port, client, "oss-cn-shanghai.aliyuncs.com") for _ in range(8)))
        await handshake(port, client, "oss-cn-shanghai.aliyuncs.com")
    assert len(threads) == 1
    assert threads[0].startswith("making-certificates")


async def test_an_instance_that_asks_for_ever_new_names_waits_then_is_refused_and_others_are_not(
    authority: Authority,
) -> None:
    clocks = FakeClocks()
    rates = Rates(each_per_s=10, each_burst=4, all_per_s=40, all_burst=16)
    certificates = Certificates(authority, clocks, rates)
    with structlog.testing.capture_logs() as said:
        asking = [
            asyncio.create_task(certificates.context(f"b{number}.oss-cn-shanghai.aliyuncs.com", "busy"))
            for number in range(4 + WAITING_MAX + 10)
        ]
        async with asyncio.timeout(PATIENCE_S):
            while sum(task.done() for task in asking) < 4 + 10:
                await asyncio.wait([task for task in asking if not task.done()], return_when=FIRST_COMPLETED)
            # Another instance has its certificate meanwhile, and a name that is known costs nobody a turn.
            await certificates.context("other.oss-cn-shanghai.aliyuncs.com", "quiet")
            await certificates.context("b0.oss-cn-shanghai.aliyuncs.com", "quiet")
            refused = [task for task in asking if task.done() and task.exception() is not None]
            assert len(refused) >= 10
            assert {type(task.exception()) for task in refused} == {ConnectionRefusedError}
            while not all(task.done() for task in asking):
                clocks.advance(TURN_S)
                await asyncio.sleep(0.001)
    certificates.close()
    assert sum(task.exception() is None for task in asking) == len(asking) - len(refused)
    # Once for an instance, not for each connection.
    assert [entry["client"] for entry in said if "refused" in entry["event"]] == ["busy"]


async def test_as_many_certificates_are_kept_as_the_bound_says(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates_module, "CONTEXTS_MAX", 2)
    made: list[str] = []
    make = authority.context
    authority.context = lambda *names: made.extend(names) or make(*names)  # type: ignore[method-assign]
    certificates = Certificates(authority)
    for name in ("a", "b", "a", "c", "a", "b"):
        await certificates.context(f"{name}.oss-cn-shanghai.aliyuncs.com", "")
    certificates.close()
    assert [name[0] for name in made] == ["a", "b", "c", "b"]


@pytest.mark.parametrize("said", [b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100])
async def test_what_is_no_handshake_ends_its_connection_alone(authority: Authority, said: bytes) -> None:
    async with serving(Certificates(authority)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            # An alert, or nothing.
            with contextlib.suppress(ConnectionError):
                assert len(await reader.read()) < 100
        writer.close()
        await handshake(port, trusting(authority), "oss-cn-shanghai.aliyuncs.com")


async def test_a_hello_that_comes_in_pieces_is_waited_for(authority: Authority) -> None:
    client, incoming, outgoing = trusting(authority), ssl.MemoryBIO(), ssl.MemoryBIO()
    talking = client.wrap_bio(incoming, outgoing, server_hostname="oss-cn-shanghai.aliyuncs.com")
    with contextlib.suppress(ssl.SSLWantReadError):
        talking.do_handshake()
    hello = outgoing.read()
    async with serving(Certificates(authority)) as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (hello[:3], hello[3:40], hello[40:]):
            writer.write(piece)
            await asyncio.sleep(0.02)
        while True:
            incoming.write(await reader.read(65536))
            try:
                talking.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        assert talking.getpeercert()["subjectAltName"] == (("DNS", "oss-cn-shanghai.aliyuncs.com"),)  # type: ignore[index]
        writer.close()


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


async def test_a_handshake_in_pieces_over_a_socket_of_this_machine(authority: Authority) -> None:
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(heard, said, server_hostname="oss-cn-shanghai.aliyuncs.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = said.read()
    async with harness.serving(answer, tls=Certificates(authority)) as server:
        ours, theirs = socket.socketpair()
        server.take(theirs, "instance")
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        for piece in (hello[:3], hello[3:50], hello[50:]):
            writer.write(piece)
            # Time for the server to look at what there is.
            await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readexactly(1)) == b"\x16"
        writer.close()


async def test_a_handshake_that_ends_in_the_middle_is_given_up(authority: Authority) -> None:
    async with harness.serving(answer, tls=Certificates(authority)) as server:
        ours, theirs = socket.socketpair()
        server.take(theirs, "instance")
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        writer.write(b"\x16\x03\x01")
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            # What was said may not have been read.
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


async def test_nodes_of_one_cluster_have_one_authority_and_write_no_key(tmp_path: Path) -> None:
    made = [
        Authority(tmp_path / name, may_certify, secret * 32) for name, secret in (("a", b"k"), ("b", b"k"), ("c", b"o"))
    ]
    for each in made:
        each.open()
    one, same, other = made
    async with serving(Certificates(one)) as port:
        await handshake(port, trusting(same), "oss-cn-shanghai.aliyuncs.com")
        with pytest.raises(ssl.SSLCertVerificationError):
            await handshake(port, trusting(other), "oss-cn-shanghai.aliyuncs.com")
    assert not _files_below(tmp_path)


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
