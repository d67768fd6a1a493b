"""Tells whether a certificate and a key belong together, and makes of them what TLS is spoken with.

Called by `control.domains` before they are kept for a domain, and by `fc.web.certificates` when a client names the
domain.
Never judges who signed a certificate or whether it has expired: whoever connects does. Never writes a key to a file.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
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
from sesame.model.errors import InvalidArgument

CERT_NAME_CHARS = 128
PEM_CHARS = 20_480


def check(config: CertConfig) -> None:
    """Raises `InvalidArgument` when either is missing or unreadable, when the key is another certificate's, or when
    no TLS can be spoken with them, as with a key that is too short.
    """
    for label, value in (
        ("CertName", config.cert_name),
        ("Certificate", config.certificate),
        ("PrivateKey", config.private_key),
    ):
        if not value:
            raise InvalidArgument.missing(f"CertConfig.{label}")
    checks.length("CertConfig.CertName", config.cert_name, CERT_NAME_CHARS)
    checks.length("CertConfig.Certificate", config.certificate, PEM_CHARS)
    checks.length("CertConfig.PrivateKey", config.private_key, PEM_CHARS)
    server_context(config)


def server_context(config: CertConfig) -> ssl.SSLContext:
    """A TLS server's context with this certificate. Raises `InvalidArgument` as `check` does."""
    chain, key = _chain(config.certificate), _key(config.private_key)
    if _public(chain[0].public_key()) != _public(key.public_key()):
        raise InvalidArgument(
            "CertConfig.PrivateKey is set to an invalid value (allowed: the key of CertConfig.Certificate, actual: "
            "the key of another certificate)"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with (
            _readable(b"".join(each.public_bytes(Encoding.PEM) for each in chain)) as certificate_path,
            _readable(key_pem) as key_path,
        ):
            context.load_cert_chain(certificate_path, key_path)
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"CertConfig.Certificate cannot be served over TLS ({error.reason or error}): expected a certificate and a "
            "key that are strong enough, such as RSA with 2048 bits or ECDSA with P-256"
        ) from error
    return context


def _chain(text: str) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
        _public(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            f"CertConfig.Certificate cannot be read ({error}): expected one or more certificates as PEM text, the "
            "domain's first"
        ) from error
    return chain


def _key(text: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            f"CertConfig.PrivateKey cannot be read ({error}): expected a key without password as PEM text"
        ) from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _readable(data: bytes) -> Iterator[str]:
    """A path that gives these bytes once. OpenSSL wants paths, and a key is not for a disk: so it is a pipe's.

    What is written fits the pipe, as `PEM_CHARS` bounds what was read, so that nothing waits.
    """
    reader, writer = os.pipe()
    try:
        with open(writer, "wb") as pipe:
            pipe.write(data)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
