"""``envoy.config.core.v3.UdpSocketConfig`` compiled."""

from __future__ import annotations

from typing import Any

from sidecar.net.datagrams import DatagramSettings

__all__ = ["compile_udp_socket"]


def compile_udp_socket(message: Any, *, prefer_gro: bool) -> DatagramSettings:
    """The settings; ``prefer_gro`` is what holds where the message says nothing."""
    size = DatagramSettings().max_rx_datagram_size
    if message.HasField("max_rx_datagram_size"):
        size = message.max_rx_datagram_size.value
    if message.HasField("prefer_gro"):
        prefer_gro = message.prefer_gro.value
    return DatagramSettings(size, prefer_gro)
