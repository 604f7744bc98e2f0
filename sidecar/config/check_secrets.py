"""Static secrets: one of a kind under a name, and of a kind that there is (reasons in Envoy's words)."""

from __future__ import annotations

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_bootstrap_secrets"]

#: Fields of ``envoy.extensions.transport_sockets.tls.v3.Secret``, and what Envoy calls their kinds.
_KINDS = {
    "tls_certificate": "TlsCertificate",
    "validation_context": "CertificateValidationContext",
    "session_ticket_keys": "TlsSessionTicketKeys",
    "generic_secret": "GenericSecret",
}


def check_bootstrap_secrets(context: Context) -> None:
    """``static_resources.secrets``: two of different kinds may share a name, two of one kind may not."""
    found: dict[tuple[str, str], Path] = {}
    for index, secret in enumerate(context.bootstrap.static_resources.secrets):
        path: Path = ("static_resources", "secrets", index)
        kind = secret.WhichOneof("type")
        if kind is None:
            context.report.error(path, "Secret type not implemented", f"add one of {', '.join(_KINDS)}")
            continue
        first = found.setdefault((kind, secret.name), path)
        if first is not path:
            context.report.error(
                (*path, "name"),
                f"Duplicate static {_KINDS[kind]} secret name {secret.name}",
                f"the first stands at {context.report_place(first)}",
            )
