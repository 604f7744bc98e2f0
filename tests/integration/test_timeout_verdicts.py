"""Limits of time that Envoy refuses or takes, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict
from test_config_verdicts import conf, swap

pytestmark = pytest.mark.oracle

_ROUTE = "route: {cluster: backend}"
_COMMON = "common_http_protocol_options"
CASES = {
    **{
        name: conf(hcm=f"{name}: -1s")
        for name in (
            "stream_idle_timeout",
            "request_timeout",
            "request_headers_timeout",
            "drain_timeout",
            "delayed_close_timeout",
            "access_log_flush_interval",
        )
    },
    **{
        f"{_COMMON}.{name}": conf(hcm=f"{_COMMON}: {{{name}: -1s}}")
        for name in ("idle_timeout", "max_connection_duration", "max_stream_duration")
    },
    **{
        f"cluster {name}": conf(cluster=f"{_COMMON}: {{{name}: -0.5s}}")
        for name in ("idle_timeout", "max_connection_duration", "max_stream_duration")
    },
    **{
        f"route {name}": swap(_ROUTE, f"route: {{cluster: backend, {name}: -1s}}")
        for name in ("timeout", "idle_timeout", "max_grpc_timeout", "grpc_timeout_offset")
    },
    **{
        f"route {name}": swap(_ROUTE, f"route: {{cluster: backend, max_stream_duration: {{{name}: -1s}}}}")
        for name in ("max_stream_duration", "grpc_timeout_header_max", "grpc_timeout_header_offset")
    },
    "flush interval 0": conf(hcm="access_log_options: {access_log_flush_interval: 0s}"),
    "below a millisecond": conf(hcm=f"{_COMMON}: {{max_stream_duration: 0.0001s}}"),
    "zeros": conf(hcm=f"{_COMMON}: {{max_connection_duration: 0s, max_stream_duration: 0s}}"),
}


@pytest.mark.parametrize("name", CASES)
def test_limit_of_time_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CASES[name])
    assert our_verdict(file).accepted == envoy_verdict(file).accepted
