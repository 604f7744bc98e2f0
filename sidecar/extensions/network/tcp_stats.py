"""What a TCP proxy counts: ``tcp.<stat_prefix>.``"""

from __future__ import annotations

from typing import Any

__all__ = ["TcpStats"]

_COUNTERS = (
    "downstream_cx_drain_close", "downstream_cx_no_route", "downstream_cx_rx_bytes_total",
    "downstream_cx_total", "downstream_cx_tx_bytes_total", "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total", "early_data_received_count_total", "idle_timeout",
    "max_downstream_connection_duration", "route_delayed_total", "upstream_flush_total",
)  # fmt: skip
_GAUGES = ("downstream_cx_rx_bytes_buffered", "downstream_cx_tx_bytes_buffered", "upstream_flush_active")


class TcpStats:
    """An attribute for each; what is not kept here stays zero."""

    scope: Any
    downstream_cx_total: Any
    downstream_cx_no_route: Any
    downstream_cx_drain_close: Any
    downstream_cx_rx_bytes_total: Any
    downstream_cx_tx_bytes_total: Any
    downstream_flow_control_paused_reading_total: Any
    downstream_flow_control_resumed_reading_total: Any
    early_data_received_count_total: Any
    idle_timeout: Any
    max_downstream_connection_duration: Any

    def __init__(self, scope: Any, *, is_on_demand: bool = False) -> None:
        self.scope = scope
        for name in _COUNTERS:
            setattr(self, name, scope.counter(name))
        for name in _GAUGES:
            scope.gauge(name)
        #: Of clusters that were asked for, by what came of it; ``attempt`` for all.
        self.on_demand: dict[str, Any] = {}
        if is_on_demand:
            for outcome in ("attempt", "missing", "timeout"):
                self.on_demand[outcome] = scope.counter(f"on_demand_cluster_{outcome}")
            self.on_demand["available"] = scope.counter("on_demand_cluster_success")
        #: How often the upstream took no more, and did again.
        self.waits = (
            self.downstream_flow_control_paused_reading_total,
            self.downstream_flow_control_resumed_reading_total,
        )
