"""Tells whether a certificate and a key belong together, before they are kept for a domain.

Called by `control.domains`; pure functions.
Never judges who signed a certificate or whether it has expired: whoever connects does.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sesame.control import checks
from sesame.model.domain import CertConfig
from sesame.model.errors import InvalidArgument

CERT_NAME_CHARS = 128
PEM_CHARS = 20_480


def check(config: CertConfig) -> None:
    """Raises `InvalidArgument` when either is missing or unreadable, or when the key is another certificate's."""
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
    if _public_of_certificate(config.certificate) != _public_of_key(config.private_key):
        raise InvalidArgument(
            "CertConfig.PrivateKey is set to an invalid value (allowed: the key of CertConfig.Certificate, actual: "
            "the key of another certificate)"
        )


def _public_of_certificate(text: str) -> bytes:
    try:
        first, *_chain = x509.load_pem_x509_certificates(text.encode())
        return first.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            f"CertConfig.Certificate cannot be read ({error}): expected one or more certificates as PEM text, the "
            "domain's first"
        ) from error


def _public_of_key(text: str) -> bytes:
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            f"CertConfig.PrivateKey cannot be read ({error}): expected a key without password as PEM text"
        ) from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
