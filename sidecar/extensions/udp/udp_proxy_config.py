"""Compiles ``envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.matching import MatcherCompiler
from sidecar.config.compile.network_inputs import UDP_INPUTS
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.udp_socket import compile_udp_socket
from sidecar.config.errors import format_path, parse_path
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.core.hashing import xx_hash
from sidecar.extensions.udp.udp_proxy import UdpProxy, UdpProxyConfig
from sidecar.extensions.udp.udp_stats import UdpStats
from sidecar.net.datagrams import enable_transparent
from sidecar.observability.formatter import compile_text
from sidecar.router.hash_policy import by_source_ip

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.network import ServerParts
    from sidecar.config.errors import Path
    from sidecar.config.registry import Report

__all__ = ["UdpProxyFactory"]

_DEFAULT_IDLE_S = 60.0
_ROUTE = "envoy.extensions.filters.udp.udp_proxy.v3.Route"


class UdpProxyFactory:
    """The UDP listener filter that keeps sessions."""

    name = "envoy.filters.udp_listener.udp_proxy"
    category = "envoy.filters.udp_listener"
    config_type = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"

    def compile(self, message: Any, context: FactoryContext) -> UdpProxyCompiler:
        """A compiler that waits for the server's parts."""
        return UdpProxyCompiler(message, context)

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """Report what Envoy refuses beyond the rules."""
        others = {
            "tunneling_config": message.HasField("tunneling_config"),
            "session_filters": bool(message.session_filters),
        }
        for field, is_set in others.items():
            if message.use_per_packet_load_balancing and is_set:
                reason = f"Only one of use_per_packet_load_balancing or {field} can be used."
                report.error((*path, "use_per_packet_load_balancing"), reason)
        _check_tunnel(message, path, report)
        if message.use_original_src_ip and not _can_be_transparent():
            reason = (
                "The platform does not support either IP_TRANSPARENT or IPV6_TRANSPARENT. Or the envoy is not"
                " running with the CAP_NET_ADMIN capability."
            )
            report.error((*path, "use_original_src_ip"), reason)
        if message.WhichOneof("route_specifier") == "matcher":
            try:
                compile_udp_route(message.matcher, format_path((*path, "matcher")))
            except ConfigError as error:
                report.error(parse_path(error.path), error.reason)


class UdpProxyCompiler:
    """One UDP proxy's message (:class:`sidecar.api.udp.UdpFilterRecipe`)."""

    def __init__(self, message: Any, context: FactoryContext) -> None:
        self._message = message
        self._context = context

    def build_udp(self, parts: ServerParts) -> UdpProxy:
        """The filter.  Raises: ConfigError with a path from the bootstrap's root."""
        message, context = self._message, self._context
        if message.WhichOneof("route_specifier") == "cluster":
            cluster: str = message.cluster
            names, find_route = [cluster], _always(cluster)
        else:
            names, find_route = compile_udp_route(message.matcher, f"{context.path}.matcher")
        policy = None
        if message.hash_policies:
            (first,) = message.hash_policies
            policy = (
                by_source_ip() if first.WhichOneof("policy_specifier") == "source_ip" else _by_key(first.key)
            )
        idle_s = _DEFAULT_IDLE_S
        if message.HasField("idle_timeout"):
            idle_s = duration_s(message.idle_timeout)
        config = UdpProxyConfig(
            stat_prefix=message.stat_prefix,
            find_route=find_route,
            cluster_names=names,
            hash_policy=policy,
            idle_timeout_s=idle_s,
            upstream_socket=compile_udp_socket(message.upstream_socket_config, prefer_gro=True),
            use_original_src_ip=message.use_original_src_ip,
            use_per_packet_load_balancing=message.use_per_packet_load_balancing,
            session_logs=compile_access_logs(message, context, parts.registry),
            log_interval_s=duration_s(message.access_log_options.access_log_flush_interval),
            proxy_logs=compile_access_logs(message, context, parts.registry, field="proxy_access_log"),
        )
        stats = UdpStats(context.root_stats.scope(f"udp.{message.stat_prefix}"))
        return UdpProxy(config, stats, parts.reactor, context.find_cluster)


def compile_udp_route(matcher: Any, path: str) -> tuple[list[str], Callable[[Any], str | None]]:
    """Every cluster that the tree of ``matcher`` names, and how one is found.  Raises: ConfigError."""
    names: list[str] = []

    def route(action: Any, at: str) -> str:
        if action.cluster not in names:
            names.append(action.cluster)
        return str(action.cluster)

    tree = MatcherCompiler(UDP_INPUTS, {_ROUTE: route}, keeps_matching=True).tree(matcher, path)
    return names, tree.match


def _always(name: str) -> Callable[[Any], str | None]:
    return lambda connection: name


def _by_key(key: str) -> Callable[[Any, Any, bool], int | None]:
    """``key``: the same host for everybody."""
    value = xx_hash(key.encode())
    return lambda headers, stream, may_set_cookie: value


def _can_be_transparent() -> bool:
    """Whether this process may send from the addresses of others (CAP_NET_ADMIN)."""
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            enable_transparent(sock)
    except OSError:
        return False
    return True


def _check_tunnel(message: Any, path: Path, report: Report) -> None:
    """What is wrong with a tunnel is told, though tunnels are not served."""
    if not message.HasField("tunneling_config"):
        return
    tunnel = message.tunneling_config
    here = (*path, "tunneling_config")
    if tunnel.post_path and not tunnel.use_post:
        report.error((*here, "post_path"), "Can't set a post path when POST method isn't used")
    elif tunnel.post_path and not tunnel.post_path.startswith("/"):
        report.error((*here, "post_path"), "Path must start with '/'")
    if tunnel.HasField("proxy_port") and not 0 < tunnel.proxy_port.value <= 65535:
        report.error((*here, "proxy_port"), "Port value not in range")
    for field in ("proxy_host", "target_host"):
        try:
            compile_text(getattr(tunnel, field))
        except SidecarError as error:
            report.error((*here, field), str(error))
