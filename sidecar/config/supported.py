"""The fields of Envoy's API that sidecar implements: the positive table.

A field that is set in a configuration and neither stands here nor has an entry in
:mod:`sidecar.config.unsupported` gives a warning with its name and line, so that nothing is ever
ignored in silence (:mod:`sidecar.config.support` does the walk).  When a feature is built, its
fields move here; docs/supported-fields.md is generated from both tables.

``*`` stands for every field of the message.  A message that is reached through a supported field
must have a row of its own; a test checks that, and that every name exists in the API.
"""

from __future__ import annotations

__all__ = ["CORE_TYPES", "SUPPORTED"]

_CORE = "envoy.config.core.v3"
_ROUTE = "envoy.config.route.v3"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_ROWS: dict[str, str] = {
    # Bootstrap
    "envoy.config.bootstrap.v3.Bootstrap": "node static_resources admin",
    "envoy.config.bootstrap.v3.Bootstrap.StaticResources": "listeners clusters",
    "envoy.config.bootstrap.v3.Admin": "address access_log",
    f"{_CORE}.Node": "id cluster locality metadata",
    f"{_CORE}.Locality": "*",
    f"{_CORE}.Metadata": "*",
    # Addresses
    f"{_CORE}.Address": "socket_address pipe",
    f"{_CORE}.SocketAddress": "protocol address port_value ipv4_compat",
    f"{_CORE}.Pipe": "path mode",
    f"{_CORE}.DataSource": "filename inline_bytes inline_string environment_variable",
    # Listeners
    "envoy.config.listener.v3.Listener": (
        "name address additional_addresses stat_prefix filter_chains reuse_port enable_reuse_port "
        "access_log traffic_direction"
    ),
    "envoy.config.listener.v3.AdditionalAddress": "address",
    "envoy.config.listener.v3.FilterChain": "name filters",
    "envoy.config.listener.v3.Filter": "name typed_config",
    # HTTP connection manager
    _HCM: (
        "codec_type stat_prefix route_config http_filters access_log server_name "
        "server_header_transformation use_remote_address xff_num_trusted_hops skip_xff_append "
        "generate_request_id preserve_external_request_id always_set_request_id_in_response "
        "add_user_agent proxy_100_continue common_http_protocol_options http_protocol_options "
        "http2_protocol_options stream_idle_timeout request_timeout request_headers_timeout drain_timeout "
        "delayed_close_timeout via normalize_path merge_slashes"
    ),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": (
        "name typed_config is_optional disabled"
    ),
    f"{_CORE}.HttpProtocolOptions": "idle_timeout",
    f"{_CORE}.Http1ProtocolOptions": "accept_http_10 default_host_for_http_10",
    f"{_CORE}.Http2ProtocolOptions": (
        "max_concurrent_streams initial_stream_window_size initial_connection_window_size"
    ),
    # Routes
    f"{_ROUTE}.RouteConfiguration": (
        "name virtual_hosts request_headers_to_add request_headers_to_remove response_headers_to_add "
        "response_headers_to_remove validate_clusters most_specific_header_mutations_wins "
        "max_direct_response_body_size_bytes"
    ),
    f"{_ROUTE}.VirtualHost": (
        "name domains routes request_headers_to_add request_headers_to_remove response_headers_to_add "
        "response_headers_to_remove"
    ),
    f"{_ROUTE}.Route": (
        "name match route redirect direct_response request_headers_to_add request_headers_to_remove "
        "response_headers_to_add response_headers_to_remove"
    ),
    f"{_ROUTE}.RouteMatch": "prefix path safe_regex path_separated_prefix case_sensitive headers",
    f"{_ROUTE}.HeaderMatcher": (
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match "
        "contains_match string_match invert_match treat_missing_header_as_empty"
    ),
    "envoy.type.v3.Int64Range": "*",
    "envoy.type.matcher.v3.StringMatcher": "exact prefix suffix safe_regex contains ignore_case",
    "envoy.type.matcher.v3.RegexMatcher": "regex google_re2",
    "envoy.type.matcher.v3.RegexMatcher.GoogleRE2": "",
    "envoy.type.matcher.v3.RegexMatchAndSubstitute": "pattern substitution",
    f"{_ROUTE}.RouteAction": (
        "cluster weighted_clusters timeout idle_timeout prefix_rewrite host_rewrite_literal"
    ),
    f"{_ROUTE}.WeightedCluster": "clusters",
    f"{_ROUTE}.WeightedCluster.ClusterWeight": (
        "name weight request_headers_to_add request_headers_to_remove response_headers_to_add "
        "response_headers_to_remove"
    ),
    f"{_ROUTE}.RedirectAction": (
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite "
        "response_code strip_query"
    ),
    f"{_ROUTE}.DirectResponseAction": "status body",
    f"{_CORE}.HeaderValueOption": "header append append_action keep_empty_value",
    f"{_CORE}.HeaderValue": "key value raw_value",
    # Clusters
    "envoy.config.cluster.v3.Cluster": (
        "name alt_stat_name type connect_timeout lb_policy load_assignment "
        "typed_extension_protocol_options http2_protocol_options dns_refresh_rate respect_dns_ttl "
        "dns_lookup_family"
    ),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "cluster_name endpoints",
    "envoy.config.endpoint.v3.LocalityLbEndpoints": "locality lb_endpoints",
    "envoy.config.endpoint.v3.LbEndpoint": "endpoint load_balancing_weight",
    "envoy.config.endpoint.v3.Endpoint": "address hostname",
    _HTTP_OPTIONS: "explicit_http_config common_http_protocol_options",
    f"{_HTTP_OPTIONS}.ExplicitHttpConfig": "http_protocol_options http2_protocol_options",
    # Access logs
    "envoy.config.accesslog.v3.AccessLog": "name typed_config",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": (
        "path format json_format typed_json_format log_format"
    ),
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "log_format",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "log_format",
    f"{_CORE}.SubstitutionFormatString": (
        "text_format text_format_source json_format omit_empty_values content_type json_format_options"
    ),
    f"{_CORE}.JsonFormatOptions": "sort_properties",
    # HTTP filters
    "envoy.extensions.filters.http.router.v3.Router": "dynamic_stats suppress_envoy_headers",
    "envoy.extensions.filters.http.lua.v3.Lua": "inline_code default_source_code source_codes stat_prefix",
    "envoy.extensions.filters.http.wasm.v3.Wasm": "config",
    "envoy.extensions.wasm.v3.PluginConfig": "name root_id vm_config configuration fail_open failure_policy",
    "envoy.extensions.wasm.v3.VmConfig": (
        "vm_id runtime code configuration allow_precompiled environment_variables"
    ),
    "envoy.extensions.wasm.v3.EnvironmentVariables": "*",
    f"{_CORE}.AsyncDataSource": "local",
}


def _split(rows: dict[str, str]) -> dict[str, frozenset[str]]:
    return {name: frozenset(fields.split()) for name, fields in rows.items()}


SUPPORTED = _split(_ROWS)
#: Messages inside an Any that no extension stands for: the core reads them itself.
CORE_TYPES = frozenset((_HTTP_OPTIONS,))
