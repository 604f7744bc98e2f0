"""What the command line said (Envoy's ``Server::Options``); ``/server_info`` shows it."""

from __future__ import annotations

from dataclasses import field

from sidecar.core.dataclass import dataclass
from sidecar.core.log import DEFAULT_FORMAT

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """Names are those of the flags; durations are seconds."""

    config_path: str = ""
    config_yaml: str = ""
    #: ``serve``, ``validate`` or ``init_only``.
    mode: str = "serve"
    concurrency: int = 1
    base_id: int = 0
    use_dynamic_base_id: bool = False
    base_id_path: str = ""
    restart_epoch: int = 0
    drain_time_s: int = 600
    #: ``gradual`` or ``immediate``.
    drain_strategy: str = "gradual"
    parent_shutdown_time_s: int = 900
    disable_hot_restart: bool = False
    log_level: str = "info"
    #: The text given, and what it says.
    component_log_level: str = ""
    component_log_levels: dict[str, str] = field(default_factory=dict)
    log_path: str = ""
    log_format: str = DEFAULT_FORMAT
    log_format_escaped: bool = False
    service_cluster: str = ""
    service_node: str = ""
    service_zone: str = ""
    admin_address_path: str = ""
    #: ``v4`` or ``v6``.
    local_address_ip_version: str = "v4"
    allow_unknown_static_fields: bool = False
    reject_unknown_dynamic_fields: bool = False
    ignore_unknown_dynamic_fields: bool = False
    skip_deprecated_logs: bool = False
    file_flush_interval_msec: int = 10000
    file_flush_min_size_kb: int = 64
    socket_path: str = "@envoy_domain_socket"
    socket_mode: str = "0600"
    skip_hot_restart_on_no_parent: bool = False
    skip_hot_restart_parent_stats: bool = False
    cpuset_threads: bool = False
    enable_mutex_tracing: bool = False
    enable_core_dump: bool = False
    enable_fine_grain_logging: bool = False
    log_stacktrace_single_entry: bool = False
    disable_extensions: tuple[str, ...] = ()
    stats_tag: tuple[str, ...] = ()
    #: Not Envoy's: from SIGTERM until nobody new is let in, and until the end.
    shutdown_grace_s: int = 0
    shutdown_deadline_s: int = 30
    #: Not Envoy's: how problems of the configuration are printed, ``text`` or ``json``.
    format: str = "text"
    #: Not Envoy's: ``llhttp`` or ``h11``.
    http1_codec: str = "llhttp"
    #: Not Envoy's: ``native`` or ``h2``.
    http2_codec: str = "native"
    #: Not Envoy's: where compiled Wasm modules are kept; "": in the user's cache, ``none``: nowhere.
    wasm_cache_dir: str = ""
