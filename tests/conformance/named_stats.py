"""The statistics that documentation of Envoy names, and which of them scenarios assert by value.

A name stands here without what a user chose in it: `cluster.<name>.` is `cluster.`, `http.<stat_prefix>.`
is `http.`.  What a scenario saw on Envoy is in its record, so the records tell what is asserted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["NAMED", "NOT_ASSERTED", "asserted_values", "named_at_rest", "pattern_of"]

_CODEC_2 = """
dropped_headers_with_underscores goaway_sent header_overflow headers_cb_no_stream inbound_empty_frames_flood
inbound_priority_frames_flood inbound_window_update_frames_flood keepalive_timeout metadata_empty_frames
outbound_flood outbound_control_flood requests_rejected_with_underscores_in_headers rx_messaging_error
rx_reset stream_refused_errors trailers tx_flush_timeout tx_reset streams_active pending_send_bytes
deferred_stream_close outbound_frames_active outbound_control_frames_active
"""
_CODEC_1 = """
dropped_headers_with_underscores metadata_not_supported_error response_flood
requests_rejected_with_underscores_in_headers
"""
_TLS = """
connection_error handshake session_reused no_certificate fail_verify_no_cert fail_verify_error
fail_verify_san fail_verify_cert_hash ocsp_staple_failed ocsp_staple_omitted ocsp_staple_responses
ocsp_staple_requests was_key_usage_invalid ciphers.* curves.* sigalgs.* versions.*
"""
_SUBSCRIPTION = """
config_reload config_reload_time_ms init_fetch_timeout update_attempt update_success update_failure
update_rejected update_time update_duration version version_text
"""
_BY_CODE = (
    "upstream_rq_completed upstream_rq_1xx upstream_rq_2xx upstream_rq_3xx upstream_rq_4xx upstream_rq_5xx"
)

#: Prefix → names below it, as `docs/root` of Envoy has them.
NAMED: dict[str, str] = {
    "listener.": """
        downstream_cx_total downstream_cx_destroy downstream_cx_transport_socket_connect_timeout
        downstream_cx_overflow downstream_cx_overload_reject downstream_cx_active downstream_cx_length_ms
        downstream_global_cx_overflow global_cx_overflow connections_accepted_per_socket_event
        downstream_pre_cx_timeout downstream_pre_cx_active extension_config_missing
        network_extension_config_missing no_filter_chain_match downstream_listener_filter_remote_close
        downstream_listener_filter_error worker_0.downstream_cx_total worker_0.downstream_cx_active
        main_thread.downstream_cx_total main_thread.downstream_cx_active udp.downstream_rx_datagram_dropped
        http.downstream_rq_completed http.downstream_rq_1xx http.downstream_rq_2xx http.downstream_rq_3xx
        http.downstream_rq_4xx http.downstream_rq_5xx
        """,
    "listener.ssl.": _TLS,
    "listener_manager.": """
        listener_added listener_modified listener_removed listener_stopped listener_create_success
        listener_create_failure listener_in_place_updated total_filter_chains_draining
        total_listeners_warming total_listeners_active total_listeners_draining workers_started
        """,
    "listener_manager.lds.": _SUBSCRIPTION,
    "http.": """
        downstream_cx_total downstream_cx_ssl_total downstream_cx_http1_total downstream_cx_http2_total
        downstream_cx_http3_total downstream_cx_upgrades_total downstream_cx_destroy
        downstream_cx_destroy_remote downstream_cx_destroy_local downstream_cx_destroy_active_rq
        downstream_cx_destroy_local_active_rq downstream_cx_destroy_remote_active_rq
        downstream_cx_protocol_error downstream_cx_rx_bytes_total downstream_cx_tx_bytes_total
        downstream_cx_drain_close downstream_cx_idle_timeout downstream_cx_max_duration_reached
        downstream_cx_max_requests_reached downstream_cx_overload_disable_keepalive downstream_cx_active
        downstream_cx_ssl_active downstream_cx_http1_active downstream_cx_http2_active
        downstream_cx_http3_active downstream_cx_upgrades_active downstream_cx_rx_bytes_buffered
        downstream_cx_tx_bytes_buffered downstream_cx_length_ms downstream_flow_control_paused_reading_total
        downstream_flow_control_resumed_reading_total downstream_rq_total downstream_rq_http1_total
        downstream_rq_http2_total downstream_rq_http3_total downstream_rq_rejected_via_ip_detection
        downstream_rq_response_before_rq_complete downstream_rq_rx_reset downstream_rq_tx_reset
        downstream_rq_non_relative_path downstream_rq_too_large downstream_rq_too_many_premature_resets
        downstream_rq_completed downstream_rq_failed_path_normalization downstream_rq_1xx downstream_rq_2xx
        downstream_rq_3xx downstream_rq_4xx downstream_rq_5xx downstream_rq_ws_on_non_ws_route
        downstream_rq_idle_timeout downstream_rq_header_timeout downstream_rq_max_duration_reached
        downstream_rq_timeout downstream_rq_overload_close downstream_rq_redirected_with_normalized_path
        downstream_rq_active downstream_rq_time rs_too_large no_route no_cluster rq_redirect
        rq_direct_response rq_total rq_reset_after_downstream_response_started rq_overload_local_reply
        rq_retry_skipped_request_not_complete passthrough_internal_redirect_bad_location
        passthrough_internal_redirect_unsafe_scheme passthrough_internal_redirect_too_many_redirects
        passthrough_internal_redirect_no_route passthrough_internal_redirect_predicate
        tracing.random_sampling tracing.service_forced tracing.client_enabled tracing.not_traceable
        tracing.health_check user_agent.ios.downstream_cx_total user_agent.android.downstream_cx_total
        user_agent.ios.downstream_cx_destroy_remote_active_rq
        user_agent.android.downstream_cx_destroy_remote_active_rq user_agent.ios.downstream_rq_total
        user_agent.android.downstream_rq_total
        """,
    "http1.": _CODEC_1,
    "http2.": _CODEC_2,
    "cluster.http1.": _CODEC_1,
    "cluster.http2.": _CODEC_2,
    "vhost.vcluster.": """
        upstream_rq_2xx upstream_rq_200 upstream_rq_retry upstream_rq_retry_limit_exceeded
        upstream_rq_retry_overflow upstream_rq_retry_success upstream_rq_timeout upstream_rq_total
        upstream_rq_time
        """,
    "vhost.route.": """
        upstream_rq_2xx upstream_rq_200 upstream_rq_retry upstream_rq_retry_limit_exceeded
        upstream_rq_retry_overflow upstream_rq_retry_success upstream_rq_timeout upstream_rq_total
        upstream_rq_time
        """,
    "cluster_manager.": """
        cluster_added cluster_modified cluster_removed cluster_updated cluster_updated_via_merge
        update_merge_cancelled update_out_of_merge_window active_clusters warming_clusters
        """,
    "cluster_manager.cds.": _SUBSCRIPTION,
    "cluster.": f"""
        upstream_cx_total upstream_cx_http1_total upstream_cx_http2_total upstream_cx_http3_total
        upstream_cx_connect_fail upstream_cx_connect_timeout upstream_cx_connect_with_0_rtt
        upstream_cx_idle_timeout upstream_cx_max_duration_reached upstream_cx_connect_attempts_exceeded
        upstream_cx_overflow upstream_cx_destroy upstream_cx_destroy_local upstream_cx_destroy_remote
        upstream_cx_destroy_with_active_rq upstream_cx_destroy_local_with_active_rq
        upstream_cx_destroy_remote_with_active_rq upstream_cx_close_notify upstream_cx_rx_bytes_total
        upstream_cx_tx_bytes_total upstream_cx_pool_overflow upstream_cx_protocol_error
        upstream_cx_max_requests upstream_cx_none_healthy upstream_cx_active upstream_cx_rx_bytes_buffered
        upstream_cx_tx_bytes_buffered upstream_cx_connect_ms upstream_cx_length_ms
        upstream_cx_preconnect_blocked upstream_cx_preconnect_skipped upstream_cx_preconnect_started
        upstream_rq_total upstream_rq_pending_total upstream_rq_active_overflow upstream_rq_pending_overflow
        upstream_rq_pending_failure_eject upstream_rq_cancelled upstream_rq_maintenance_mode
        upstream_rq_timeout upstream_rq_max_duration_reached upstream_rq_per_try_timeout
        upstream_rq_per_try_idle_timeout upstream_rq_rx_reset upstream_rq_rx_reset_no_error
        upstream_rq_tx_reset upstream_rq_retry upstream_rq_retry_backoff_exponential
        upstream_rq_retry_backoff_ratelimited upstream_rq_retry_limit_exceeded upstream_rq_retry_success
        upstream_rq_retry_overflow upstream_rq_0rtt upstream_rq_active upstream_rq_pending_active
        upstream_rq_per_cx upstream_flow_control_paused_reading_total
        upstream_flow_control_resumed_reading_total upstream_flow_control_backed_up_total
        upstream_flow_control_drained_total upstream_internal_redirect_failed_total
        upstream_internal_redirect_succeeded_total membership_change membership_healthy membership_degraded
        membership_excluded membership_total retry_or_shadow_abandoned update_no_rebuild bind_errors
        assignment_timeout_received assignment_stale assignment_use_cached warming_state max_host_weight
        update_empty {_SUBSCRIPTION} {_BY_CODE} upstream_rq_200 upstream_rq_404 upstream_rq_503
        upstream_rq_time canary.upstream_rq_200 canary.upstream_rq_2xx canary.upstream_rq_completed
        canary.upstream_rq_time internal.upstream_rq_200 internal.upstream_rq_2xx
        internal.upstream_rq_completed internal.upstream_rq_time external.upstream_rq_200
        external.upstream_rq_2xx external.upstream_rq_completed external.upstream_rq_time
        zone.upstream_rq_200 zone.upstream_rq_2xx zone.upstream_rq_completed zone.upstream_rq_time
        retry.upstream_rq_5xx retry.upstream_rq_503 upstream_rq_headers_size upstream_rq_headers_count
        upstream_rq_body_size upstream_rs_headers_size upstream_rs_headers_count upstream_rs_body_size
        upstream_rq_timeout_budget_percent_used upstream_rq_timeout_budget_per_try_percent_used
        endpoint.cx_total endpoint.cx_connect_fail endpoint.rq_total endpoint.rq_error endpoint.rq_success
        endpoint.rq_timeout endpoint.cx_active endpoint.rq_active endpoint.healthy health_check.attempt
        health_check.success health_check.failure health_check.passive_failure health_check.network_failure
        health_check.verify_cluster health_check.healthy health_check.degraded
        circuit_breakers.default.cx_open circuit_breakers.default.cx_pool_open
        circuit_breakers.default.rq_pending_open circuit_breakers.default.rq_open
        circuit_breakers.default.rq_retry_open circuit_breakers.high.cx_open
        circuit_breakers.high.cx_pool_open circuit_breakers.high.rq_pending_open
        circuit_breakers.high.rq_open circuit_breakers.high.rq_retry_open
        circuit_breakers.default.remaining_cx circuit_breakers.default.remaining_cx_pools
        circuit_breakers.default.remaining_pending circuit_breakers.default.remaining_rq
        circuit_breakers.default.remaining_retries lb_recalculate_zone_structures lb_healthy_panic
        lb_zone_cluster_too_small lb_zone_routing_all_directly lb_zone_routing_sampled
        lb_zone_routing_cross_zone lb_local_cluster_not_ok lb_zone_number_differs lb_zone_no_capacity_left
        original_dst_host_invalid lb_connection_aware_selected_cold lb_connection_aware_skipped_cold
        lb_subsets_active lb_subsets_created lb_subsets_removed lb_subsets_selected lb_subsets_fallback
        lb_subsets_fallback_panic lb_subsets_single_host_per_subset_duplicate ring_hash_lb.size
        ring_hash_lb.min_hashes_per_host ring_hash_lb.max_hashes_per_host maglev_lb.min_entries_per_host
        maglev_lb.max_entries_per_host
        """,
    "cluster.outlier_detection.": """
        ejections_enforced_total ejections_overflow ejections_active ejections_enforced_consecutive_5xx
        ejections_enforced_consecutive_gateway_failure ejections_enforced_consecutive_local_origin_failure
        ejections_enforced_success_rate ejections_enforced_local_origin_success_rate
        ejections_enforced_failure_percentage ejections_enforced_local_origin_failure_percentage
        ejections_detected_consecutive_5xx ejections_detected_consecutive_gateway_failure
        ejections_detected_consecutive_local_origin_failure ejections_detected_success_rate
        ejections_detected_local_origin_success_rate ejections_detected_failure_percentage
        ejections_detected_local_origin_failure_percentage ejections_total ejections_consecutive_5xx
        ejections_success_rate
        """,
    "cluster.ssl.": _TLS,
    "tcp.": """
        downstream_cx_total downstream_cx_no_route downstream_cx_tx_bytes_total downstream_cx_rx_bytes_total
        downstream_flow_control_paused_reading_total downstream_flow_control_resumed_reading_total
        early_data_received_count_total idle_timeout max_downstream_connection_duration
        on_demand_cluster_attempt on_demand_cluster_missing on_demand_cluster_success
        on_demand_cluster_timeout upstream_flush_total downstream_cx_tx_bytes_buffered
        downstream_cx_rx_bytes_buffered upstream_flush_active
        """,
    "http.jwt_authn.": """
        allowed denied cors_preflight_bypassed jwks_fetch_success jwks_fetch_failed jwt_cache_hit
        jwt_cache_miss
        """,
    "http.ext_authz.": """
        ok denied error disabled failure_mode_allowed invalid ignored_dynamic_metadata
        filter_state_name_collision omitted_response_headers
        """,
    "cluster.ext_authz.": "ok denied error disabled failure_mode_allowed",
    "cluster.ratelimit.": "ok error over_limit failure_mode_allowed",
    "http_local_rate_limit.": "enabled ok rate_limited enforced shadow_mode",
    "http.lua.": "errors executions",
    "lua.": "lua_vm_count",
    "http.rbac.": "allowed denied shadow_allowed shadow_denied logged not_logged",
    "http.fault.": """
        delays_injected aborts_injected response_rl_injected faults_overflow app.delays_injected
        app.aborts_injected active_faults
        """,
    "http.cors.": "origin_valid origin_invalid",
    "http.buffer.": "rq_timeout",
    "wasm.": """
        runtime.created runtime.active remote_load_cache_hits remote_load_cache_negative_hits
        remote_load_cache_misses remote_load_fetch_successes remote_load_fetch_failures
        remote_load_cache_entries plugin.vm_reload_backoff plugin.vm_reload_success plugin.vm_reload_failure
        wasm_vm_count runtime.memory_size plugin.vm_memory_size
        """,
    "wasmcustom.": "*",
    "server.": """
        uptime concurrency memory_allocated memory_heap_size memory_physical_size live state
        parent_connections total_connections version days_until_first_cert_expiring
        seconds_until_first_ocsp_response_expiring hot_restart_epoch stats_recent_lookups
        hot_restart_generation initialization_time_ms debug_assertion_failures envoy_bug_failures
        envoy_notifications static_unknown_fields dynamic_unknown_fields wip_protos dropped_stat_flushes
        compilation_settings.fips_mode worker_0.watchdog_miss worker_0.watchdog_mega_miss
        main_thread.watchdog_miss main_thread.watchdog_mega_miss dispatcher.loop_duration_us
        dispatcher.poll_delay_us
        """,
    "listener_manager.worker_0.": "dispatcher.loop_duration_us dispatcher.poll_delay_us",
    "runtime.": """
        load_error load_success override_dir_exists override_dir_not_exists deprecated_feature_use num_keys
        num_layers admin_overrides_active deprecated_feature_seen_since_process_start
        """,
    "filesystem.": """
        write_buffered write_completed write_failed flushed_by_timer reopen_failed write_total_buffered
        """,
    "access_logs.grpc_access_log.": "logs_written logs_dropped",
    "tracing.opentelemetry.": """
        spans_sent timer_flushed http_reports_sent http_reports_success http_reports_failed
        """,
    "thread_local_cluster_manager.": "worker_0.clusters_inflated",
    "control_plane.": "connected_state rate_limit_enforced pending_requests identifier",
    "http.rds.": _SUBSCRIPTION,
    "sds.": _SUBSCRIPTION,
    "extension_config_discovery.": _SUBSCRIPTION,
}


def named() -> set[str]:
    """Every name, with its prefix."""
    return {prefix + name for prefix, names in NAMED.items() for name in names.split()}


#: What no scenario shows, and why not.
_ABSENT = "Envoy 1.40 does not have it where scenarios look: they see that it is absent on both"
_WASM = "wasm_stats has the names; how many VMs and loads there are is a matter of Envoy's threads"
_TRACERS = "nothing counts it here"
_KEYS = "told under names of their own, or not by this side"
NOT_ASSERTED: dict[str, str] = {
    "listener.global_cx_overflow": _ABSENT,
    "listener.ssl.was_key_usage_invalid": _ABSENT,
    "listener.ssl.sigalgs.*": _KEYS,
    "listener_manager.lds.config_reload": _ABSENT,
    "listener_manager.lds.config_reload_time_ms": _ABSENT,
    "http.rq_retry_skipped_request_not_complete": _ABSENT,
    "cluster.upstream_cx_preconnect_blocked": _ABSENT,
    "cluster.upstream_cx_preconnect_started": _ABSENT,
    "cluster.config_reload": _ABSENT,
    "cluster.config_reload_time_ms": _ABSENT,
    "cluster.lb_zone_number_differs": _ABSENT,
    "cluster.lb_connection_aware_selected_cold": _ABSENT,
    "cluster.lb_connection_aware_skipped_cold": _ABSENT,
    "cluster.ssl.was_key_usage_invalid": _ABSENT,
    "cluster.ssl.ciphers.*": _KEYS,
    "cluster.ext_authz.disabled": _ABSENT,
    "http.rbac.logged": _ABSENT,
    "http.rbac.not_logged": _ABSENT,
    "http.buffer.rq_timeout": _ABSENT,
    "wasm.runtime.created": _WASM,
    "wasm.runtime.active": _WASM,
    "wasm.plugin.vm_reload_backoff": _WASM,
    "wasm.plugin.vm_reload_success": _WASM,
    "wasm.plugin.vm_reload_failure": _WASM,
    "wasm.wasm_vm_count": _WASM,
    "wasm.runtime.memory_size": _WASM,
    "wasm.plugin.vm_memory_size": _WASM,
    "tracing.opentelemetry.timer_flushed": "how often it moves depends on when a test begins",
    "tracing.opentelemetry.http_reports_sent": _TRACERS,
    "tracing.opentelemetry.http_reports_success": _TRACERS,
    "tracing.opentelemetry.http_reports_failed": _TRACERS,
    "control_plane.pending_requests": _ABSENT,
    "sds.config_reload": _ABSENT,
    "sds.config_reload_time_ms": _ABSENT,
    "extension_config_discovery.config_reload_time_ms": _ABSENT,
}

#: A part of a name that a user chose: a prefix, a cluster, an endpoint.
_ANY = r"(?:[^.]*127\.0\.0\.1_\w+|[^.]+)"
#: What stands for a prefix of `NAMED` in a name that was seen; other prefixes stand for themselves.
_PATTERNS = {
    "listener.": rf"listener\.{_ANY}\.",
    "listener.ssl.": rf"listener\.{_ANY}\.ssl\.",
    "http.": rf"http\.{_ANY}\.",
    "cluster.http1.": rf"cluster\.{_ANY}\.http1\.",
    "cluster.http2.": rf"cluster\.{_ANY}\.http2\.",
    "vhost.vcluster.": rf"vhost\.{_ANY}\.vcluster\.{_ANY}\.",
    "vhost.route.": rf"vhost\.{_ANY}\.route\.{_ANY}\.",
    "cluster.": rf"cluster\.{_ANY}\.(?:health_check\.name\.{_ANY}\.)?",
    "cluster.outlier_detection.": rf"cluster\.{_ANY}\.outlier_detection\.",
    "cluster.ssl.": rf"cluster\.{_ANY}\.ssl\.",
    "tcp.": rf"tcp\.{_ANY}\.",
    "cluster.ext_authz.": rf"cluster\.{_ANY}\.ext_authz\.(?:.+\.)?",
    "cluster.ratelimit.": rf"cluster\.{_ANY}\.ratelimit\.(?:.+\.)?",
    "http_local_rate_limit.": r".+\.http_local_rate_limit\.",
    "http.rds.": rf"http\.{_ANY}\.rds\.{_ANY}\.",
    "sds.": r".*\bsds\..+\.",
    "extension_config_discovery.": r"extension_config_discovery\..+\.",
}
#: The same for the first part of a name.
_INNER = {
    "http.downstream": rf"http\.{_ANY}\.downstream",
    "endpoint.": rf"endpoint\.{_ANY}\.",
    "zone.": r"zone\.\w+\.\w+\.",
    "worker_0.": r"worker_\d\.",
    "runtime.": r"[\w.]*",
    "plugin.": rf"{_ANY}\.",
    "app.": rf"{_ANY}\.",
}


def pattern_of(prefix: str, name: str) -> re.Pattern[str]:
    """What a name of `NAMED` looks like where it is seen."""
    start = _PATTERNS.get(prefix)
    if start is None:
        is_filter = prefix.startswith("http.")
        start = rf"http\.{_ANY}\.{prefix[5:-1]}\.(?:.+\.)?" if is_filter else re.escape(prefix)
    inner = next((each for each in _INNER if name.startswith(each)), "")
    rest = re.escape(name.removeprefix(inner)).replace(r"\*", ".+")
    return re.compile(start + _INNER.get(inner, "") + rest)


def asserted_values(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of each statistic that an observation of a record shows, however deep it stands.

    A block of statistics may have their common prefix as its label.
    """
    if isinstance(tree, dict):
        for key, item in tree.items():
            if isinstance(item, dict | list):
                yield from asserted_values(item, key)
                continue
            if _STAT.fullmatch(key):
                yield key, item
            if path.count(".") and re.fullmatch(r"[\w.]+", key):
                yield f"{path.strip('^.').replace(chr(92), '')}.{key}", item
            if isinstance(item, str):
                yield from _lines(item)
    elif isinstance(tree, list):
        for item in tree:
            if isinstance(item, str):
                yield from _lines(item)
            else:
                yield from asserted_values(item)


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for line in text.splitlines():
        name, found, value = line.partition(": ")
        if found and _STAT.fullmatch(name):
            yield name, value


