"""What a cluster, an ``envoy.extensions.clusters.dns.v3.DnsCluster`` or the bootstrap says about DNS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.messages import type_name, unpack
from sidecar.core.address import is_ip
from sidecar.core.errors import ConfigError
from sidecar.net.dns import ResolverSettings
from sidecar.upstream.cluster import DnsSettings

__all__ = ["ResolverSettings", "compile_dns", "compile_resolver"]

_CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_GETADDRINFO = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
_FAMILIES = {0: "AUTO", 1: "V4_ONLY", 2: "V6_ONLY", 3: "V4_PREFERRED", 4: "ALL"}
#: The enum of DnsCluster numbers the same families from UNSPECIFIED on.
_DNS_CLUSTER_FAMILIES = {0: "AUTO", 1: "AUTO", 2: "V4_ONLY", 3: "V6_ONLY", 4: "V4_PREFERRED", 5: "ALL"}


def compile_resolver(message: Any, context: FactoryContext) -> ResolverSettings | None:
    """The resolver that ``message`` names (a Cluster, a DnsCluster or a Bootstrap); None when it names none.

    Raises: ConfigError.
    """
    fields = message.DESCRIPTOR.fields_by_name
    if message.HasField("typed_dns_resolver_config"):
        packed = message.typed_dns_resolver_config.typed_config
        kind = type_name(packed.type_url)
        config = unpack(packed) if kind in (_CARES, _GETADDRINFO) else None
        if config is not None and kind == _GETADDRINFO:
            retries = config.num_retries.value if config.HasField("num_retries") else None
            return ResolverSettings("getaddrinfo", num_retries=retries)
        if config is None:
            path = (
                f"{context.path}.typed_dns_resolver_config" if context.path else "typed_dns_resolver_config"
            )
            context.warn(
                path, f"resolver {kind or 'without a type'} is not available: /etc/hosts and DNS are used"
            )
            return ResolverSettings()
        settings = _from_options(config, context, "typed_dns_resolver_config.typed_config")
        return _with_cares(settings, config)
    if "dns_resolution_config" in fields and message.HasField("dns_resolution_config"):
        return _from_options(message.dns_resolution_config, context, "dns_resolution_config")
    use_tcp = "use_tcp_for_dns_lookups" in fields and message.use_tcp_for_dns_lookups
    if "dns_resolvers" in fields and message.dns_resolvers:
        servers = _servers(message.dns_resolvers, context, "dns_resolvers")
        return ResolverSettings(servers=servers, use_tcp=use_tcp)
    return ResolverSettings(use_tcp=True) if use_tcp else None


def compile_dns(
    cluster: Any, dns_cluster: Any, context: FactoryContext, resolver: ResolverSettings | None
) -> DnsSettings:
    """The settings of a DNS cluster; ``dns_cluster`` (or None) goes before the cluster's own fields."""
    source = cluster if dns_cluster is None else dns_cluster
    families = _FAMILIES if dns_cluster is None else _DNS_CLUSTER_FAMILIES
    chosen = compile_resolver(source, context) or resolver or ResolverSettings()
    failure_base = failure_max = None
    if source.HasField("dns_failure_refresh_rate"):
        rate = source.dns_failure_refresh_rate
        failure_base = _seconds(rate.base_interval)
        failure_max = _seconds(rate.max_interval) if rate.HasField("max_interval") else failure_base * 10
        if failure_max < failure_base:
            raise ConfigError(
                f"{context.path}.dns_failure_refresh_rate" if context.path else "dns_failure_refresh_rate",
                "max_interval must be greater than or equal to the base_interval",
            )
    wait = not cluster.HasField("wait_for_warm_on_init") or cluster.wait_for_warm_on_init.value
    return DnsSettings(
        lookup_family=families[source.dns_lookup_family],
        refresh_rate_s=_seconds(source.dns_refresh_rate) if source.HasField("dns_refresh_rate") else 5.0,
        jitter_s=_seconds(source.dns_jitter) if source.HasField("dns_jitter") else 0.0,
        respect_ttl=source.respect_dns_ttl,
        failure_base_s=failure_base,
        failure_max_s=failure_max,
        resolver=chosen,
        min_refresh_rate_s=_seconds(dns_cluster.dns_min_refresh_rate) if dns_cluster is not None else 0.0,
        wait_for_warm_on_init=wait,
    )


def _from_options(config: Any, context: FactoryContext, path: str) -> ResolverSettings:
    options = config.dns_resolver_options
    return ResolverSettings(
        servers=_servers(config.resolvers, context, f"{path}.resolvers"),
        use_tcp=options.use_tcp_for_dns_lookups,
        no_default_search_domain=options.no_default_search_domain,
    )


def _with_cares(settings: ResolverSettings, config: Any) -> ResolverSettings:
    """The same with what c-ares alone has."""
    default = ResolverSettings()
    return replace(
        settings,
        servers_are_fallback=config.use_resolvers_as_fallback,
        filter_unroutable_families=config.filter_unroutable_families,
        rotate_nameservers=config.rotate_nameservers,
        # Envoy looks at no rule of this message: 0 is as good as nothing.
        query_timeout_s=float(config.query_timeout_seconds.value) or default.query_timeout_s,
        query_tries=config.query_tries.value or default.query_tries,
        edns0_payload_bytes=config.edns0_max_payload_size.value,
        cache_ttl_s=config.qcache_max_ttl.value,
        reinit_on_timeout=config.reinit_channel_on_timeout,
    )


def _servers(addresses: Any, context: FactoryContext, path: str) -> tuple[tuple[str, int], ...]:
    found = []
    for index, address in enumerate(addresses):
        server = address.socket_address
        if not is_ip(server.address):
            where = f"{path}[{index}].socket_address.address"
            raise ConfigError(
                f"{context.path}.{where}" if context.path else where,
                f"malformed IP address: {server.address}",
            )
        found.append((server.address, server.port_value or 53))
    return tuple(found)


def _seconds(duration: Any) -> float:
    seconds: float = duration.seconds + duration.nanos / 1e9
    return seconds
