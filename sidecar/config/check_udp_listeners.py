"""Mistakes in listeners of datagrams that no rule expresses (reasons in Envoy's words)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_socket_types", "check_udp_listener", "is_udp"]

_UDP = 1
#: Fields that mean something to connections alone; Envoy takes them, and looks at none.
_OF_CONNECTIONS = (
    "access_log",
    "connection_balance_config",
    "filter_chain_matcher",
    "listener_filters_timeout",
    "max_connections_to_accept_per_socket_event",
    "per_connection_buffer_limit_bytes",
    "tcp_backlog_size",
    "tcp_fast_open_queue_length",
    "use_original_dst",
)


def is_udp(listener: Any) -> bool:
    """Whether datagrams come to it."""
    return _is_udp_address(listener.address)


def _is_udp_address(address: Any) -> bool:
    has_socket = address.WhichOneof("address") == "socket_address"
    return has_socket and bool(address.socket_address.protocol == _UDP)


def check_socket_types(context: Context, path: Path, listener: Any) -> None:
    """All addresses of a listener take connections, or all take datagrams."""
    main = is_udp(listener)
    for index, extra in enumerate(listener.additional_addresses):
        if _is_udp_address(extra.address) is not main:
            context.report.error(
                (*path, "additional_addresses", index, "address"),
                f"listener {listener.name}: has different socket type. The listener only support same socket"
                " type for all the addresses.",
            )


def check_udp_listener(context: Context, path: Path, listener: Any) -> None:
    """One listener whose address has ``protocol: UDP``."""
    address = listener.address.socket_address
    prefix = f"error adding listener '{address.address}:{address.port_value}': "
    has_quic = listener.udp_listener_config.HasField("quic_options")
    count = len(listener.filter_chains)
    has_default = listener.HasField("default_filter_chain")
    if not has_quic and (count or has_default):
        at = (*path, "filter_chains" if count else "default_filter_chain")
        reason = f"{count} filter chain(s) specified for connection-less UDP listener."
        context.report.error(at, prefix + reason, "filters of datagrams are listener_filters")
    if has_quic:
        if not count and not has_default:
            context.report.error(path, prefix + "no filter chains specified", "add filter_chains")
        for index, chain in enumerate(listener.filter_chains):
            if not chain.HasField("transport_socket"):
                reason = "no transport socket specified for connection oriented UDP listener"
                context.report.error((*path, "filter_chains", index), prefix + reason)
    if listener.enable_mptcp:
        reason = f"listener {listener.name}: enable_mptcp can only be used with TCP listeners"
        context.report.error((*path, "enable_mptcp"), reason)
    if listener.HasField("bind_to_port") and not listener.bind_to_port.value:
        reason = f"listener {listener.name}: bind_to_port: false is not supported for UDP listeners"
        context.report.error((*path, "bind_to_port"), reason)
    for index, entry in enumerate(listener.listener_filters):
        here = (*path, "listener_filters", index)
        if entry.WhichOneof("config_type") == "config_discovery":
            reason = f"UDP listener filter: {entry.name} is configured with unsupported dynamic configuration"
            context.report.error((*here, "config_discovery"), reason)
        if entry.HasField("filter_disabled"):
            context.report.warning((*here, "filter_disabled"), _NO_EFFECT)
        if index:
            context.report.warning(here, "the filters before keep every datagram, as in Envoy")
    for field in _OF_CONNECTIONS:
        if field in {each.name for each, _ in listener.ListFields()}:
            context.report.warning((*path, field), _NO_EFFECT)


_NO_EFFECT = "has no effect on a UDP listener, as in Envoy"
