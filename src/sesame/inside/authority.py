"""The certificate authority of one Sesame: only functions trust it, for the cloud's names that lead to Sesame.

Created on the first start in the data directory, whose `authority` contains the key, readable only by its owner, and
the certificate. Sandboxes never see the directory: functions get a copy of the bundle of trusted certificates.
"""

import datetime
import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEARS = 10
CERTIFICATE_DAYS = 730
# The order of SECP256R1 (FIPS 186-5).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BACKDATED = datetime.timedelta(days=1)


class Authority:
    """`open` loads or creates the authority, which then issues certificates for names that `may_certify` accepts."""

    def __init__(self, folder: Path, may_certify: Callable[[str], bool], secret: bytes | None = None) -> None:
        """With a `secret`, the key is derived from it and never written; certificates differ, but are equally valid."""
        self._folder = folder
        self._secret = secret
        self.may_certify = may_certify
        self._key: ec.EllipticCurvePrivateKey
        self._certificate: x509.Certificate
        # One key for all names: the signed names tell certificates apart, and a key for each would take longer.
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    def open(self) -> None:
        """Blocks. Raises `OSError`, or `ValueError` for files that are not an authority's."""
        key_file, certificate_file = self._folder / "key.pem", self._folder / "certificate.pem"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._secret is not None:
            self._key = _derived(self._secret)
            self._certificate = _own_certificate(self._key)
            return
        if not certificate_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write(key_file, _private(key))
            _write(certificate_file, _own_certificate(key).public_bytes(serialization.Encoding.PEM))
        try:
            key_read = serialization.load_pem_private_key(key_file.read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{self._folder} does not contain an authority: {error}; remove it to have a new one created"
            ) from error
        if not isinstance(key_read, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} is not a key of Sesame's authority; remove {self._folder} for a new one")
        self._key = key_read

    def bundle(self) -> bytes:
        """PEM: the certificates that this machine's programs trust, and this authority's."""
        own = self._certificate.public_bytes(serialization.Encoding.PEM)
        paths = ssl.get_default_verify_paths()
        for path in (paths.cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
            if path and os.path.isfile(path):
                return Path(path).read_bytes().rstrip() + b"\n" + own
        return own

    def context(self, *names: str) -> ssl.SSLContext:
        """A context with a certificate for `names`, which `may_certify` accepts, or whose subdomains it accepts if they
        begin with `*.`. Blocks for some milliseconds.
        """
        context = bare_context()
        _load(context, self._leaf_key, self._issued(names))
        return context

    def _issued(self, names: tuple[str, ...]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _derived(secret: bytes) -> ec.EllipticCurvePrivateKey:
    # Eight bytes longer than the order, so that the remainder is close to uniform (FIPS 186-5, A.2.1).
    spread = HKDF(hashes.SHA256(), 40, salt=None, info=b"sesame: authority of the cloud's names").derive(secret)
    return ec.derive_private_key(int.from_bytes(spread, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _own_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sesame (functions of this data directory only)")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.NameConstraints([x509.DNSName("aliyuncs.com")], None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .sign(key, hashes.SHA256())
    )


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


def bare_context() -> ssl.SSLContext:
    """A context without a certificate, which can only refuse handshakes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Loads a certificate by way of a temporary file: the module `ssl` reads certificates only from files."""
    with tempfile.NamedTemporaryFile(prefix="sesame-", dir=_in_memory()) as file:
        file.write(_private(key) + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)


def _in_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Writes atomically; only the owner can read the file."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
