"""The PROXY protocol towards hosts, compiled: ``ProxyProtocolUpstreamTransport`` and what endpoints add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.substitution_format import compile_substitution_format
from sidecar.config.messages import unpack
from sidecar.core.errors import ConfigError
from sidecar.upstream.proxy_protocol_socket import AddedTlv, ProxyProtocolSocket

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_host_tlvs", "compile_proxy_protocol"]

_KEY = "envoy.transport_sockets.proxy_protocol"
_PER_HOST = "envoy.config.core.v3.PerHostConfig"
_INCLUDE_ALL = 0


def compile_proxy_protocol(message: Any, context: FactoryContext) -> ProxyProtocolSocket:
    """The layer of a ``ProxyProtocolUpstreamTransport``.  Raises: ConfigError, its path from ``message``."""
    config = message.config
    passes: frozenset[int] | None = frozenset()
    if config.HasField("pass_through_tlvs"):
        passing = config.pass_through_tlvs
        passes = frozenset(kind & 0xFF for kind in passing.tlv_type)
        if passing.match_type == _INCLUDE_ALL:
            passes = None
    added: list[AddedTlv] = []
    for index, entry in enumerate(config.added_tlvs):
        path = f"config.added_tlvs[{index}]"
        if entry.HasField("format_string"):
            if entry.value:
                reason = "Invalid TLV configuration: only one of 'value' or 'format_string' may be set."
                raise ConfigError(path, reason)
            line = compile_substitution_format(entry.format_string, context, f"{path}.format_string")
            added.append((entry.type, line))
        elif entry.value:
            added.append((entry.type, entry.value))
        else:
            reason = "Invalid TLV configuration: one of 'value' or 'format_string' must be set."
            raise ConfigError(path, reason)
    return ProxyProtocolSocket(config.version + 1, passes=passes, added=added)


def compile_host_tlvs(metadata: Any) -> tuple[tuple[int, bytes], ...]:
    """What an endpoint's metadata adds; a format there counts for nothing, as in Envoy."""
    packed = metadata.typed_filter_metadata.get(_KEY)
    if packed is None or packed.type_url.rpartition("/")[2] != _PER_HOST:
        return ()
    config: Any = unpack(packed)
    if config is None:
        return ()
    return tuple((entry.type & 0xFF, entry.value) for entry in config.added_tlvs)
