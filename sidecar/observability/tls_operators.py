"""The operators of access-log formats that tell of TLS, towards clients and upstreams.

What they read is a :class:`sidecar.net.tls_facts.TlsFacts`; a stream without TLS has none: they are unset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.errors import SidecarError
from sidecar.observability.time_format import compile_time_format, has_newline

__all__ = ["cert_time", "tls_readers"]

Read = Callable[[Stream], Any]
_KINDS = {"IP": "IP_ADDRESS", "DNS": "DNS", "URI": "URI", "EMAIL": "EMAIL", "OTHERNAME": "OTHER_NAME"}
_CERT_TIME = "%Y-%m-%dT%H:%M:%E3SZ"


def _downstream(stream: Stream) -> Any:
    return stream.connection.tls


def _upstream(stream: Stream) -> Any:
    return stream.upstream_tls


def _of_connection(facts: Read, name: str) -> Read:
    def read(stream: Stream) -> str | None:
        found = facts(stream)
        return None if found is None else getattr(found, name) or None

    return read


def _of_certificate(facts: Read, side: str, name: str) -> Read:
    def read(stream: Stream) -> str | None:
        found = facts(stream)
        certificate = None if found is None else getattr(found, side)
        return None if certificate is None else getattr(certificate, name) or None

    return read


def _sans(facts: Read, side: str, kind: str) -> Read:
    def read(stream: Stream) -> str | None:
        found = facts(stream)
        certificate = None if found is None else getattr(found, side)
        return None if certificate is None else ",".join(certificate.sans(kind)) or None

    return read


def _of_chain(facts: Read, name: str) -> Read:
    def read(stream: Stream) -> str | None:
        found = facts(stream)
        if found is None:
            return None
        return ",".join(getattr(each, name) for each in found.peer_chain) or None

    return read


def _side(prefix: str, facts: Read) -> dict[str, Read]:
    """What is told of either direction."""
    return {
        f"{prefix}_TLS_VERSION": _of_connection(facts, "version"),
        f"{prefix}_TLS_CIPHER": _of_connection(facts, "cipher"),
        f"{prefix}_TLS_SESSION_ID": _of_connection(facts, "session_id"),
        f"{prefix}_PEER_SUBJECT": _of_certificate(facts, "peer", "subject"),
        f"{prefix}_PEER_ISSUER": _of_certificate(facts, "peer", "issuer"),
        f"{prefix}_PEER_CERT": _of_certificate(facts, "peer", "url_encoded_pem"),
    }


def tls_readers() -> dict[str, Read]:
    """The operators without argument, by name."""
    found = {**_side("DOWNSTREAM", _downstream), **_side("UPSTREAM", _upstream)}
    for side in ("PEER", "LOCAL"):
        for kind, name in _KINDS.items():
            found[f"DOWNSTREAM_{side}_{kind}_SAN"] = _sans(_downstream, side.lower(), name)
        for kind in ("URI", "DNS", "IP"):
            found[f"UPSTREAM_{side}_{kind}_SAN"] = _sans(_upstream, side.lower(), _KINDS[kind])
    found["DOWNSTREAM_LOCAL_SUBJECT"] = _of_certificate(_downstream, "local", "subject")
    found["DOWNSTREAM_PEER_FINGERPRINT_256"] = _of_certificate(_downstream, "peer", "sha256")
    found["DOWNSTREAM_PEER_FINGERPRINT_1"] = _of_certificate(_downstream, "peer", "sha1")
    found["DOWNSTREAM_PEER_SERIAL"] = _of_certificate(_downstream, "peer", "serial")
    found["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256"] = _of_chain(_downstream, "sha256")
    found["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1"] = _of_chain(_downstream, "sha1")
    found["DOWNSTREAM_PEER_CHAIN_SERIALS"] = _of_chain(_downstream, "serial")
    return found


def cert_time(name: str, argument: str) -> Read:
    """``{DOWNSTREAM,UPSTREAM}_PEER_CERT_V_{START,END}(FORMAT)``.  Raises: SidecarError."""
    if has_newline(argument):
        raise SidecarError("Invalid header configuration. Format string contains newline.")
    text = compile_time_format(argument or _CERT_TIME, local=False)
    facts = _downstream if name.startswith("DOWNSTREAM") else _upstream
    attribute = "valid_from" if name.endswith("_START") else "expires_at"

    def read(stream: Stream) -> str | None:
        found = facts(stream)
        certificate = None if found is None else found.peer
        return None if certificate is None else text(getattr(certificate, attribute).timestamp())

    return read
