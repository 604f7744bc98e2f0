"""What a UDP proxy counts: ``udp.<stat_prefix>.``, and ``udp.`` in the scope of each of its clusters."""

from __future__ import annotations

from typing import Any

__all__ = ["UdpClusterStats", "UdpStats"]


class UdpStats:
    """``udp.<stat_prefix>.``, an attribute for each."""

    downstream_sess_active: Any
    downstream_sess_no_route: Any
    downstream_sess_rx_bytes: Any
    downstream_sess_rx_datagrams: Any
    downstream_sess_rx_errors: Any
    downstream_sess_total: Any
    downstream_sess_tx_bytes: Any
    downstream_sess_tx_datagrams: Any
    downstream_sess_tx_errors: Any
    idle_timeout: Any
    session_filter_config_missing: Any

    def __init__(self, scope: Any) -> None:
        for name in UdpStats.__annotations__:
            setattr(self, name, scope.gauge(name) if name.endswith("_active") else scope.counter(name))


class UdpClusterStats:
    """``cluster.<name>.udp.``; those of tunnels stay zero."""

    sess_rx_datagrams: Any
    sess_rx_datagrams_dropped: Any
    sess_rx_errors: Any
    sess_tunnel_buffer_overflow: Any
    sess_tunnel_failure: Any
    sess_tunnel_success: Any
    sess_tx_datagrams: Any
    sess_tx_errors: Any

    def __init__(self, scope: Any) -> None:
        for name in UdpClusterStats.__annotations__:
            setattr(self, name, scope.counter(f"udp.{name}"))
