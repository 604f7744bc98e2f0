"""What the access log can say of a processor's calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sidecar.extensions.proc.proc_log import ProcLog
from sidecar.extensions.proc.side import BODY, HEADERS
from sidecar.observability.metadata_operators import filter_state


def test_calls_are_told_by_field_alone() -> None:
    log = ProcLog()
    log.record("request", HEADERS, 5_000, 0)
    log.record("request", HEADERS, 9_000, 2)
    log.record("response", BODY, 1_000, 0)
    log.record("response", BODY, 3_000, 4)
    stream: Any = SimpleNamespace(filter_state={"proc": log}, connection=SimpleNamespace(filter_state=None))
    told = {
        name: filter_state(f"proc:FIELD:{name}", None)(stream)
        for name in (
            *("request_header_latency_us", "request_header_call_status", "response_body_call_count"),
            *("response_body_total_latency_us", "response_body_max_latency_us", "request_body_call_count"),
            "response_body_last_call_status",
        )
    }
    assert told == {
        "request_header_latency_us": "5",
        "request_header_call_status": "0",
        "response_body_call_count": "2",
        "response_body_total_latency_us": "4",
        "response_body_max_latency_us": "3",
        "request_body_call_count": None,
        "response_body_last_call_status": "4",
    }
    assert filter_state("proc:PLAIN", None)(stream) is None
