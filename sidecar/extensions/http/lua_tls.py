"""What ``connection():ssl()`` and ``streamInfo():downstreamSslConnection()`` tell a script.

The methods of Envoy's SSL connection object by name; each reads a :class:`sidecar.net.tls_facts.TlsFacts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["SSL", "read_tls"]


def _peer(name: str) -> Callable[[Any], str]:
    return lambda tls: "" if tls.peer is None else getattr(tls.peer, name)


def _sans(side: str, kind: str) -> Callable[[Any], list[str]]:
    def read(tls: Any) -> list[str]:
        certificate = getattr(tls, side)
        return [] if certificate is None else certificate.sans(kind)

    return read


def _oids(side: str) -> Callable[[Any], list[str]]:
    def read(tls: Any) -> list[str]:
        certificate = getattr(tls, side)
        return [] if certificate is None else certificate.extension_oids

    return read


def _time(name: str) -> Callable[[Any], int]:
    return lambda tls: 0 if tls.peer is None else int(getattr(tls.peer, name).timestamp())


SSL: dict[str, Callable[[Any], Any]] = {
    "peerCertificatePresented": lambda tls: tls.has_peer,
    "peerCertificateValidated": lambda tls: tls.is_validated,
    "uriSanLocalCertificate": _sans("local", "URI"),
    "dnsSansLocalCertificate": _sans("local", "DNS"),
    "oidsLocalCertificate": _oids("local"),
    "uriSanPeerCertificate": _sans("peer", "URI"),
    "dnsSansPeerCertificate": _sans("peer", "DNS"),
    "oidsPeerCertificate": _oids("peer"),
    "sha256PeerCertificateDigest": _peer("sha256"),
    "serialNumberPeerCertificate": _peer("serial"),
    "issuerPeerCertificate": _peer("issuer"),
    "subjectPeerCertificate": _peer("subject"),
    "subjectLocalCertificate": lambda tls: "" if tls.local is None else tls.local.subject,
    "urlEncodedPemEncodedPeerCertificate": _peer("url_encoded_pem"),
    "urlEncodedPemEncodedPeerCertificateChain": lambda tls: "".join(
        each.url_encoded_pem for each in tls.peer_chain
    ),
    "validFromPeerCertificate": _time("valid_from"),
    "expirationPeerCertificate": _time("expires_at"),
    "sessionId": lambda tls: tls.session_id,
    "ciphersuiteId": lambda tls: tls.cipher_id,
    "ciphersuiteString": lambda tls: tls.cipher,
    "tlsVersion": lambda tls: tls.version,
    # The parts of parsedSubjectPeerCertificate()
    "commonName": lambda tls: "" if tls.peer is None else tls.peer.common_name,
    "organizationName": lambda tls: [] if tls.peer is None else tls.peer.organization_names,
}


def read_tls(name: bytes, tls: Any) -> Any:
    """The value of a method, in bytes where it is text; True or False, for no name, whether there is TLS."""
    if not name:
        return tls is not None
    value = SSL[name.decode()](tls)
    if isinstance(value, list):
        return [each.encode() for each in value]
    return value.encode() if isinstance(value, str) else value
