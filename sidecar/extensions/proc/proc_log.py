"""What is told of an exchange with a processor afterwards: ``%FILTER_STATE(<the filter's name>:FIELD:…)%``.

The names are those of Envoy's ``ExtProcLoggingInfo``.  Its other forms, which also count the bytes of the
gRPC stream, are not made (docs/envoy-differences.md).
"""

from __future__ import annotations

__all__ = ["ProcLog"]

#: By what was waited for (:mod:`sidecar.extensions.proc.side`): heads, trailers; all else are bodies.
_PARTS = {1: "header", 5: "trailer"}


class ProcLog(dict[str, str]):
    """How long the processor took for each part, and how each call of it ended."""

    def record(self, direction: str, state: int, took_ns: int, status: int) -> None:
        """One call is over."""
        took = took_ns // 1000
        part = _PARTS.get(state)
        if part is not None:
            self.setdefault(f"{direction}_{part}_latency_us", str(took))
            self.setdefault(f"{direction}_{part}_call_status", str(status))
            return
        before = f"{direction}_body_"
        self[f"{before}call_count"] = str(int(self.get(f"{before}call_count", "0")) + 1)
        self[f"{before}total_latency_us"] = str(int(self.get(f"{before}total_latency_us", "0")) + took)
        self[f"{before}max_latency_us"] = str(max(int(self.get(f"{before}max_latency_us", "0")), took))
        self[f"{before}last_call_status"] = str(status)
