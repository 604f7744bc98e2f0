"""Compiles ``envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.core.errors import ConfigError
from sidecar.extensions.listener.proxy_protocol import NAMESPACE, ProxyProtocol, TlvRule

__all__ = ["ProxyProtocolFactory"]

_INCLUDE_ALL = 0
_BASE64 = 2
_FILTER_STATE = 1


class ProxyProtocolFactory:
    """Addresses and TLVs of the PROXY protocol."""

    name = "envoy.filters.listener.proxy_protocol"
    category = "envoy.filters.listener"
    config_type = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"

    def compile(self, message: Any, context: FactoryContext) -> ProxyProtocol:
        disallowed = frozenset(version + 1 for version in message.disallowed_versions)
        if len(disallowed) > 1:
            reason = "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed."
            raise ConfigError("disallowed_versions", reason)
        rules = {}
        for rule in message.rules:
            found = rule.on_tlv_present
            namespace = found.metadata_namespace or NAMESPACE
            rules[rule.tlv_type & 0xFF] = TlvRule(
                namespace, found.key, found.value_string_encoding == _BASE64
            )
        passes: frozenset[int] | None = frozenset()
        if message.HasField("pass_through_tlvs"):
            passing = message.pass_through_tlvs
            passes = frozenset(kind & 0xFF for kind in passing.tlv_type)
            if passing.match_type == _INCLUDE_ALL:
                passes = None
        return ProxyProtocol(
            context.root_stats,
            message.stat_prefix,
            is_optional=message.allow_requests_without_proxy_protocol,
            disallowed=disallowed,
            rules=rules,
            passes=passes,
            in_filter_state=message.tlv_location == _FILTER_STATE,
        )
