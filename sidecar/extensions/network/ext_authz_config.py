"""Compiles ``envoy.extensions.filters.network.ext_authz.v3.ExtAuthz``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.grpc_service import compile_grpc_client
from sidecar.config.compile.value_matchers import compile_metadata_matcher
from sidecar.config.errors import Path
from sidecar.config.registry import Report
from sidecar.extensions.authz.authz_config import compile_labels
from sidecar.extensions.network.ext_authz import NetworkExtAuthz, NetworkSettings

__all__ = ["NetworkExtAuthzFactory"]

_TIMEOUT_S = 0.2
#: Of ``envoy.config.core.v3.ApiVersion``.
_V2 = 1


class NetworkExtAuthzFactory:
    """``envoy.filters.network.ext_authz``."""

    name = "envoy.filters.network.ext_authz"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.transport_api_version == _V2:
            here = (*path, "transport_api_version")
            report.error(here, "the v2 xDS major version is no longer supported", "write V3")

    def compile(self, message: Any, context: FactoryContext) -> NetworkExtAuthz:
        """The filter.  Raises: ConfigError."""
        enabled = None
        if message.HasField("filter_enabled_metadata"):
            at = f"{context.path}.filter_enabled_metadata"
            enabled = compile_metadata_matcher(message.filter_enabled_metadata, at)
        client = None
        if message.HasField("grpc_service"):
            service = context.at("grpc_service")
            client = compile_grpc_client(message.grpc_service, service, default_timeout_s=_TIMEOUT_S)
        settings = NetworkSettings(
            failure_mode_allow=message.failure_mode_allow,
            include_peer_certificate=message.include_peer_certificate,
            include_tls_session=message.include_tls_session,
            filter_enabled_metadata=enabled,
            labels=compile_labels(message, context),
            metadata_context_namespaces=tuple(message.metadata_context_namespaces),
            shadow_mode=message.shadow_mode,
        )
        scope = context.root_stats.scope(f"ext_authz.{message.stat_prefix}")
        return NetworkExtAuthz(settings, client, scope)
