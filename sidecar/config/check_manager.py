"""Options of a connection manager that exclude each other (reasons in Envoy's words)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_manager"]


def check_manager(context: Context, path: Path, manager: Any) -> None:
    """One ``HttpConnectionManager``."""
    if manager.strip_matching_host_port and manager.strip_any_host_port:
        context.report.error(
            (*path, "strip_any_host_port"),
            "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.",
        )
    if manager.HasField("access_log_options"):
        for field, is_set in (
            ("access_log_flush_interval", manager.HasField("access_log_flush_interval")),
            ("flush_access_log_on_new_request", manager.flush_access_log_on_new_request),
        ):
            if is_set:
                context.report.error(
                    (*path, field), f"Only one of {field} or access_log_options can be specified."
                )
    if manager.http_filters and manager.http_filters[-1].disabled:
        last = manager.http_filters[-1]
        context.report.error(
            (*path, "http_filters", len(manager.http_filters) - 1, "disabled"),
            f"Error: the last (terminal) filter ({last.name}) in the chain cannot be disabled by default.",
        )
    if manager.HasField("typed_header_validation_config"):
        name = manager.typed_header_validation_config.name
        context.report.error(
            (*path, "typed_header_validation_config"),
            f"This Envoy binary does not support header validator extensions.: '{name}'",
            "Envoy 1.40 refuses it too: remove it",
        )
