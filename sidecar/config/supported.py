"""The fields of Envoy's API that sidecar implements: the positive table.

A field that is set in a configuration and neither stands here nor has an entry in
:mod:`sidecar.config.unsupported` gives a warning with its name and line, so that nothing is ever
ignored in silence (:mod:`sidecar.config.support` does the walk).  When a feature is built, its
fields move here; docs/supported-fields.md is generated from both tables.

``*`` stands for every field of the message.  A message that is reached through a supported field
must have a row of its own; a test checks that, and that every name exists in the API.  Where a message
means more in one place than elsewhere, :data:`SUPPORTED_AT` has the row of that place.
"""

from __future__ import annotations

from sidecar.config.own_messages import MESSAGES as OWN_MESSAGES

__all__ = ["CORE_TYPES", "SUPPORTED", "SUPPORTED_AT"]

_CORE = "envoy.config.core.v3"
_ADDRESS_SELECTOR = "envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector"
_ROUTE = "envoy.config.route.v3"
_OTEL = "envoy.config.trace.v3.OpenTelemetryConfig"
_TRACERS = "envoy.extensions.tracers.opentelemetry"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CLUSTER = "envoy.config.cluster.v3.Cluster"
_ENDPOINT = "envoy.config.endpoint.v3"
_IP_DETECTION = "envoy.extensions.http.original_ip_detection"
_LOG = "envoy.config.accesslog.v3"
_XDS = "xds.type.matcher.v3"
_MATCHER = "envoy.type.matcher.v3"
_FORMATTER = "envoy.extensions.formatter"
_LB = "envoy.extensions.load_balancing_policies"
_REDIRECT = "envoy.extensions.internal_redirect"
_DNS_CLUSTER = "envoy.extensions.clusters.dns.v3.DnsCluster"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_GETADDRINFO = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
_CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"

_RESOURCE_MONITORS = "envoy.extensions.resource_monitors"
_JWT = "envoy.extensions.filters.http.jwt_authn.v3"
_RBAC = "envoy.config.rbac.v3"
_NETWORK_FILTERS = "envoy.extensions.filters.network"
_UDP_PROXY = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3"
_PROC = "envoy.extensions.filters.http.ext_proc.v3"
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_LISTENER_FILTERS = "envoy.extensions.filters.listener"
_COMPRESSION = "envoy.extensions.compression"
_NETWORK_INPUTS = "envoy.extensions.matching.common_inputs.network.v3"
_NETWORK_INPUT_NAMES = (
    "DestinationIPInput",
    "DestinationPortInput",
    "SourceIPInput",
    "SourcePortInput",
    "DirectSourceIPInput",
    "SourceTypeInput",
    "ServerNameInput",
    "TransportProtocolInput",
    "ApplicationProtocolInput",
    "NetworkNamespaceInput",
)

_PREDICATE = "envoy.config.common.matcher.v3.MatchPredicate"
_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_PRESERVE_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"

