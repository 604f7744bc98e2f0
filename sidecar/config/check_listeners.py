"""Mistakes in listeners and filter chains that no rule expresses (reasons in Envoy's words)."""

from __future__ import annotations

import ipaddress
from typing import Any

from sidecar.config.check_clusters import is_ip
from sidecar.config.check_filter_chains import check_chain_choice
from sidecar.config.check_udp_listeners import check_socket_types, check_udp_listener, is_udp
from sidecar.config.check_upgrades import check_upgrades
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name

__all__ = ["TERMINAL", "check_admin", "check_bootstrap_listeners", "check_http_filters", "check_listener"]

_NETWORK = "envoy.extensions.filters.network"
_HTTP = "envoy.extensions.filters.http"
#: Messages of the filters that end a chain.
TERMINAL = {
    "network": frozenset(
        f"{_NETWORK}.{name}"
        for name in (
            "http_connection_manager.v3.HttpConnectionManager",
            "tcp_proxy.v3.TcpProxy",
            "redis_proxy.v3.RedisProxy",
            "thrift_proxy.v3.ThriftProxy",
            "dubbo_proxy.v3.DubboProxy",
            "echo.v3.Echo",
            "direct_response.v3.Config",
            "generic_proxy.v3.GenericProxy",
        )
    ),
    "http": frozenset((f"{_HTTP}.router.v3.Router", f"{_HTTP}.mcp_router.v3.McpRouter")),
}
#: These may end a chain or not, as their configuration says; they are not judged.
_EITHER = frozenset(
    (
        f"{_NETWORK}.wasm.v3.Wasm",
        f"{_NETWORK}.dynamic_modules.v3.DynamicModuleNetworkFilter",
        f"{_HTTP}.dynamic_modules.v3.DynamicModuleFilter",
        f"{_HTTP}.composite.v3.Composite",
    )
)


def check_bootstrap_listeners(context: Context) -> None:
    """Names and addresses across the static listeners."""
    names: dict[str, Path] = {}
    addresses: dict[str, str] = {}
    for index, listener in enumerate(context.bootstrap.static_resources.listeners):
        path: Path = ("static_resources", "listeners", index)
        if listener.name and listener.name in names:
            context.report.error(
                (*path, "name"),
                f"duplicate listener '{listener.name}'",
                f"the first stands at {context.report_place(names[listener.name])}",
            )
            continue
        names.setdefault(listener.name, (*path, "name"))
        address = listener.address.socket_address
        if listener.address.WhichOneof("address") == "socket_address" and address.port_value:
            text = f"{address.address}:{address.port_value}/{address.protocol}"
            if text in addresses:
                context.report.error(
                    (*path, "address"),
                    f"error adding listener: '{listener.name}' has duplicate address"
                    f" '{address.address}:{address.port_value}' as existing listener '{addresses[text]}'",
                )
            addresses.setdefault(text, listener.name)


def check_listener(context: Context, path: Path, listener: Any) -> None:
    """One ``envoy.config.listener.v3.Listener``."""
    if listener.HasField("internal_listener") or listener.HasField("api_listener"):
        return
    if not listener.HasField("address"):
        if not context.report.has_failed((*path, "address")):
            context.report.error(path, f"error adding listener named '{listener.name}': address is necessary")
    else:
        _check_address(context, (*path, "address"), listener.address)
        _check_families(context, (*path, "address"), listener.address, listener.address)
    for index, extra in enumerate(listener.additional_addresses):
        here = (*path, "additional_addresses", index, "address")
        _check_address(context, here, extra.address)
        _check_families(context, here, extra.address, listener.address)
    check_socket_types(context, path, listener)
    if is_udp(listener):
        check_udp_listener(context, path, listener)
        return
    has_chains = listener.filter_chains or listener.HasField("default_filter_chain")
    if not has_chains and not context.report.has_failed((*path, "filter_chains")):
        context.report.error(path, "error adding listener: no filter chains specified", "add filter_chains")
    check_chain_choice(context, path, listener)
    for index, chain in enumerate(listener.filter_chains):
        _check_order(context, (*path, "filter_chains", index, "filters"), chain.filters, "network")
    if listener.HasField("default_filter_chain"):
        _check_order(
            context,
            (*path, "default_filter_chain", "filters"),
            listener.default_filter_chain.filters,
            "network",
        )


