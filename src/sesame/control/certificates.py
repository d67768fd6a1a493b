"""Checks that a certificate and a key belong together, and creates the context that serves TLS with them.

`control.domains` checks them before storing them; `fc.web.certificates` serves them. Clients judge who signed a
certificate and whether it has expired. A key is never written to a file.
"""

import asyncio
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sesame.control import checks
from sesame.model.domain import CertConfig
from sesame.model.errors import Invalid, Missing, Unusable

CERT_NAME_CHARS = 128
PEM_CHARS = 20_480
# The time to validate an RSA key grows steeply with its length: seconds for 8,192 bits.
RSA_BITS_MAX = 4096
VALIDATION_S_MAX = 10.0
_VALIDATE = (
    "import sys; from cryptography.hazmat.primitives.serialization import load_pem_private_key as load; "
    "load(sys.stdin.buffer.read(), None)"
)


async def check(config: CertConfig) -> None:
    """Raises `Rejected` when either is missing or unreadable, when the key is another certificate's, or when
    no TLS can be spoken with them, as with a key that is too short.

    The key's numbers are validated in a process of their own: that takes up to half a second and blocks every thread.
    """
    for label, value in (
        ("cert_name", config.cert_name),
        ("certificate", config.certificate),
        ("private_key", config.private_key),
    ):
        if not value:
            raise Missing(f"cert_config.{label}")
    checks.length("cert_config.cert_name", config.cert_name, CERT_NAME_CHARS)
    checks.length("cert_config.certificate", config.certificate, PEM_CHARS)
    checks.length("cert_config.private_key", config.private_key, PEM_CHARS)
    server_context(config)
    await _validate(config.private_key)


def server_context(config: CertConfig) -> ssl.SSLContext:
    """A TLS server's context with a certificate that was checked. Raises `Rejected` as `check` does, but for a
    key with invalid numbers.
    """
    chain, key = _chain(config.certificate), _key(config.private_key)
    if _public(chain[0].public_key()) != _public(key.public_key()):
        raise Invalid("cert_config.private_key", "the key of the certificate", "the key of another certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with (
            _readable(b"".join(each.public_bytes(Encoding.PEM) for each in chain)) as certificate_path,
            _readable(key_pem) as key_path,
        ):
            context.load_cert_chain(certificate_path, key_path)
    except ssl.SSLError as error:
        raise Unusable(
            f"cannot be served over TLS ({error.reason or error}): expected a certificate and a key that are strong "
            "enough, such as RSA with 2048 bits or ECDSA with P-256",
            field="cert_config.certificate",
        ) from error
    return context


def _chain(text: str) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
        _public(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(
            f"cannot be read ({error}): expected one or more certificates as PEM text, the domain's first",
            field="cert_config.certificate",
        ) from error
    for certificate in chain:
        key = certificate.public_key()
        if isinstance(key, RSAPublicKey) and key.key_size > RSA_BITS_MAX:
            raise Invalid("cert_config.certificate", f"RSA keys of at most {RSA_BITS_MAX} bits", f"{key.key_size} bits")
    return chain


def _key(text: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Unusable(
            f"cannot be read ({error}): expected a key without password as PEM text", field="cert_config.private_key"
        ) from error


async def _validate(key_pem: str) -> None:
    pipe, devnull = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _VALIDATE, stdin=pipe, stdout=devnull, stderr=devnull
    )
    try:
        await asyncio.wait_for(process.communicate(key_pem.encode()), VALIDATION_S_MAX)
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Unusable("is not valid: expected a key whose numbers belong together", field="cert_config.private_key")


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _readable(data: bytes) -> Iterator[str]:
    """A path that can be read once. OpenSSL accepts keys only as paths; a pipe keeps the key off the disk.

    Never blocks: `PEM_CHARS` limits the key, so that it fits into the pipe's buffer.
    """
    reader, writer = os.pipe()
    try:
        with open(writer, "wb") as pipe:
            pipe.write(data)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
