"""x-forwarded-client-cert: what an upstream is told of the client's certificate.

``HttpConnectionManager.forward_client_cert_details`` and ``set_current_client_cert_details``; Envoy's
``ConnectionManagerUtility::mutateXfccRequestHeader``.
"""

from __future__ import annotations

from typing import Any

from sidecar.core.headers import RequestHeaders

__all__ = ["ClientCert"]

_NAME = b"x-forwarded-client-cert"


class ClientCert:
    """One mode; SANITIZE, which only takes away, needs none of this.

    ``details``: ``cert``, ``chain``, ``subject``, ``uri``, ``dns``, those that are set, in this order.
    """

    def __init__(self, mode: str, details: tuple[str, ...]) -> None:
        self.mode = mode
        self._details = details

    def apply(self, headers: RequestHeaders, tls: Any) -> None:
        """Change the header.  ``tls`` is a :class:`sidecar.net.tls_facts.TlsFacts`, None without TLS."""
        mode = self.mode
        if mode == "ALWAYS_FORWARD_ONLY":
            return
        if tls is None or not tls.has_peer:
            headers.remove(_NAME)
            return
        if mode == "FORWARD_ONLY":
            return
        element = self._element(tls)
        found = headers.get(_NAME) if mode == "APPEND_FORWARD" else None
        headers.set(_NAME, found + b"," + element if found else element)

    def _element(self, tls: Any) -> bytes:
        local, peer = tls.local, tls.peer
        parts = [f"By={uri}" for uri in local.sans("URI")] if local is not None else []
        if peer is not None:
            parts.append(f"Hash={peer.sha256}")
            for detail in self._details:
                parts += _DETAILS[detail](tls, peer)
        return ";".join(parts).encode("utf-8", "replace")


_DETAILS: dict[str, Any] = {
    "cert": lambda tls, peer: [f'Cert="{peer.url_encoded_pem}"'],
    "chain": lambda tls, peer: [f'Chain="{"".join(each.url_encoded_pem for each in tls.peer_chain)}"'],
    "subject": lambda tls, peer: [f'Subject="{peer.subject}"'],
    "uri": lambda tls, peer: [f"URI={uri}" for uri in peer.sans("URI")] or ["URI="],
    "dns": lambda tls, peer: [f"DNS={name}" for name in peer.sans("DNS")],
}
