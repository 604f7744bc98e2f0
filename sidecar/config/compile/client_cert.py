"""``forward_client_cert_details`` of a connection manager."""

from __future__ import annotations

from typing import Any

from sidecar.http.client_cert import ClientCert

__all__ = ["compile_client_cert"]

_MODES = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")
_DETAILS = ("cert", "chain", "subject", "uri", "dns")


def compile_client_cert(message: Any) -> ClientCert | None:
    """What ``HttpConnectionManager`` says of x-forwarded-client-cert; None where it is only taken away."""
    mode = _MODES[message.forward_client_cert_details]
    if mode == "SANITIZE":
        return None
    wanted = message.set_current_client_cert_details
    details = tuple(
        name for name in _DETAILS if (wanted.subject.value if name == "subject" else getattr(wanted, name))
    )
    return ClientCert(mode, details)