_STAT = re.compile(r"[a-z][\w.%:/=-]*\.[\w.:/=-]+", re.IGNORECASE)


#: What names stand for in the setup of `scenarios/stats_values.py`; others have no place of their own there.
_PLACES = {
    "listener.": "listener.main.",
    "listener.ssl.": "listener.tls.ssl.",
    "cluster.ssl.": "cluster.tls.ssl.",
    "tcp.": "tcp.tcp.",
    "http.rds.": "http.found.rds.routes.",
    "sds.": "sds.cert.",
    "extension_config_discovery.": "extension_config_discovery.http_filter.ext.",
    "http.": "http.main.",
    "http1.": "http1.",
    "http2.": "http2.",
    "cluster.http1.": "cluster.app.http1.",
    "cluster.http2.": "cluster.h2.http2.",
    "cluster.": "cluster.app.",
    "cluster.outlier_detection.": "cluster.app.outlier_detection.",
    "http.ext_authz.": "http.main.ext_authz.",
    "cluster.ext_authz.": "cluster.app.ext_authz.",
    "cluster.ratelimit.": "cluster.app.ratelimit.",
    "http_local_rate_limit.": "limit.http_local_rate_limit.",
    "http.lua.": "http.main.lua.",
    "http.rbac.": "http.main.rbac.",
    "http.fault.": "http.main.fault.",
    "http.buffer.": "http.main.buffer.",
}
_AS_THEY_ARE = (
    "listener_manager.",
    "listener_manager.lds.",
    "listener_manager.worker_0.",
    "cluster_manager.",
    "cluster_manager.cds.",
    "lua.",
    "server.",
    "runtime.",
    "filesystem.",
    "thread_local_cluster_manager.",
)


def named_at_rest() -> list[str]:
    """The names in the setup of `scenarios/stats_values.py`."""
    places = {**_PLACES, **{prefix: prefix for prefix in _AS_THEY_ARE}}
    found = [f"cluster.eds.{name}" for name in _SUBSCRIPTION.split()]
    checks = (name for name in NAMED["cluster."].split() if name.startswith("health_check."))
    found += [f"cluster.sick.{name}" for name in checks]
    for prefix, place in places.items():
        for name in NAMED[prefix].split():
            if "*" in name:
                continue  # what it is, a handshake decides
            inner = name.replace("endpoint.", "endpoint.127.0.0.1_PORT.").replace("zone.", "zone.here.there.")
            found.append(place + (inner.replace("http.", "http.main.") if prefix == "listener." else inner))
    return sorted(found)
