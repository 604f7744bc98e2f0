"""``/server_info`` and ``/memory``."""

from __future__ import annotations

import os
import time
from typing import Any

from sidecar._version import __version__
from sidecar.admin.state import AdminState
from sidecar.core.options import Options

__all__ = ["memory", "server_info"]

_MODES = {"serve": "Serve", "validate": "Validate", "init_only": "InitOnly"}


def server_info(state: AdminState, node: dict[str, Any]) -> dict[str, Any]:
    """``envoy.admin.v3.ServerInfo``."""
    uptime = f"{int(time.time() - state.started_s)}s"
    return {
        "version": f"sidecar/{__version__}/Clean/RELEASE/OpenSSL",
        "state": state.server_state,
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": f"{int(time.time() - state.first_started_s)}s",
        "hot_restart_version": state.hot_restart_version,
        "command_line_options": _command_line(state.options),
        "node": node,
        "hot_restart_initializing": False,
    }


def _command_line(options: Options) -> dict[str, Any]:
    return {
        "base_id": str(options.base_id),
        "concurrency": options.concurrency,
        "config_path": options.config_path,
        "config_yaml": options.config_yaml,
        "allow_unknown_static_fields": options.allow_unknown_static_fields,
        "admin_address_path": options.admin_address_path,
        "local_address_ip_version": options.local_address_ip_version,
        "log_level": options.log_level,
        "component_log_level": options.component_log_level,
        "log_format": options.log_format,
        "log_path": options.log_path,
        "service_cluster": options.service_cluster,
        "service_node": options.service_node,
        "service_zone": options.service_zone,
        "file_flush_interval": _duration(options.file_flush_interval_msec),
        "drain_time": f"{options.drain_time_s}s",
        "parent_shutdown_time": f"{options.parent_shutdown_time_s}s",
        "mode": _MODES.get(options.mode, options.mode),
        "disable_hot_restart": options.disable_hot_restart,
        "enable_mutex_tracing": options.enable_mutex_tracing,
        "restart_epoch": options.restart_epoch,
        "cpuset_threads": options.cpuset_threads,
        "reject_unknown_dynamic_fields": options.reject_unknown_dynamic_fields,
        "log_format_escaped": options.log_format_escaped,
        "disabled_extensions": list(options.disable_extensions),
        "ignore_unknown_dynamic_fields": options.ignore_unknown_dynamic_fields,
        "use_dynamic_base_id": options.use_dynamic_base_id,
        "base_id_path": options.base_id_path,
        "drain_strategy": options.drain_strategy.capitalize(),
        "enable_fine_grain_logging": options.enable_fine_grain_logging,
        "socket_path": options.socket_path,
        "socket_mode": _socket_mode(options.socket_mode),
        "enable_core_dump": options.enable_core_dump,
        "stats_tag": list(options.stats_tag),
        "skip_hot_restart_on_no_parent": options.skip_hot_restart_on_no_parent,
        "skip_hot_restart_parent_stats": options.skip_hot_restart_parent_stats,
        "skip_deprecated_logs": options.skip_deprecated_logs,
        "file_flush_min_size": options.file_flush_min_size_kb,
        "log_stacktrace_single_entry": options.log_stacktrace_single_entry,
    }


def _duration(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03d}s" if rest else f"{seconds}s"


def _socket_mode(text: str) -> int:
    return int(text, 8) if text.isdigit() else 0


def memory() -> dict[str, str]:
    """``envoy.admin.v3.Memory``, as far as the system tells: there is one heap, and it is not divided."""
    resident = 0
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    text = str(resident)
    return {
        "allocated": text,
        "heap_size": text,
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": text,
    }
