"""TLS contexts: what each end must say, and where their secrets come from (reasons in Envoy's words)."""

from __future__ import annotations

from typing import Any

from sidecar.config.check_path_source import check_config_source
from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_downstream_tls", "check_upstream_tls"]


def check_downstream_tls(context: Context, path: Path, tls: Any) -> None:
    """A TLS server has a certificate, or says where it will come from."""
    common = tls.common_tls_context
    fields = [field.name for field, _ in common.ListFields()]
    if not any("certificate" in name for name in fields):
        context.report.error(
            path, "No TLS certificates found for server context", "add common_tls_context.tls_certificates"
        )
    _check_common(context, (*path, "common_tls_context"), common)
    if tls.HasField("session_ticket_keys_sds_secret_config"):
        here = (*path, "session_ticket_keys_sds_secret_config")
        _check_source(context, here, tls.session_ticket_keys_sds_secret_config, "TlsSessionTicketKeysSdsApi")


def check_upstream_tls(context: Context, path: Path, tls: Any) -> None:
    """A TLS client shows one certificate."""
    common = tls.common_tls_context
    here = (*path, "common_tls_context")
    if len(common.tls_certificates) + len(common.tls_certificate_sds_secret_configs) > 1:
        context.report.error(
            (*here, "tls_certificates"), "Multiple TLS certificates are not supported for client contexts"
        )
    _check_common(context, here, common)


def _check_common(context: Context, path: Path, common: Any) -> None:
    for index, each in enumerate(common.tls_certificate_sds_secret_configs):
        here = (*path, "tls_certificate_sds_secret_configs", index)
        _check_source(context, here, each, "TlsCertificateSdsApi")
    kind = common.WhichOneof("validation_context_type")
    field = "validation_context_sds_secret_config"
    if kind == field:
        _check_source(context, (*path, field), getattr(common, field), "CertificateValidationContextSdsApi")
    elif kind == "combined_validation_context":
        combined = common.combined_validation_context
        _check_source(
            context, (*path, kind, field), getattr(combined, field), "CertificateValidationContextSdsApi"
        )


def _check_source(context: Context, path: Path, config: Any, who: str) -> None:
    if not config.HasField("sds_config"):
        return
    context.require_node(path, who)
    check_config_source(context, (*path, "sds_config"), config.sds_config)
