"""The event log of health checks: a line of JSON for what happens to a host.

``envoy.data.core.v3.HealthCheckEvent`` as Envoy prints it, values that are zero too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sidecar.upstream.host import Host
from sidecar.upstream.outlier_events import event_time

__all__ = ["HealthEvents"]

#: Fields that stand before the time; the others come behind it.
_EARLY = ("eject_unhealthy_event", "add_healthy_event")
_LAST = "successful_health_check_event"


class HealthEvents:
    """The log of one cluster's checks; ``write`` takes a line with its line feed."""

    def __init__(
        self,
        kind: str,
        cluster_name: str,
        write: Callable[[str], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kind = kind
        self._cluster_name = cluster_name
        self._write = write
        self._now = now

    def put(self, host: Host, event: str, **values: Any) -> None:
        """Write one event and its values."""
        line: dict[str, Any] = {
            "health_checker_type": self._kind,
            "host": _address(host),
            "cluster_name": self._cluster_name,
        }
        if event in _EARLY:
            line[event] = values
        line["timestamp"] = event_time(self._now())
        if event not in _EARLY and event != _LAST:
            line[event] = values
        if host.metadata:
            line["metadata"] = {"filter_metadata": _plain(host.metadata), "typed_filter_metadata": {}}
        locality = host.locality
        line["locality"] = {
            "region": locality.region,
            "zone": locality.zone,
            "sub_zone": locality.sub_zone,
        }
        if event == _LAST:
            line[event] = values
        self._write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """A value of a Struct as Envoy prints it: keys in order, whole numbers without a point."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _address(host: Host) -> dict[str, Any]:
    ip, colon, port = host.address.rpartition(":")
    if not colon or not port.isdigit():
        return {"pipe": {"path": host.address, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": ip.removeprefix("[").removesuffix("]"),
            "port_value": int(port),
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }
