"""``DownstreamTlsContext`` and ``UpstreamTlsContext`` compiled to the contexts of :mod:`sidecar.net`.

``envoy.extensions.transport_sockets.tls.v3``.  Reasons are Envoy's words where it refuses the same.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.route_timeouts import duration_s
from sidecar.config.compile.tls_certificates import compile_certificate, compile_rules
from sidecar.core.errors import ConfigError
from sidecar.net.tls_client import TlsClient
from sidecar.net.tls_context import ClientContext, ServerContext, TlsSettings
from sidecar.net.tls_library import library
from sidecar.net.tls_names import (
    DEFAULT_CIPHERS,
    DEFAULT_GROUPS,
    GROUPS,
    SIGNATURE_ALGORITHMS,
    openssl_ciphers,
)
from sidecar.net.tls_server import TlsServer
from sidecar.net.tls_verify import PeerRules

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_downstream_tls", "compile_upstream_tls"]

_VERSIONS = (
    None,
    ssl.TLSVersion.TLSv1,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)
_TICKET_KEY_BYTES = 80


def compile_downstream_tls(message: Any, context: FactoryContext) -> TlsServer:
    """The server's side of a filter chain.  Raises: ConfigError."""
    settings = _common(message.common_tls_context, context, is_server=True)
    path = context.path
    ticket_keys = [
        context.read_data_source(each, f"{path}.session_ticket_keys.keys[{index}]")
        for index, each in enumerate(message.session_ticket_keys.keys)
    ]
    for index, key in enumerate(ticket_keys):
        if len(key) != _TICKET_KEY_BYTES:
            reason = f"Incorrect TLS session ticket key length. Length {len(key)}, expected length 80."
            raise ConfigError(f"{path}.session_ticket_keys.keys[{index}]", reason)
    settings = replace(
        settings,
        requires_client_certificate=message.require_client_certificate.value,
        full_scan=message.full_scan_certs_on_sni_mismatch.value,
        prefers_client_ciphers=message.prefer_client_ciphers,
        ticket_keys=tuple(ticket_keys),
        has_tickets=not message.disable_stateless_session_resumption,
        has_session_cache=not message.disable_stateful_session_resumption,
        session_timeout_s=int(duration_s(message.session_timeout)),
    )
    if settings.requires_client_certificate and not settings.rules.asks_for_certificate:
        context.warn(
            f"{path}.require_client_certificate",
            "has no effect without a validation_context that says whom to trust, as in Envoy",
        )
    if not settings.identities:
        raise ConfigError(path, "No TLS certificates found for server context")
    try:
        return TlsServer(ServerContext(settings))
    except ValueError as error:
        raise ConfigError(f"{path}.common_tls_context", str(error)) from error


def compile_upstream_tls(message: Any, context: FactoryContext) -> TlsClient:
    """The client's side of a cluster.  Raises: ConfigError."""
    settings = _common(message.common_tls_context, context, is_server=False)
    if message.auto_sni_san_validation and not settings.rules.has_roots:
        raise ConfigError(
            f"{context.path}.auto_sni_san_validation",
            "'auto_sni_san_validation' was configured without a validation context",
        )
    settings = replace(
        settings,
        sni=message.sni,
        auto_host_sni=message.auto_host_sni,
        auto_sni_san_validation=message.auto_sni_san_validation,
        allows_renegotiation=message.allow_renegotiation,
        max_session_keys=message.max_session_keys.value if message.HasField("max_session_keys") else 1,
    )
    try:
        return TlsClient(ClientContext(settings))
    except ValueError as error:
        raise ConfigError(f"{context.path}.common_tls_context", str(error)) from error


def _common(common: Any, context: FactoryContext, *, is_server: bool) -> TlsSettings:
    """``CommonTlsContext`` at ``common_tls_context`` of the context's message.  Raises: ConfigError."""
    path = f"{context.path}.common_tls_context"
    identities = tuple(
        compile_certificate(each, f"{path}.tls_certificates[{index}]", context)
        for index, each in enumerate(common.tls_certificates)
    )
    rules = PeerRules()
    kind = common.WhichOneof("validation_context_type")
    if kind == "validation_context":
        rules = compile_rules(common.validation_context, f"{path}.validation_context", context)
    params = _parameters(common.tls_params, f"{path}.tls_params", is_server=is_server)
    alpn = tuple(common.alpn_protocols)
    return replace(params, identities=identities, rules=rules, alpn=alpn, key_log=common.key_log.path)


def _parameters(message: Any, path: str, *, is_server: bool) -> TlsSettings:
    minimum = _VERSIONS[message.tls_minimum_protocol_version] or ssl.TLSVersion.TLSv1_2
    default = ssl.TLSVersion.TLSv1_3 if is_server else ssl.TLSVersion.TLSv1_2
    maximum = _VERSIONS[message.tls_maximum_protocol_version] or default
    ciphers, refused = openssl_ciphers(tuple(message.cipher_suites) or DEFAULT_CIPHERS)
    if refused:
        reason = (
            f"Failed to initialize cipher suites {':'.join(message.cipher_suites)}. The following ciphers"
            f" were rejected when tried individually: {', '.join(refused)}"
        )
        raise ConfigError(f"{path}.cipher_suites", reason)
    return TlsSettings(
        minimum=minimum,
        maximum=maximum,
        ciphers=tuple(ciphers),
        groups=_groups(message, path),
        signature_algorithms=_signature_algorithms(message, path),
    )


def _groups(message: Any, path: str) -> str:
    """``ecdh_curves`` in OpenSSL's names; those that it lacks are left out where others are offered."""
    names = ":".join(message.ecdh_curves or DEFAULT_GROUPS).split(":")
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise ConfigError(
            f"{path}.ecdh_curves", f"Failed to initialize ECDH curves {':'.join(message.ecdh_curves)}"
        )
    known = [found for name in names if (found := GROUPS[name])]
    if not known:
        raise ConfigError(f"{path}.ecdh_curves", f"OpenSSL has none of {', '.join(names)}")
    if message.ecdh_curves and library() is None:
        raise ConfigError(f"{path}.ecdh_curves", "the OpenSSL of this Python cannot be told the groups")
    return ":".join(known)


def _signature_algorithms(message: Any, path: str) -> str:
    names = list(message.signature_algorithms)
    unknown = [name for name in names if name not in SIGNATURE_ALGORITHMS]
    if unknown:
        raise ConfigError(
            f"{path}.signature_algorithms",
            f"Failed to initialize TLS signature algorithms {':'.join(names)}",
        )
    if names and library() is None:
        raise ConfigError(
            f"{path}.signature_algorithms",
            "the OpenSSL of this Python cannot be told the signature algorithms",
        )
    return ":".join(names)
