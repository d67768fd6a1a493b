"""Selects the certificate of each TLS connection: that of the custom domain which the client names (SNI).

Built by `_endpoints`; `http.server` listens with its context. Never generates a certificate.
"""

import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog

from sesame.model.domain import CertConfig, CustomDomain
from sesame.model.errors import Rejected
from sesame.model.records import Record

SCHEME = "HTTPS"
CONTEXTS_MAX = 1024
# OpenSSL requires at least one cipher for TLS 1.2. No peer can use this one: it needs a pre-shared key.
_NO_CIPHER_BEFORE_TLS_1_3 = "PSK-AES128-GCM-SHA256"

log = structlog.get_logger("sesame.fc")


class Certificates:
    """Looks the domain up at every handshake, so that new, changed and deleted domains take effect from the next one
    on.

    POLICY: a name without a certificate here, or no name at all, is refused with the alert `unrecognized_name`
    (RFC 6066 §3). No client would trust a certificate made here, and users would learn to ignore the warning.
    """

    def __init__(self, find: Callable[[str], Record | None]) -> None:
        self._find = find
        # By domain name, with the etag of the record that the context was built from.
        self._contexts: OrderedDict[str, tuple[str, ssl.SSLContext]] = OrderedDict()

    def context(self) -> ssl.SSLContext:
        """The context to listen with. It has no certificate; each handshake selects one."""
        context = _bare(_Context(ssl.PROTOCOL_TLS_SERVER))
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        record = self._find(name) if name else None
        domain: CustomDomain | None = None if record is None else record.document
        if record is None or domain is None or domain.cert_config is None or not served_over(SCHEME, domain):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        try:
            connection.context = self._context_of(record.etag, domain, domain.cert_config)
        except Rejected as error:
            # An earlier version, with other libraries, accepted it. The owner must replace it.
            log.error("a stored certificate cannot be served", domain=domain.domain_name, error=str(error))
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    def _context_of(self, etag: str, domain: CustomDomain, config: CertConfig) -> ssl.SSLContext:
        kept = self._contexts.get(domain.domain_name)
        if kept is not None and kept[0] == etag:
            self._contexts.move_to_end(domain.domain_name)
            return kept[1]
        context = _prepared(config, domain.tls_config.min_version if domain.tls_config else "")
        self._contexts[domain.domain_name] = (etag, context)
        if len(self._contexts) > CONTEXTS_MAX:
            self._contexts.popitem(last=False)
        return context


class _Connection(ssl.SSLObject):
    outgoing: ssl.MemoryBIO
    _refusal: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Like the base class, but lets the event loop send the alert before the handshake fails.

        On failure it first claims to wait for input, so that the loop flushes the alert. The next call raises the
        error: when the client sends more or closes, or at the loop's time limit for handshakes.
        """
        if self._refusal is not None:
            raise self._refusal
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if not self.outgoing.pending:
                raise
            self._refusal = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert goes first") from error


class _Context(ssl.SSLContext):
    """Delivers alerts to clients: on a failed handshake, event loops close the connection without sending the alert."""

    sslobject_class = _Connection

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *rest: Any, **options: Any) -> ssl.SSLObject:
        connection = super().wrap_bio(incoming, outgoing, *rest, **options)
        assert isinstance(connection, _Connection)
        connection.outgoing = outgoing
        return connection


def served_over(scheme: str, domain: CustomDomain) -> bool:
    """Whether the domain is served over this scheme, `http` or `https`."""
    return scheme.upper() in domain.protocol.split(",")


def _prepared(config: CertConfig, least_version: str) -> ssl.SSLContext:
    # Imported here because few need it, and importing x.509 would delay every start.
    from sesame.control.certificates import server_context

    context = _bare(server_context(config))
    if least_version == "TLSv1.3":
        # A connection that switches contexts keeps the first context's protocol versions, but takes this one's ciphers.
        context.set_ciphers(_NO_CIPHER_BEFORE_TLS_1_3)
    return context


def _bare(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
