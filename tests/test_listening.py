"""Where a whole Sesame listens: on loopback unless it is told otherwise, and over TLS with a certificate of its own.

Run by pytest. Opens ports on 127.0.0.1 and, once, on every address.
"""

import asyncio
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import pair

from sesame import settings as settings_module
from sesame._listening import PEM_BYTES_MAX, own_tls
from sesame.app import Sesame
from sesame.http.listener import listening_socket
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings

pytestmark = pytest.mark.usefixtures("few_runtimes")

CERTIFICATE = pair("localhost")


@asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[Sesame]:
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=folder / "data", sandbox="plain", **changes))
    await sesame.start()
    try:
        yield sesame
    finally:
        await sesame.stop()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    files = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    files["tls_cert"].write_text(CERTIFICATE.certificate)
    files["tls_key"].write_text(CERTIFICATE.private_key)
    return files


def status_of(url: str, context: ssl.SSLContext | None = None) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_every_endpoint_speaks_tls_with_the_given_certificate(tmp_path: Path, files: dict[str, Path]) -> None:
    trusting = ssl.create_default_context(cadata=CERTIFICATE.certificate)
    async with running(tmp_path, **files) as sesame:
        assert sesame.notices() == [line for line in sesame.notices() if "WARNING" not in line]
        for url, path, status in (
            (sesame.endpoints.fc, "/openapi.json", 200),
            (sesame.endpoints.fc, "/2016-08-15/services", 400),
            (sesame.endpoints.oss, "/", 403),
        ):
            assert url.startswith("https://127.0.0.1:")
            named = url.replace("127.0.0.1", "localhost") + path
            assert await asyncio.to_thread(status_of, named, trusting) == status
            with pytest.raises((http.client.HTTPException, OSError)):
                await asyncio.to_thread(status_of, named.replace("https", "http"))


async def test_another_address_lets_others_in_and_is_warned_of_without_tls(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    async with running(tmp_path, host="0.0.0.0") as sesame:
        assert sesame.endpoints.fc.startswith("http://127.0.0.1:")
        assert await asyncio.to_thread(status_of, sesame.endpoints.fc + "/openapi.json") == 200
        assert any("--host 0.0.0.0" in line and "--tls-cert" in line for line in sesame.notices())
    async with running(tmp_path, host="0.0.0.0", **files) as sesame:
        assert not any("WARNING" in line for line in sesame.notices())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_loopback_is_not_warned_of(tmp_path: Path, host: str) -> None:
    async with running(tmp_path, host=host) as sesame:
        assert not any("WARNING" in line for line in sesame.notices())
        assert await asyncio.to_thread(status_of, sesame.endpoints.fc + "/openapi.json") == 200


@pytest.mark.parametrize("broken", ["tls_cert", "tls_key"])
@pytest.mark.parametrize(
    "content", [None, "", "no PEM", pair("other").private_key], ids=["missing", "empty", "no PEM", "another key"]
)
async def test_a_certificate_that_cannot_be_served_is_said_at_the_start(
    tmp_path: Path, files: dict[str, Path], broken: str, content: str | None
) -> None:
    if content is None:
        files[broken].unlink()
    else:
        files[broken].write_text(content)
    with pytest.raises(ConfigurationError, match="expected two PEM files"):
        async with running(tmp_path, **files):
            pass


@pytest.mark.parametrize("broken", ["tls_cert", "tls_key"])
@pytest.mark.parametrize("kind", ["a named pipe", "too large"])
def test_a_certificate_that_never_ends_is_said_at_the_start(files: dict[str, Path], broken: str, kind: str) -> None:
    files[broken].unlink()
    if kind == "a named pipe":
        os.mkfifo(files[broken])
    else:
        with files[broken].open("wb") as file:
            file.truncate(PEM_BYTES_MAX + 1)
    said = "it is no regular file" if kind == "a named pipe" else f"it has more than {PEM_BYTES_MAX} bytes"
    with pytest.raises(ConfigurationError, match=f"{said}.*expected two PEM files"):
        own_tls(Settings(tls_cert=files["tls_cert"], tls_key=files["tls_key"]))


async def test_an_address_that_is_not_this_machine_s(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        async with running(tmp_path, host="192.0.2.1"):
            pass


@pytest.mark.parametrize("host", ["a..b", "a" * 64, ".", "\udcff"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*; choose another address"):
        listening_socket(host, 0)


@pytest.mark.parametrize("flags", [{"tls_cert": "a"}, {"tls_key": "a"}, {"host": ""}])
def test_settings_that_go_together(flags: dict[str, str]) -> None:
    if flags == {"host": ""}:
        with pytest.raises(ConfigurationError, match="host is empty"):
            settings_module.load(flags, {})
    else:
        with pytest.raises(ConfigurationError, match="is set without"):
            settings_module.load(flags, {})


async def test_metrics_are_read_on_loopback_and_only_where_a_port_is_set(tmp_path: Path) -> None:
    async with running(tmp_path) as sesame:
        assert sesame.endpoints.metrics == ""
    async with running(tmp_path, metrics_port=0, host="0.0.0.0") as sesame:
        url = sesame.endpoints.metrics
        assert url.startswith("http://127.0.0.1:")
        assert await asyncio.to_thread(status_of, url) == 200
        with pytest.raises(ConfigurationError, match="--metrics-port"):
            async with running(tmp_path / "other", metrics_port=int(url.split(":")[2].split("/")[0])):
                pass
