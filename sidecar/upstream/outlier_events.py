"""The event log of outlier detection: a line of JSON for every ejection and every return.

``envoy.data.cluster.v3.OutlierDetectionEvent`` as Envoy prints it, values that are zero too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.upstream.outlier_detection import Detector, HostMonitor

__all__ = ["OutlierEvents", "event_time"]


class OutlierEvents:
    """The log of one cluster; ``write`` takes a line with its line feed."""

    def __init__(
        self, cluster_name: str, write: Callable[[str], None], *, now: Callable[[], float] = time.time
    ) -> None:
        self._cluster_name = cluster_name
        self._write = write
        self._now = now

    def eject(self, detector: Detector, monitor: HostMonitor, kind: str, enforced: bool, now: float) -> None:
        """The host was ejected, or would have been (``enforcing_*``)."""
        is_local = kind.endswith("LOCAL_ORIGIN")
        rates = monitor.local if is_local else monitor.external
        why: dict[str, Any]
        if kind.startswith("SUCCESS_RATE"):
            numbers = detector.local if is_local else detector.external
            why = {
                "eject_success_rate_event": {
                    "host_success_rate": int(rates.rate),
                    "cluster_average_success_rate": int(numbers.average),
                    "cluster_success_rate_ejection_threshold": int(max(0.0, numbers.threshold)),
                }
            }
        elif kind.startswith("FAILURE_PERCENTAGE"):
            why = {"eject_failure_percentage_event": {"host_success_rate": int(rates.rate)}}
        else:
            why = {"eject_consecutive_event": {}}
        self._put(monitor, kind, monitor.ejected.ended, now, "EJECT", enforced, why)

    def uneject(self, detector: Detector, monitor: HostMonitor, now: float) -> None:
        """The host is back."""
        self._put(monitor, "CONSECUTIVE_5XX", monitor.ejected.began, now, "UNEJECT", False, {})

    def _put(
        self,
        monitor: HostMonitor,
        kind: str,
        last: float | None,
        now: float,
        action: str,
        enforced: bool,
        why: dict[str, Any],
    ) -> None:
        event: dict[str, Any] = {"type": kind, "timestamp": event_time(self._now())}
        if last is not None:
            event["secs_since_last_action"] = str(int(now - last))
        event["cluster_name"] = self._cluster_name
        event["upstream_url"] = monitor.host.address
        event["action"] = action
        event["num_ejections"] = monitor.num_ejections
        event["enforced"] = enforced
        event.update(why)
        self._write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")


def event_time(seconds: float) -> str:
    """A ``google.protobuf.Timestamp`` of whole milliseconds as JSON."""
    whole, thousandths = divmod(int(seconds * 1000), 1000)
    fraction = f".{thousandths:03d}" if thousandths else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"