_ROWS: dict[str, str] = {
    # Bootstrap
    "envoy.config.bootstrap.v3.Bootstrap": (
        "node static_resources cluster_manager admin stats_config stats_flush_interval stats_flush_on_admin "
        "use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config bootstrap_extensions "
        "stats_sinks dynamic_resources overload_manager tracing layered_runtime application_log_config "
        "enable_dispatcher_stats"
    ),
    "envoy.config.bootstrap.v3.LayeredRuntime": "*",
    "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig": "*",
    "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat": "*",
    "envoy.config.bootstrap.v3.RuntimeLayer": "*",
    "envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer": "*",
    "envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer": "",
    "envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer": "*",
    "envoy.service.runtime.v3.Runtime": "*",
    "envoy.config.overload.v3.OverloadManager": (
        "refresh_interval resource_monitors actions loadshed_points buffer_factory_config"
    ),
    "envoy.config.overload.v3.BufferFactoryConfig": "*",
    "envoy.config.overload.v3.ResourceMonitor": "*",
    "envoy.config.overload.v3.OverloadAction": "*",
    "envoy.config.overload.v3.LoadShedPoint": "*",
    "envoy.config.overload.v3.Trigger": "*",
    "envoy.config.overload.v3.ThresholdTrigger": "*",
    "envoy.config.overload.v3.ScaledTrigger": "*",
    "envoy.config.overload.v3.ScaleTimersOverloadActionConfig": "*",
    "envoy.config.overload.v3.ScaleTimersOverloadActionConfig.ScaleTimer": "*",
    "envoy.config.overload.v3.ShrinkHeapConfig": "*",
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": "*",
    f"{_RESOURCE_MONITORS}.fixed_heap.v3.FixedHeapConfig": "*",
    f"{_CORE}.RuntimeUInt64": "*",
    f"{_RESOURCE_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig": "*",
    f"{_RESOURCE_MONITORS}.cpu_utilization.v3.CpuUtilizationConfig": "*",
    f"{_RESOURCE_MONITORS}.injected_resource.v3.InjectedResourceConfig": "*",
    "envoy.config.bootstrap.v3.Bootstrap.DynamicResources": "lds_config cds_config ads_config",
    f"{_HCM.rpartition('.')[0]}.Rds": "*",
    f"{_HCM.rpartition('.')[0]}.ScopedRds": "scoped_rds_config_source",
    f"{_HCM.rpartition('.')[0]}.ScopedRouteConfigurationsList": "*",
    **{
        f"{_HCM.rpartition('.')[0]}.ScopedRoutes{each}": "*"
        for each in (
            "",
            ".ScopeKeyBuilder",
            ".ScopeKeyBuilder.FragmentBuilder",
            ".ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor",
            ".ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement",
        )
    },
    f"{_ROUTE}.ScopedRouteConfiguration": "*",
    f"{_ROUTE}.ScopedRouteConfiguration.Key": "*",
    f"{_ROUTE}.ScopedRouteConfiguration.Key.Fragment": "*",
    f"{_ROUTE}.Vhds": "*",
    f"{_CORE}.AggregatedConfigSource": "",
    f"{_CORE}.ExtensionConfigSource": "*",
    f"{_CORE}.RateLimitSettings": "*",
    f"{_CORE}.ApiConfigSource": (
        "api_type transport_api_version grpc_services set_node_on_first_message_only rate_limit_settings "
        "cluster_names refresh_delay request_timeout"
    ),
    "envoy.config.bootstrap.v3.Bootstrap.StaticResources": "listeners clusters secrets",
    "envoy.config.bootstrap.v3.Admin": "*",
    "envoy.config.metrics.v3.StatsConfig": (
        "stats_tags use_all_default_tags stats_matcher histogram_bucket_settings"
    ),
    "envoy.config.metrics.v3.TagSpecifier": "*",
    "envoy.config.metrics.v3.StatsMatcher": "*",
    "envoy.config.metrics.v3.HistogramBucketSettings": "match buckets",
    "envoy.type.matcher.v3.ListStringMatcher": "*",
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
        "name address additional_addresses stat_prefix filter_chains filter_chain_matcher "
        "default_filter_chain reuse_port "
        "enable_reuse_port traffic_direction tcp_backlog_size per_connection_buffer_limit_bytes "
        "listener_filters listener_filters_timeout continue_on_listener_filters_timeout use_original_dst "
        "access_log transparent freebind bind_to_port socket_options tcp_fast_open_queue_length enable_mptcp "
        "max_connections_to_accept_per_socket_event connection_balance_config drain_type "
        "ignore_global_conn_limit udp_listener_config bypass_overload_manager metadata"
    ),
    "envoy.config.listener.v3.UdpListenerConfig": "downstream_socket_config",
    f"{_CORE}.UdpSocketConfig": "*",
    _UDP_PROXY: (
        "stat_prefix cluster matcher idle_timeout use_original_src_ip hash_policies upstream_socket_config "
        "use_per_packet_load_balancing access_log proxy_access_log session_filters access_log_options"
    ),
    f"{_UDP_PROXY}.HashPolicy": "*",
    f"{_UDP_PROXY}.SessionFilter": "name typed_config",
    f"{_UDP_PROXY}.UdpAccessLogOptions": "access_log_flush_interval",
    "envoy.extensions.filters.udp.udp_proxy.v3.Route": "*",
    "envoy.config.listener.v3.AdditionalAddress": "*",
    "envoy.config.listener.v3.Listener.ConnectionBalanceConfig": "exact_balance",
    "envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance": "",
    "envoy.config.listener.v3.FilterChain": (
        "name filters filter_chain_match metadata transport_socket transport_socket_connect_timeout"
    ),
    "envoy.config.listener.v3.FilterChainMatch": "*",
    **{f"{_NETWORK_INPUTS}.{name}": "" for name in _NETWORK_INPUT_NAMES},
    "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput": "",
    "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput": "",
    "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput": "",
    "envoy.config.listener.v3.Filter": "name typed_config config_discovery",
    "envoy.config.listener.v3.ListenerFilter": "name typed_config config_discovery filter_disabled",
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate": "*",
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": "*",
    "envoy.type.v3.Int32Range": "*",
    f"{_TCP}": (
        "stat_prefix cluster weighted_clusters metadata_match idle_timeout access_log max_connect_attempts "
        "backoff_options hash_policy max_downstream_connection_duration "
        "max_downstream_connection_duration_jitter_percentage access_log_flush_interval "
        "flush_access_log_on_connected access_log_options tunneling_config "
        "upstream_connect_mode max_early_data_bytes check_drain_close "
        "proxy_protocol_tlvs proxy_protocol_tlv_merge_policy on_demand"
    ),
    f"{_TCP}.OnDemand": "odcds_config timeout",
    f"{_TCP}.TunnelingConfig": "*",
    f"{_NETWORK_FILTERS}.set_filter_state.v3.Config": "on_new_connection on_downstream_tls_handshake",
    "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": (
        "object_key factory_key format_string read_only skip_if_empty"
    ),
    f"{_TCP}.WeightedCluster": "*",
    f"{_NETWORK_FILTERS}.rbac.v3.RBAC": (
        "rules shadow_rules matcher shadow_matcher shadow_rules_stat_prefix stat_prefix enforcement_type "
        "delay_deny"
    ),
    f"{_RBAC}.RBAC": "action policies",
    f"{_RBAC}.Policy": "permissions principals condition cel_config",
    f"{_RBAC}.Permission": (
        "and_rules or_rules any header url_path destination_ip destination_port destination_port_range "
        "metadata not_rule requested_server_name uri_template sourced_metadata"
    ),
    f"{_RBAC}.Permission.Set": "*",
    f"{_RBAC}.Principal": (
        "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata "
        "not_id filter_state sourced_metadata"
    ),
    f"{_RBAC}.Principal.Set": "*",
    f"{_RBAC}.SourcedMetadata": "*",
    f"{_RBAC}.Action": "*",
    "envoy.extensions.filters.http.rbac.v3.RBAC": "*",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": "*",
    f"{_RBAC}.Principal.Authenticated": "*",
    f"{_MATCHER}.PathMatcher": "*",
    f"{_NETWORK_FILTERS}.sni_cluster.v3.SniCluster": "",
    f"{_NETWORK_FILTERS}.connection_limit.v3.ConnectionLimit": "*",
    f"{_NETWORK_FILTERS}.local_ratelimit.v3.LocalRateLimit": "stat_prefix token_bucket runtime_enabled",
    f"{_NETWORK_FILTERS}.echo.v3.Echo": "",
    f"{_NETWORK_FILTERS}.direct_response.v3.Config": "*",
    f"{_TCP}.WeightedCluster.ClusterWeight": "*",
    f"{_TCP}.TcpAccessLogOptions": "*",
    "envoy.type.v3.HashPolicy": "*",
    "envoy.type.v3.HashPolicy.SourceIp": "",
    "envoy.type.v3.HashPolicy.FilterState": "*",
    f"{_LISTENER_FILTERS}.tls_inspector.v3.TlsInspector": "*",
    f"{_LISTENER_FILTERS}.http_inspector.v3.HttpInspector": "",
    f"{_LISTENER_FILTERS}.original_dst.v3.OriginalDst": "",
    f"{_LISTENER_FILTERS}.original_src.v3.OriginalSrc": "*",
    f"{_LISTENER_FILTERS}.proxy_protocol.v3.ProxyProtocol": "*",
    f"{_LISTENER_FILTERS}.proxy_protocol.v3.ProxyProtocol.Rule": "*",
    f"{_LISTENER_FILTERS}.proxy_protocol.v3.ProxyProtocol.KeyValuePair": "*",
    f"{_LISTENER_FILTERS}.local_ratelimit.v3.LocalRateLimit": "stat_prefix token_bucket",
    "envoy.type.v3.TokenBucket": "*",
    f"{_CORE}.ProxyProtocolPassThroughTLVs": "*",
    f"{_CORE}.TransportSocket": "name typed_config",
    f"{_TLS}.DownstreamTlsContext": (
        "common_tls_context require_client_certificate require_sni session_ticket_keys "
        "disable_stateless_session_resumption disable_stateful_session_resumption session_timeout "
        "full_scan_certs_on_sni_mismatch prefer_client_ciphers session_ticket_keys_sds_secret_config "
        "ocsp_staple_policy"
    ),
    f"{_TLS}.UpstreamTlsContext": (
        "common_tls_context sni auto_host_sni auto_sni_san_validation allow_renegotiation max_session_keys "
        "enforce_rsa_key_usage"
    ),
    f"{_CLUSTER}.TransportSocketMatch": "*",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": "",
    f"{_TLS}.CommonTlsContext": (
        "tls_params tls_certificates validation_context alpn_protocols key_log "
        "tls_certificate_sds_secret_configs validation_context_sds_secret_config combined_validation_context"
    ),
    f"{_TLS}.CommonTlsContext.CombinedCertificateValidationContext": (
        "default_validation_context validation_context_sds_secret_config"
    ),
    f"{_TLS}.SdsSecretConfig": "*",
    f"{_TLS}.Secret": "name tls_certificate session_ticket_keys validation_context",
    f"{_TLS}.TlsParameters": (
        "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves "
        "signature_algorithms"
    ),
    f"{_TLS}.TlsCertificate": "certificate_chain private_key pkcs12 password watched_directory ocsp_staple",
    f"{_TLS}.TlsSessionTicketKeys": "*",
    f"{_TLS}.CertificateValidationContext": (
        "trusted_ca system_root_certs verify_certificate_spki verify_certificate_hash "
        "match_typed_subject_alt_names match_subject_alt_names crl allow_expired_certificate "
        "trust_chain_verification custom_validator_config only_verify_leaf_cert_crl max_verify_depth "
        "watched_directory"
    ),
    f"{_TLS}.CertificateValidationContext.SystemRootCerts": "",
    f"{_TLS}.SubjectAltNameMatcher": "*",
    f"{_TLS}.SPIFFECertValidatorConfig": "*",
    f"{_TLS}.SPIFFECertValidatorConfig.TrustDomain": "*",
    f"{_TLS}.TlsKeyLog": "path",
    # HTTP connection manager
    _HCM: (
        "codec_type stat_prefix route_config scoped_routes record_route_resolution_stats http_filters "
        "access_log server_name "
        "server_header_transformation use_remote_address xff_num_trusted_hops skip_xff_append "
        "generate_request_id preserve_external_request_id always_set_request_id_in_response "
        "add_user_agent common_http_protocol_options http_protocol_options "
        "http2_protocol_options stream_idle_timeout stream_flush_timeout request_timeout "
        "request_headers_timeout drain_timeout "
        "delayed_close_timeout via normalize_path merge_slashes max_request_headers_kb "
        "path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port "
        "strip_trailing_host_dot internal_address_config scheme_header_transformation "
        "append_x_forwarded_port local_reply_config proxy_100_continue stream_error_on_invalid_http_message "
        "upgrade_configs original_ip_detection_extensions "
        "early_header_mutation_extensions request_id_extension forward_client_cert_details "
        "set_current_client_cert_details path_normalization_options proxy_status_config "
        "append_local_overload add_proxy_protocol_connection_state "
        "represent_ipv4_remote_address_as_ipv4_mapped_ipv6 "
        "access_log_options access_log_flush_interval flush_access_log_on_new_request "
        "http1_safe_max_connection_duration tracing rds"
    ),
    f"{_HCM}.Tracing": "*",
    "envoy.config.trace.v3.Tracing": "*",
    "envoy.config.trace.v3.Tracing.Http": "*",
    f"{_ROUTE}.Tracing": "*",
    f"{_ROUTE}.Decorator": "*",
    "envoy.type.tracing.v3.CustomTag": "tag literal environment request_header metadata value",
    "envoy.type.tracing.v3.CustomTag.Literal": "*",
    "envoy.type.tracing.v3.CustomTag.Environment": "*",
    "envoy.type.tracing.v3.CustomTag.Header": "*",
    "envoy.type.tracing.v3.CustomTag.Metadata": "*",
    "envoy.type.metadata.v3.MetadataKind": "*",
    "envoy.type.metadata.v3.MetadataKind.Request": "",
    "envoy.type.metadata.v3.MetadataKind.Route": "",
    "envoy.type.metadata.v3.MetadataKind.Cluster": "",
    "envoy.type.metadata.v3.MetadataKind.Host": "",
    _OTEL: (
        "grpc_service http_service service_name resource_detectors sampler max_cache_size "
        "set_telemetry_sdk_resource_attributes set_service_name_resource_attribute set_instrumentation_scope"
    ),
    f"{_TRACERS}.samplers.v3.AlwaysOnSamplerConfig": "",
    f"{_TRACERS}.samplers.v3.ParentBasedSamplerConfig": "*",
    f"{_TRACERS}.samplers.v3.TraceIdRatioBasedSamplerConfig": "*",
    f"{_TRACERS}.resource_detectors.v3.EnvironmentResourceDetectorConfig": "",
    f"{_TRACERS}.resource_detectors.v3.StaticConfigResourceDetectorConfig": "*",
    f"{_CORE}.HttpService": "http_uri request_headers_to_add",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": (
        "name typed_config config_discovery is_optional disabled"
    ),
    f"{_HCM}.UpgradeConfig": "*",
    f"{_HCM}.InternalAddressConfig": "*",
    f"{_HCM}.SetCurrentClientCertDetails": "*",
    f"{_HCM}.PathNormalizationOptions": "*",
    "envoy.type.http.v3.PathTransformation": "*",
    "envoy.type.http.v3.PathTransformation.Operation": "*",
    "envoy.type.http.v3.PathTransformation.Operation.NormalizePathRFC3986": "",
    "envoy.type.http.v3.PathTransformation.Operation.MergeSlashes": "",
    f"{_HCM}.ProxyStatusConfig": "*",
    f"{_HCM.rpartition('.')[0]}.RequestIDExtension": "*",
    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": "*",
    f"{_HCM}.HcmAccessLogOptions": "*",
    f"{_HCM.rpartition('.')[0]}.LocalReplyConfig": "*",
    f"{_HCM.rpartition('.')[0]}.ResponseMapper": "*",
    f"{_CORE}.CidrRange": "*",
    f"{_CORE}.SchemeHeaderTransformation": "*",
    f"{_CORE}.HttpProtocolOptions": "idle_timeout",
    f"{_CORE}.Http1ProtocolOptions": "*",
    f"{_CORE}.Http1ProtocolOptions.HeaderKeyFormat": "proper_case_words stateful_formatter",
    f"{_CORE}.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords": "",
    _PRESERVE_CASE: "*",
    f"{_CORE}.Http2ProtocolOptions": (
        "hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size "
        "allow_connect allow_metadata max_metadata_size max_outbound_frames max_outbound_control_frames "
        "max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream "
        "max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging "
        "override_stream_error_on_invalid_http_message custom_settings_parameters use_oghttp2_codec "
        "enable_huffman_encoding max_header_field_size_kb disallow_obs_text stream_reset_burst "
        "stream_reset_rate connection_keepalive"
    ),
    f"{_CORE}.Http2ProtocolOptions.SettingsParameter": "*",
    f"{_IP_DETECTION}.xff.v3.XffConfig": "*",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": "*",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation": "*",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": "*",
    "envoy.extensions.filters.http.header_mutation.v3.Mutations": "*",
    f"{_CORE}.KeyValueMutation": "*",
    f"{_CORE}.KeyValueAppend": "record action",
    f"{_CORE}.KeyValuePair": "*",
    "envoy.config.common.mutation_rules.v3.HeaderMutation": "*",
    "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch": "*",
    f"{_IP_DETECTION}.xff.v3.XffTrustedCidrs": "*",
    f"{_IP_DETECTION}.custom_header.v3.CustomHeaderConfig": "*",
    "envoy.type.v3.HttpStatus": "*",
    f"{_CORE}.KeepaliveSettings": "*",
    # Routes
    f"{_ROUTE}.RouteConfiguration": (
        "name virtual_hosts cluster_specifier_plugins request_headers_to_add request_headers_to_remove "
        "response_headers_to_add "
        "response_headers_to_remove validate_clusters most_specific_header_mutations_wins "
        "max_direct_response_body_size_bytes internal_only_headers ignore_port_in_host_matching "
        "typed_per_filter_config vhost_header ignore_path_parameters_in_path_matching "
        "request_mirror_policies vhds"
    ),
    f"{_ROUTE}.VirtualHost": (
        "name domains routes request_headers_to_add request_headers_to_remove response_headers_to_add "
        "response_headers_to_remove metadata typed_per_filter_config include_request_attempt_count "
        "include_attempt_count_in_response per_request_buffer_limit_bytes request_body_buffer_limit "
        "require_tls request_mirror_policies virtual_clusters matcher retry_policy hedge_policy "
        "retry_policy_typed_config cors include_is_timeout_retry_header rate_limits"
    ),
    f"{_ROUTE}.Route": (
        "name match route redirect direct_response request_headers_to_add request_headers_to_remove "
        "response_headers_to_add response_headers_to_remove metadata typed_per_filter_config "
        "per_request_buffer_limit_bytes request_body_buffer_limit filter_action non_forwarding_action "
        "stat_prefix decorator tracing"
    ),
    f"{_ROUTE}.FilterAction": "action",
    f"{_ROUTE}.NonForwardingAction": "",
    f"{_ROUTE}.FilterConfig": "*",
    f"{_ROUTE}.VirtualCluster": "*",
    f"{_ROUTE}.RouteList": "*",
    f"{_ROUTE}.ClusterSpecifierPlugin": "*",
    "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig": "*",
    "envoy.extensions.string_matcher.lua.v3.Lua": "*",
    "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier": "*",
    "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction": "*",
    f"{_XDS}.Matcher": "*",
    f"{_XDS}.Matcher.OnMatch": "matcher action keep_matching",
    f"{_XDS}.Matcher.MatcherList": "*",
    f"{_XDS}.Matcher.MatcherList.FieldMatcher": "*",
    f"{_XDS}.Matcher.MatcherList.Predicate": "*",
    f"{_XDS}.Matcher.MatcherList.Predicate.PredicateList": "*",
    f"{_XDS}.Matcher.MatcherList.Predicate.SinglePredicate": "*",
    f"{_XDS}.Matcher.MatcherTree": "*",
    f"{_XDS}.Matcher.MatcherTree.MatchMap": "*",
    f"{_XDS}.IPMatcher": "*",
    f"{_XDS}.IPMatcher.IPRangeMatcher": "*",
    f"{_XDS}.ServerNameMatcher": "*",
    f"{_XDS}.ServerNameMatcher.DomainMatcher": "*",
    f"{_XDS}.StringMatcher": "exact prefix suffix safe_regex contains ignore_case custom",
    f"{_XDS}.RegexMatcher": "*",
    f"{_XDS}.RegexMatcher.GoogleRE2": "",
    "xds.core.v3.TypedExtensionConfig": "*",
    f"{_MATCHER}.HttpRequestHeaderMatchInput": "*",
    f"{_MATCHER}.HttpResponseHeaderMatchInput": "*",
    f"{_MATCHER}.HttpRequestQueryParamMatchInput": "*",
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput": "*",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput": "*",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput.PathSegment": "*",
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata": "*",
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": "*",
    "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing": "*",
    "envoy.extensions.matching.input_matchers.ip.v3.Ip": "cidr_ranges",
    "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction": "*",
    f"{_ROUTE}.RouteMatch": (
        "prefix path safe_regex path_separated_prefix case_sensitive headers query_parameters grpc "
        "runtime_fraction cookies tls_context dynamic_metadata filter_state path_match_policy "
        "connect_matcher"
    ),
    f"{_ROUTE}.RouteMatch.TlsContextMatchOptions": "*",
    f"{_ROUTE}.CookieMatcher": "*",
    f"{_MATCHER}.MetadataMatcher": "*",
    f"{_MATCHER}.MetadataMatcher.PathSegment": "*",
    f"{_MATCHER}.ValueMatcher": "*",
    f"{_MATCHER}.ValueMatcher.NullMatch": "",
    f"{_MATCHER}.DoubleMatcher": "*",
    "envoy.type.v3.DoubleRange": "*",
    f"{_MATCHER}.ListMatcher": "*",
    f"{_MATCHER}.OrMatcher": "*",
    f"{_MATCHER}.FilterStateMatcher": "*",
    f"{_MATCHER}.AddressMatcher": "*",
    "xds.core.v3.CidrRange": "*",
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "*",
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "*",
    f"{_ROUTE}.RouteMatch.ConnectMatcher": "",
    f"{_ROUTE}.RouteMatch.GrpcRouteMatchOptions": "",
    f"{_ROUTE}.QueryParameterMatcher": "*",
    f"{_CORE}.RuntimeFractionalPercent": "*",
    f"{_ROUTE}.HeaderMatcher": (
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match "
        "contains_match string_match invert_match treat_missing_header_as_empty"
    ),
    "envoy.type.v3.Int64Range": "*",
    f"{_MATCHER}.StringMatcher": "exact prefix suffix safe_regex contains ignore_case custom",
    "envoy.type.matcher.v3.RegexMatcher": "regex google_re2",
    "envoy.type.matcher.v3.RegexMatcher.GoogleRE2": "max_program_size",
    "envoy.type.matcher.v3.RegexMatchAndSubstitute": "pattern substitution",
    f"{_ROUTE}.RouteAction": (
        "cluster cluster_header weighted_clusters cluster_specifier_plugin inline_cluster_specifier_plugin "
        "cluster_not_found_response_code timeout idle_timeout flush_timeout "
        "max_stream_duration max_grpc_timeout grpc_timeout_offset "
        "prefix_rewrite regex_rewrite path_rewrite host_rewrite host_rewrite_literal host_rewrite_header "
        "host_rewrite_path_regex auto_host_rewrite append_x_forwarded_host hash_policy "
        "internal_redirect_policy internal_redirect_action max_internal_redirects path_rewrite_policy "
        "upgrade_configs request_mirror_policies retry_policy hedge_policy metadata_match priority "
        # Envoy does not read retry_policy_typed_config.
        "retry_policy_typed_config cors rate_limits include_vh_rate_limits"
    ),
    # initial_requests and additional_request_chance mean nothing to Envoy either.
    f"{_ROUTE}.HedgePolicy": "*",
    f"{_ROUTE}.CorsPolicy": "*",
    f"{_ROUTE}.RetryPolicy": (
        "retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate "
        "host_selection_retry_max_attempts retriable_status_codes retry_back_off "
        "rate_limited_retry_back_off retriable_headers retriable_request_headers refresh_cluster_on_retry "
        "retry_priority"
    ),
    f"{_ROUTE}.RetryPolicy.RetryHostPredicate": "name typed_config",
    f"{_ROUTE}.RetryPolicy.RetryPriority": "name typed_config",
    f"{_ROUTE}.RetryPolicy.RetryBackOff": "*",
    f"{_ROUTE}.RetryPolicy.ResetHeader": "*",
    f"{_ROUTE}.RetryPolicy.RateLimitedRetryBackOff": "*",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": "*",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": "",
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate": "",
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig": "*",
    f"{_ROUTE}.RouteAction.RequestMirrorPolicy": (
        "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append host_rewrite_literal "
        "request_headers_mutations trace_sampled"
    ),
    f"{_ROUTE}.RouteAction.UpgradeConfig": "*",
    f"{_ROUTE}.RouteAction.UpgradeConfig.ConnectConfig": "*",
    f"{_CORE}.ProxyProtocolConfig": "version",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": (
        "config transport_socket"
    ),
    "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport": "*",
    f"{_CORE}.TlvEntry": "*",
    f"{_CORE}.PerHostConfig": "*",
    f"{_ROUTE}.RouteAction.MaxStreamDuration": "*",
    f"{_ROUTE}.InternalRedirectPolicy": "*",
    f"{_REDIRECT}.previous_routes.v3.PreviousRoutesConfig": "",
    f"{_REDIRECT}.allow_listed_routes.v3.AllowListedRoutesConfig": "*",
    f"{_REDIRECT}.safe_cross_scheme.v3.SafeCrossSchemeConfig": "",
    f"{_ROUTE}.RouteAction.HashPolicy": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.Header": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.Cookie": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.CookieAttribute": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.ConnectionProperties": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.QueryParameter": "*",
    f"{_ROUTE}.RouteAction.HashPolicy.FilterState": "*",
    f"{_ROUTE}.WeightedCluster": "clusters header_name runtime_key_prefix total_weight use_hash_policy",
    f"{_ROUTE}.WeightedCluster.ClusterWeight": (
        "name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add "
        "response_headers_to_remove host_rewrite_literal typed_per_filter_config metadata_match"
    ),
    f"{_ROUTE}.RedirectAction": (
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite "
        "regex_rewrite path_rewrite response_code strip_query"
    ),
    f"{_ROUTE}.DirectResponseAction": "status body body_format",
    f"{_CORE}.HeaderValueOption": "header append append_action keep_empty_value",
    f"{_CORE}.HeaderValue": "key value raw_value",
    f"{_AUTHZ}.ExtAuthz": (
        "grpc_service http_service transport_api_version failure_mode_allow failure_mode_allow_header_add "
        "with_request_body clear_route_cache status_on_error validate_mutations metadata_context_namespaces "
        "typed_metadata_context_namespaces route_metadata_context_namespaces "
        "route_typed_metadata_context_namespaces filter_enabled filter_enabled_metadata deny_at_disable "
        "include_peer_certificate stat_prefix bootstrap_metadata_labels_key allowed_headers "
        "disallowed_headers include_tls_session charge_cluster_response_stats encode_raw_headers "
        "decoder_header_mutation_rules enable_dynamic_metadata_ingestion max_denied_response_body_bytes "
        "enforce_response_header_limits emit_client_span shadow_mode clear_route_cache_headers "
        "emit_filter_state_stats"
    ),
    f"{_NETWORK_FILTERS}.ext_authz.v3.ExtAuthz": (
        "stat_prefix grpc_service failure_mode_allow include_peer_certificate transport_api_version "
        "filter_enabled_metadata bootstrap_metadata_labels_key include_tls_session "
        "metadata_context_namespaces typed_metadata_context_namespaces shadow_mode"
    ),
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit": "*",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute": "*",
    "envoy.config.ratelimit.v3.RateLimitServiceConfig": "*",
    f"{_AUTHZ}.BufferSettings": "*",
    f"{_AUTHZ}.HttpService": "*",
    f"{_AUTHZ}.AuthorizationRequest": "*",
    f"{_AUTHZ}.AuthorizationResponse": "*",
    f"{_AUTHZ}.ExtAuthzPerRoute": "*",
    f"{_AUTHZ}.CheckSettings": (
        "context_extensions disable_request_body_buffering with_request_body grpc_service http_service "
        "emit_client_span"
    ),
    f"{_PROC}.ExternalProcessor": (
        "grpc_service http_service failure_mode_allow processing_mode message_timeout stat_prefix "
        "mutation_rules max_message_timeout forward_rules filter_metadata allow_mode_override "
        "disable_immediate_response metadata_options observability_mode disable_clear_route_cache "
        "route_cache_action deferred_close_timeout send_body_without_waiting_for_header_response "
        "allowed_override_modes status_on_error allow_content_length_header request_attributes "
        "response_attributes"
    ),
    f"{_PROC}.ExtProcHttpService": "*",
    f"{_PROC}.ProcessingMode": "*",
    f"{_PROC}.HeaderForwardingRules": "*",
    f"{_PROC}.MetadataOptions": "forwarding_namespaces receiving_namespaces",
    f"{_PROC}.MetadataOptions.MetadataNamespaces": "untyped",
    f"{_PROC}.ExtProcPerRoute": "*",
    f"{_PROC}.ExtProcOverrides": (
        "processing_mode grpc_service metadata_options grpc_initial_metadata failure_mode_allow"
    ),
    "envoy.config.common.mutation_rules.v3.HeaderMutationRules": "*",
    # Calls of the proxy's own.
    f"{_CORE}.GrpcService": "envoy_grpc google_grpc timeout initial_metadata retry_policy",
    f"{_CORE}.GrpcService.EnvoyGrpc": "*",
    f"{_CORE}.GrpcService.GoogleGrpc": "target_uri channel_credentials stat_prefix credentials_factory_name",
    f"{_CORE}.GrpcService.GoogleGrpc.ChannelCredentials": "ssl_credentials local_credentials",
    f"{_CORE}.GrpcService.GoogleGrpc.SslCredentials": "*",
    f"{_CORE}.GrpcService.GoogleGrpc.GoogleLocalCredentials": "*",
    f"{_CORE}.RetryPolicy": (
        "retry_back_off num_retries retry_on retry_priority retry_host_predicate "
        "host_selection_retry_max_attempts"
    ),
    f"{_CORE}.RetryPolicy.RetryPriority": "name typed_config",
    f"{_CORE}.RetryPolicy.RetryHostPredicate": "name typed_config",
    # Clusters
    _CLUSTER: (
        "name alt_stat_name type cluster_type connect_timeout lb_policy load_balancing_policy "
        "track_cluster_stats track_timeout_budgets "
        "round_robin_lb_config least_request_lb_config ring_hash_lb_config maglev_lb_config common_lb_config "
        "lb_subset_config "
        "load_assignment circuit_breakers "
        "typed_extension_protocol_options common_http_protocol_options http_protocol_options "
        "http2_protocol_options protocol_selection max_requests_per_connection "
        "dns_refresh_rate dns_failure_refresh_rate "
        "dns_jitter respect_dns_ttl "
        "dns_lookup_family dns_resolvers use_tcp_for_dns_lookups dns_resolution_config "
        "typed_dns_resolver_config wait_for_warm_on_init metadata outlier_detection health_checks "
        "close_connections_on_host_health_failure "
        "ignore_health_on_host_removal eds_cluster_config original_dst_lb_config cleanup_interval "
        "transport_socket transport_socket_matches upstream_http_protocol_options "
        "upstream_bind_config upstream_connection_options preconnect_policy "
        "connection_pool_per_downstream_connection per_connection_buffer_limit_bytes"
    ),
    f"{_CORE}.BindConfig": "*",
    f"{_CORE}.ExtraSourceAddress": "*",
    f"{_CORE}.SocketOptionsOverride": "*",
    f"{_CORE}.SocketOption": "*",
    f"{_CORE}.SocketOption.SocketType": "*",
    f"{_CORE}.SocketOption.SocketType.Stream": "*",
    f"{_CORE}.SocketOption.SocketType.Datagram": "*",
    f"{_CORE}.TcpKeepalive": "*",
    "envoy.config.cluster.v3.UpstreamConnectionOptions": "tcp_keepalive happy_eyeballs_config",
    "envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig": "*",
    f"{_CLUSTER}.PreconnectPolicy": "per_upstream_preconnect_ratio",
    f"{_ADDRESS_SELECTOR}": "*",
    f"{_CLUSTER}.EdsClusterConfig": "*",
    f"{_CLUSTER}.OriginalDstLbConfig": "*",
    "envoy.type.metadata.v3.MetadataKey": "*",
    "envoy.type.metadata.v3.MetadataKey.PathSegment": "*",
    f"{_LB}.cluster_provided.v3.ClusterProvided": "",
    f"{_CORE}.ConfigSource": (
        "path path_config_source api_config_source ads initial_fetch_timeout resource_api_version"
    ),
    f"{_CORE}.PathConfigSource": "*",
    f"{_CORE}.WatchedDirectory": "*",
    f"{_CORE}.HealthCheck": (
        "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold "
        "healthy_threshold reuse_connection http_health_check tcp_health_check grpc_health_check "
        "no_traffic_interval no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval "
        "healthy_edge_interval event_log_path always_log_health_check_failures "
        "always_log_health_check_success event_logger name tls_options transport_socket_match_criteria"
    ),
    f"{_CORE}.HealthCheck.Payload": "*",
    _FILE_SINK: "*",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck": "*",
    f"{_CORE}.HealthCheck.HttpHealthCheck": (
        "host path method send receive response_buffer_size request_headers_to_add "
        "request_headers_to_remove expected_statuses retriable_statuses codec_client_type "
        "service_name_matcher"
    ),
    f"{_CORE}.HealthCheck.TcpHealthCheck": "*",
    f"{_CORE}.HealthCheck.TlsOptions": "*",
    f"{_CORE}.HealthCheck.GrpcHealthCheck": "*",
    f"{_ENDPOINT}.Endpoint.HealthCheckConfig": "*",
    "envoy.config.cluster.v3.OutlierDetection": (
        "interval base_ejection_time max_ejection_time max_ejection_time_jitter max_ejection_percent "
        "always_eject_one_host split_external_local_origin_errors "
        "consecutive_5xx consecutive_gateway_failure consecutive_local_origin_failure "
        "success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor "
        "failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume "
        "enforcing_consecutive_5xx enforcing_consecutive_gateway_failure "
        "enforcing_consecutive_local_origin_failure enforcing_success_rate "
        "enforcing_local_origin_success_rate enforcing_failure_percentage "
        "enforcing_failure_percentage_local_origin successful_active_health_check_uneject_host "
        "detect_degraded_hosts"
    ),
    "envoy.config.bootstrap.v3.ClusterManager": (
        "local_cluster_name outlier_detection upstream_bind_config load_stats_config"
    ),
    "envoy.config.bootstrap.v3.ClusterManager.OutlierDetection": "event_log_path",
    f"{_CLUSTER}.CustomClusterType": "name typed_config",
    f"{_CLUSTER}.RefreshRate": "*",
    f"{_CLUSTER}.RoundRobinLbConfig": "*",
    f"{_CLUSTER}.LeastRequestLbConfig": "*",
    f"{_CLUSTER}.SlowStartConfig": "*",
    f"{_CLUSTER}.CommonLbConfig": (
        "healthy_panic_threshold ignore_new_hosts_until_first_hc consistent_hashing_lb_config "
        "zone_aware_lb_config locality_weighted_lb_config update_merge_window "
        "close_connections_on_host_set_change"
    ),
    f"{_CLUSTER}.CommonLbConfig.ConsistentHashingLbConfig": "*",
    f"{_CLUSTER}.CommonLbConfig.ZoneAwareLbConfig": "*",
    f"{_CLUSTER}.CommonLbConfig.LocalityWeightedLbConfig": "*",
    f"{_CLUSTER}.RingHashLbConfig": "*",
    f"{_CLUSTER}.MaglevLbConfig": "*",
    f"{_CLUSTER}.LbSubsetConfig": (
        "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight "
        "panic_mode_any list_as_any metadata_fallback_policy"
    ),
    f"{_CLUSTER}.LbSubsetConfig.LbSubsetSelector": "*",
    "envoy.type.v3.Percent": "*",
    f"{_CORE}.RuntimeDouble": "*",
    "envoy.config.cluster.v3.LoadBalancingPolicy": "*",
    "envoy.config.cluster.v3.LoadBalancingPolicy.Policy": "*",
    f"{_CORE}.TypedExtensionConfig": "*",
    f"{_LB}.round_robin.v3.RoundRobin": "*",
    f"{_LB}.random.v3.Random": "*",
    f"{_LB}.least_request.v3.LeastRequest": "*",
    f"{_LB}.common.v3.SlowStartConfig": "*",
    f"{_LB}.override_host.v3.OverrideHost": "*",
    f"{_LB}.override_host.v3.OverrideHost.OverrideHostSource": "*",
    f"{_LB}.wrr_locality.v3.WrrLocality": "*",
    f"{_LB}.common.v3.LocalityLbConfig": "*",
    f"{_LB}.common.v3.LocalityLbConfig.ZoneAwareLbConfig": "*",
    f"{_LB}.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone": "*",
    f"{_LB}.common.v3.LocalityLbConfig.LocalityWeightedLbConfig": "*",
    f"{_LB}.ring_hash.v3.RingHash": (
        "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor "
        "consistent_hashing_lb_config locality_weighted_lb_config"
    ),
    f"{_LB}.maglev.v3.Maglev": "table_size consistent_hashing_lb_config locality_weighted_lb_config",
    f"{_LB}.common.v3.ConsistentHashingLbConfig": "*",
    f"{_LB}.subset.v3.Subset": (
        "fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware "
        "scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy"
    ),
    f"{_LB}.subset.v3.Subset.LbSubsetSelector": "*",
    "envoy.config.cluster.v3.CircuitBreakers": "thresholds per_host_thresholds",
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds": (
        "priority max_connections max_pending_requests max_requests max_retries retry_budget "
        "track_remaining max_connection_pools"
    ),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": "*",
    _DNS_CLUSTER: (
        "dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter typed_dns_resolver_config "
        "dns_lookup_family all_addresses_in_single_endpoint dns_min_refresh_rate"
    ),
    f"{_DNS_CLUSTER}.RefreshRate": "*",
    f"{_CORE}.DnsResolutionConfig": "*",
    f"{_CORE}.DnsResolverOptions": "*",
    _CARES: (
        "resolvers use_resolvers_as_fallback filter_unroutable_families dns_resolver_options "
        "query_timeout_seconds query_tries rotate_nameservers edns0_max_payload_size qcache_max_ttl "
        "reinit_channel_on_timeout"
    ),
    _GETADDRINFO: "num_retries",
    f"{_ENDPOINT}.ClusterLoadAssignment": "cluster_name endpoints policy",
    f"{_ENDPOINT}.ClusterLoadAssignment.Policy": (
        "endpoint_stale_after overprovisioning_factor weighted_priority_health drop_overloads"
    ),
    f"{_ENDPOINT}.ClusterLoadAssignment.Policy.DropOverload": "*",
    f"{_ENDPOINT}.LocalityLbEndpoints": (
        "locality lb_endpoints load_balancing_weight priority proximity metadata"
    ),
    f"{_ENDPOINT}.LbEndpoint": "endpoint load_balancing_weight health_status metadata",
    f"{_ENDPOINT}.Endpoint": "address hostname additional_addresses health_check_config",
    f"{_ENDPOINT}.Endpoint.AdditionalAddress": "*",
    _HTTP_OPTIONS: (
        "explicit_http_config use_downstream_protocol_config auto_config common_http_protocol_options "
        "upstream_http_protocol_options retry_policy request_mirror_policies hash_policy outlier_detection "
        "http_filters"
    ),
    f"{_HTTP_OPTIONS}.AutoHttpConfig": "http_protocol_options http2_protocol_options",
    f"{_CORE}.UpstreamHttpProtocolOptions": "*",
    f"{_HTTP_OPTIONS}.OutlierDetection": "*",
    _PREDICATE: "*",
    f"{_PREDICATE}.MatchSet": "*",
    "envoy.config.common.matcher.v3.HttpHeadersMatch": "*",
    "envoy.config.common.matcher.v3.HttpGenericBodyMatch": "*",
    "envoy.config.common.matcher.v3.HttpGenericBodyMatch.GenericTextMatch": "*",
    f"{_HTTP_OPTIONS}.ExplicitHttpConfig": "http_protocol_options http2_protocol_options",
    f"{_HTTP_OPTIONS}.UseDownstreamHttpConfig": "http_protocol_options http2_protocol_options",
    # Access logs
    f"{_LOG}.AccessLog": "name typed_config filter",
    f"{_LOG}.AccessLogFilter": (
        "status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter "
        "header_filter response_flag_filter grpc_status_filter log_type_filter traceable_filter "
        "metadata_filter extension_filter"
    ),
    f"{_LOG}.StatusCodeFilter": "*",
    f"{_LOG}.DurationFilter": "*",
    f"{_LOG}.ComparisonFilter": "*",
    f"{_CORE}.RuntimeUInt32": "*",
    f"{_LOG}.NotHealthCheckFilter": "",
    f"{_LOG}.MetadataFilter": "*",
    f"{_LOG}.TraceableFilter": "",
    f"{_LOG}.RuntimeFilter": "*",
    "envoy.type.v3.FractionalPercent": "*",
    f"{_LOG}.AndFilter": "*",
    f"{_LOG}.OrFilter": "*",
    f"{_LOG}.HeaderFilter": "*",
    f"{_LOG}.ResponseFlagFilter": "*",
    f"{_LOG}.GrpcStatusFilter": "*",
    f"{_LOG}.LogTypeFilter": "*",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": (
        "path format json_format typed_json_format log_format"
    ),
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "log_format",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "log_format",
    f"{_CORE}.SubstitutionFormatString": (
        "text_format text_format_source json_format omit_empty_values content_type json_format_options "
        "formatters"
    ),
    f"{_FORMATTER}.req_without_query.v3.ReqWithoutQuery": "",
    f"{_FORMATTER}.metadata.v3.Metadata": "",
    # CEL
    f"{_CORE}.CelExpressionConfig": "*",
    f"{_FORMATTER}.cel.v3.Cel": "*",
    "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter": "*",
    f"{_LOG}.ExtensionFilter": "*",
    f"{_TRACERS}.samplers.v3.CELSamplerConfig": "*",
    "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor": "*",
    "xds.type.v3.CelExpression": "parsed_expr checked_expr cel_expr_parsed cel_expr_checked",
    f"{_XDS}.CelMatcher": "*",
    f"{_XDS}.HttpAttributesCelMatchInput": "",
    f"{_CORE}.JsonFormatOptions": "sort_properties",
    # HTTP filters
    "envoy.extensions.filters.http.router.v3.Router": (
        "dynamic_stats reject_connect_request_early_data respect_expected_rq_timeout start_child_span "
        "strict_check_headers suppress_envoy_headers suppress_grpc_request_failure_code_stats "
        "upstream_http_filters upstream_log upstream_log_options"
    ),
    "envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions": "*",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec": "",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": "",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": "*",
    "envoy.extensions.filters.http.tap.v3.Tap": "*",
    "envoy.extensions.common.tap.v3.CommonExtensionConfig": "*",
    "envoy.extensions.common.tap.v3.AdminConfig": "*",
    "envoy.config.tap.v3.TapConfig": "*",
    "envoy.config.tap.v3.MatchPredicate": "*",
    "envoy.config.tap.v3.MatchPredicate.MatchSet": "*",
    "envoy.config.tap.v3.HttpHeadersMatch": "*",
    "envoy.config.tap.v3.HttpGenericBodyMatch": "*",
    "envoy.config.tap.v3.HttpGenericBodyMatch.GenericTextMatch": "*",
    # No gRPC as a sink, on which Envoy 1.40 aborts, and no extension, of which it has one, for UDP.
    "envoy.config.tap.v3.OutputConfig": "sinks max_buffered_rx_bytes max_buffered_tx_bytes streaming",
    "envoy.config.tap.v3.OutputSink": "format streaming_admin file_per_tap buffered_admin",
    "envoy.config.tap.v3.StreamingAdminSink": "*",
    "envoy.config.tap.v3.BufferedAdminSink": "*",
    "envoy.config.tap.v3.FilePerTapSink": "*",
    f"{_CORE}.GrpcMethodList": "*",
    f"{_CORE}.GrpcMethodList.Service": "*",
    "envoy.extensions.filters.http.set_filter_state.v3.Config": "*",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata": "*",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata.MatchRules": "*",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata.Rule": "*",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata.Selector": "*",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata.KeyValuePair": "*",
    "envoy.extensions.filters.http.cors.v3.Cors": "",
    "envoy.extensions.filters.http.cors.v3.CorsPolicy": "*",
    "envoy.extensions.filters.http.basic_auth.v3.BasicAuth": "*",
    "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute": "*",
    "envoy.extensions.filters.http.csrf.v3.CsrfPolicy": "*",
    "envoy.extensions.filters.http.buffer.v3.Buffer": "*",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config": "request_rules response_rules",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config.Rule": "*",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config.KeyValuePair": "*",
    "envoy.extensions.filters.http.on_demand.v3.OnDemand": "*",
    "envoy.extensions.filters.http.on_demand.v3.OnDemandCds": "source timeout",
    "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig": "*",
    "envoy.extensions.filters.http.set_metadata.v3.Config": "*",
    "envoy.extensions.filters.http.set_metadata.v3.Metadata": "*",
    "envoy.config.core.v3.RuntimeFeatureFlag": "*",
    "envoy.extensions.filters.http.compressor.v3.Compressor": "*",
    "envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig": "*",
    "envoy.extensions.filters.http.compressor.v3.Compressor.RequestDirectionConfig": "*",
    "envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig": "*",
    "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute": "*",
    "envoy.extensions.filters.http.compressor.v3.CompressorOverrides": "*",
    "envoy.extensions.filters.http.compressor.v3.ResponseDirectionOverrides": "*",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor": "*",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor.CommonDirectionConfig": "*",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor.RequestDirectionConfig": "*",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor.ResponseDirectionConfig": "*",
    f"{_COMPRESSION}.gzip.compressor.v3.Gzip": "*",
    f"{_COMPRESSION}.brotli.compressor.v3.Brotli": (
        "quality encoder_mode window_bits input_block_bits chunk_size"
    ),
    f"{_COMPRESSION}.zstd.compressor.v3.Zstd": "*",
    f"{_COMPRESSION}.gzip.decompressor.v3.Gzip": "*",
    f"{_COMPRESSION}.brotli.decompressor.v3.Brotli": "*",
    f"{_COMPRESSION}.zstd.decompressor.v3.Zstd": "*",
    "envoy.extensions.filters.http.fault.v3.HTTPFault": "*",
    "envoy.extensions.filters.http.fault.v3.FaultAbort": "*",
    "envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort": "",
    "envoy.extensions.filters.common.fault.v3.FaultDelay": "*",
    "envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay": "",
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit": "*",
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit": "*",
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit": "",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute": "*",
    "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config": "*",
    "envoy.extensions.filters.http.lua.v3.Lua": (
        "inline_code default_source_code source_codes stat_prefix clear_route_cache"
    ),
    **dict.fromkeys(OWN_MESSAGES, "*"),
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": "disabled name source_code filter_context",
    "envoy.extensions.filters.http.wasm.v3.Wasm": "config",
    "envoy.extensions.filters.network.wasm.v3.Wasm": "*",
    "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog": "*",
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": "*",
    "envoy.extensions.common.matching.v3.ExtensionWithMatcher": "xds_matcher extension_config",
    "envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute": "*",
    "envoy.extensions.filters.http.composite.v3.Composite": "*",
    "envoy.extensions.filters.http.composite.v3.CompositePerRoute": "*",
    "envoy.extensions.filters.http.composite.v3.FilterChainConfiguration": "*",
    "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction": (
        "typed_config filter_chain sample_percent filter_chain_name"
    ),
    "envoy.extensions.filters.common.matcher.action.v3.SkipFilter": "*",
    "envoy.config.metrics.v3.StatsSink": "*",
    "envoy.config.metrics.v3.StatsdSink": "*",
    "envoy.config.metrics.v3.DogStatsdSink": "*",
    "envoy.config.metrics.v3.MetricsServiceConfig": "*",
    "envoy.config.cluster.v3.TrackClusterStats": "*",
    "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink": "*",
    "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig": (
        "grpc_service http_service resource_detectors report_counters_as_deltas report_histograms_as_deltas "
        "emit_tags_as_attributes use_tag_extracted_name prefix max_data_points_per_request"
    ),
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": "*",
    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig": "*",
    "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": (
        "log_name grpc_service transport_api_version buffer_flush_interval buffer_size_bytes "
        "filter_state_objects_to_log custom_tags"
    ),
    "envoy.extensions.wasm.v3.WasmService": "*",
    "envoy.extensions.wasm.v3.PluginConfig": (
        "name root_id vm_config configuration fail_open failure_policy reload_config "
        "allow_on_headers_stop_iteration capability_restriction_config"
    ),
    "envoy.extensions.wasm.v3.CapabilityRestrictionConfig": "*",
    "envoy.extensions.wasm.v3.SanitizationConfig": "*",
    "envoy.extensions.wasm.v3.ReloadConfig": "*",
    f"{_CORE}.BackoffStrategy": "base_interval max_interval",
    "envoy.extensions.wasm.v3.VmConfig": (
        "vm_id runtime code configuration environment_variables nack_on_code_cache_miss"
    ),
    "envoy.extensions.wasm.v3.EnvironmentVariables": "*",
    f"{_CORE}.AsyncDataSource": "*",
    f"{_CORE}.RemoteDataSource": "*",
    f"{_ROUTE}.RateLimit": "*",
    f"{_ROUTE}.RateLimit.Action": (
        "source_cluster destination_cluster request_headers query_parameters remote_address generic_key "
        "header_value_match metadata extension masked_remote_address query_parameter_value_match "
        "remote_address_match"
    ),
    **{
        f"{_ROUTE}.RateLimit.Action.{name}": "*"
        for name in (
            *("SourceCluster", "DestinationCluster", "RequestHeaders", "QueryParameters", "RemoteAddress"),
            *("GenericKey", "HeaderValueMatch", "MetaData", "MaskedRemoteAddress"),
            *("QueryParameterValueMatch", "RemoteAddressMatch"),
        )
    },
    f"{_ROUTE}.RateLimit.Override": "*",
    f"{_ROUTE}.RateLimit.Override.DynamicMetadata": "*",
    f"{_ROUTE}.RateLimit.Override.RateLimitOverride": "*",
    f"{_ROUTE}.RateLimit.HitsAddend": "*",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": (
        "stat_prefix status token_bucket filter_enabled filter_enforced "
        "request_headers_to_add_when_not_enforced response_headers_to_add descriptors stage "
        "local_rate_limit_per_downstream_connection enable_x_ratelimit_headers vh_rate_limits "
        "always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits "
        "max_dynamic_descriptors enable_retry_after_header"
    ),
    "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor": "*",
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": "*",
    **{
        f"{_JWT}.{name}": "*"
        for name in (
            *("ExtractOnlyWithoutValidation", "FilterStateRule", "JwksAsyncFetch", "JwtAuthentication"),
            *(
                "JwtCacheConfig",
                "JwtClaimToHeader",
                "JwtClaimToHeader.PathSegment",
                "JwtHeader",
                "JwtProvider",
            ),
            *("JwtProvider.NormalizePayload", "JwtRequirement", "JwtRequirementAndList"),
            *("JwtRequirementOrList", "PerRouteConfig", "ProviderWithAudiences", "RemoteJwks"),
            "RequirementRule",
        )
    },
    f"{_CORE}.HttpUri": "*",
}


_PROXY_PROTOCOL = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_UPSTREAM_HTTP = (
    "idle_timeout max_requests_per_connection max_connection_duration max_stream_duration max_headers_count "
    "max_response_headers_kb"
)
#: By the field that leads to the message, where its own row does not say it.
_ROWS_AT: dict[str, str] = {
    f"{_HCM}.common_http_protocol_options": (
        "idle_timeout max_headers_count max_requests_per_connection max_connection_duration "
        "max_stream_duration headers_with_underscores_action"
    ),
    f"{_CORE}.RetryPolicy.retry_back_off": "base_interval max_interval",
    f"{_CLUSTER}.common_http_protocol_options": _UPSTREAM_HTTP,
    f"{_PROXY_PROTOCOL}.config": "version pass_through_tlvs added_tlvs",
    f"{_HTTP_OPTIONS}.common_http_protocol_options": _UPSTREAM_HTTP,
}


def _split(rows: dict[str, str]) -> dict[str, frozenset[str]]:
    return {name: frozenset(fields.split()) for name, fields in rows.items()}


SUPPORTED = _split(_ROWS)
SUPPORTED_AT = _split(_ROWS_AT)
#: Messages inside an Any that no extension stands for: the core reads them itself.
CORE_TYPES = frozenset(
    (
        f"{_TRACERS}.samplers.v3.AlwaysOnSamplerConfig",
        f"{_TRACERS}.samplers.v3.ParentBasedSamplerConfig",
        f"{_TRACERS}.samplers.v3.TraceIdRatioBasedSamplerConfig",
        f"{_TRACERS}.resource_detectors.v3.EnvironmentResourceDetectorConfig",
        f"{_TRACERS}.resource_detectors.v3.StaticConfigResourceDetectorConfig",
        _ADDRESS_SELECTOR,
        _HTTP_OPTIONS,
        _PRESERVE_CASE,
        _DNS_CLUSTER,
        _CARES,
        _GETADDRINFO,
        f"{_FORMATTER}.req_without_query.v3.ReqWithoutQuery",
        f"{_FORMATTER}.metadata.v3.Metadata",
        f"{_FORMATTER}.cel.v3.Cel",
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        f"{_TRACERS}.samplers.v3.CELSamplerConfig",
        "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
        f"{_XDS}.CelMatcher",
        f"{_XDS}.HttpAttributesCelMatchInput",
        "envoy.extensions.string_matcher.lua.v3.Lua",
        f"{_COMPRESSION}.gzip.compressor.v3.Gzip",
        f"{_COMPRESSION}.brotli.compressor.v3.Brotli",
        f"{_COMPRESSION}.zstd.compressor.v3.Zstd",
        f"{_COMPRESSION}.gzip.decompressor.v3.Gzip",
        f"{_COMPRESSION}.brotli.decompressor.v3.Brotli",
        f"{_COMPRESSION}.zstd.decompressor.v3.Zstd",
        f"{_LB}.round_robin.v3.RoundRobin",
        f"{_LB}.random.v3.Random",
        f"{_LB}.least_request.v3.LeastRequest",
        f"{_LB}.subset.v3.Subset",
        f"{_LB}.override_host.v3.OverrideHost",
        f"{_LB}.wrr_locality.v3.WrrLocality",
        f"{_ROUTE}.Route",
        f"{_RBAC}.Action",
        f"{_ROUTE}.RouteList",
        "envoy.extensions.filters.udp.udp_proxy.v3.Route",
        "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier",
        "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction",
        f"{_MATCHER}.HttpRequestHeaderMatchInput",
        f"{_MATCHER}.HttpResponseHeaderMatchInput",
        f"{_MATCHER}.HttpRequestQueryParamMatchInput",
        *(f"{_NETWORK_INPUTS}.{name}" for name in _NETWORK_INPUT_NAMES),
        "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput",
        "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput",
        "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
        "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
        "envoy.extensions.matching.common_inputs.environment_variable.v3.Config",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        f"{_RESOURCE_MONITORS}.fixed_heap.v3.FixedHeapConfig",
        f"{_RESOURCE_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig",
        f"{_RESOURCE_MONITORS}.cpu_utilization.v3.CpuUtilizationConfig",
        f"{_RESOURCE_MONITORS}.injected_resource.v3.InjectedResourceConfig",
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        "envoy.config.overload.v3.ShrinkHeapConfig",
        f"{_XDS}.IPMatcher",
        f"{_XDS}.ServerNameMatcher",
        "envoy.extensions.matching.input_matchers.ip.v3.Ip",
        "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing",
        "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction",
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
        f"{_LB}.ring_hash.v3.RingHash",
        f"{_LB}.maglev.v3.Maglev",
        f"{_LB}.cluster_provided.v3.ClusterProvided",
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        _FILE_SINK,
        "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
        "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
        f"{_TLS}.SPIFFECertValidatorConfig",
        f"{_REDIRECT}.previous_routes.v3.PreviousRoutesConfig",
        f"{_REDIRECT}.allow_listed_routes.v3.AllowListedRoutesConfig",
        f"{_REDIRECT}.safe_cross_scheme.v3.SafeCrossSchemeConfig",
    )
)