def check_admin(context: Context, path: Path, admin: Any) -> None:
    """``envoy.config.bootstrap.v3.Admin``: its address is one to listen at."""
    if admin.HasField("address"):
        _check_address(context, (*path, "address"), admin.address)


def check_http_filters(context: Context, path: Path, manager: Any) -> None:
    """The order of a connection manager's ``http_filters``, and what is for clusters alone."""
    _check_order(context, (*path, "http_filters"), manager.http_filters, "http")
    if manager.common_http_protocol_options.HasField("max_response_headers_kb"):
        context.report.error(
            (*path, "common_http_protocol_options", "max_response_headers_kb"),
            "max_response_headers_kb cannot be set on http_connection_manager",
            "set it in the clusters' common_http_protocol_options",
        )
    last = manager.http_filters[-1] if manager.http_filters else None
    if last is not None and last.disabled:
        context.report.error(
            (*path, "http_filters", len(manager.http_filters) - 1, "disabled"),
            f"Error: the last (terminal) filter ({last.name}) in the chain cannot be disabled by default.",
        )
    check_upgrades(context, path, manager)
    for index, config in enumerate(manager.upgrade_configs):
        if config.filters:
            here = (*path, "upgrade_configs", index, "filters")
            _check_order(context, here, config.filters, "http", "http upgrade")


def _check_families(context: Context, path: Path, address: Any, first: Any) -> None:
    """``ipv4_compat`` is for an address of both families; Envoy always judges the listener's first."""
    judged = first.socket_address
    if not address.socket_address.ipv4_compat or not is_ip(judged.address):
        return
    host = ipaddress.ip_address(judged.address)
    if host.version == 6 and (host.is_unspecified or host.ipv4_mapped is not None):
        return
    shown = f"[{host}]" if host.version == 6 else str(host)
    context.report.error(
        (*path, "socket_address", "ipv4_compat"),
        "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat:"
        f" {shown}:{judged.port_value}",
    )


def _check_address(context: Context, path: Path, address: Any) -> None:
    socket_address = address.socket_address
    if address.WhichOneof("address") != "socket_address" or socket_address.resolver_name:
        return
    here = (*path, "socket_address")
    if socket_address.address and not is_ip(socket_address.address):
        context.report.error((*here, "address"), f"malformed IP address: {socket_address.address}")
    if socket_address.WhichOneof("port_specifier") == "named_port":
        context.report.error(
            (*here, "named_port"), "IP resolver can't handle port specifier type 4", "set port_value"
        )


def _check_order(context: Context, path: Path, filters: Any, kind: str, chain: str = "") -> None:
    chain = chain or kind
    last = len(filters) - 1
    for index, entry in enumerate(filters):
        name = type_name(entry.typed_config.type_url)
        if not name or name in _EITHER or context.report.has_failed((*path, index)):
            continue
        is_terminal = name in TERMINAL[kind]
        if is_terminal and index != last:
            context.report.error(
                (*path, index),
                f"Error: terminal filter named {entry.name} must be the last filter in a {chain}"
                " filter chain",
                "move it to the end",
            )
        elif not is_terminal and index == last:
            hint = None
            if kind == "http":
                hint = (
                    "add:\n- name: envoy.filters.http.router\n  typed_config:\n"
                    f'    "@type": type.googleapis.com/{_HTTP}.router.v3.Router'
                )
            context.report.error(
                (*path, index),
                f"Error: non-terminal filter named {entry.name} is the last filter in a {chain} filter chain",
                hint,
            )
