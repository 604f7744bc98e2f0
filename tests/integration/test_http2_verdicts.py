"""Which ``Http2ProtocolOptions`` Envoy takes and refuses, and so do we."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict
from test_config_verdicts import conf

pytestmark = pytest.mark.oracle

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SETTING = "custom_settings_parameters: [{identifier: %s, value: %s}]"
OPTIONS = {
    "no value": "custom_settings_parameters: [{identifier: 9}]",
    "no identifier": "custom_settings_parameters: [{value: 9}]",
    "identifier too large": SETTING % (65536, 1),
    "identifier 0": SETTING % (0, 1),
    "one twice": "custom_settings_parameters: [{identifier: 9, value: 1}, {identifier: 9, value: 1}]",
    "one of two values": "custom_settings_parameters: [{identifier: 9, value: 1}, {identifier: 9, value: 2}]",
    "push on": SETTING % (2, 1),
    "push off": SETTING % (2, 0),
    "extended CONNECT": SETTING % (8, 1),
    "table size": SETTING % (1, 10),
    "table size by name too": f"hpack_table_size: 4096, {SETTING % (1, 10)}",
    "streams": SETTING % (3, 10),
    "streams by name too": f"max_concurrent_streams: 10, {SETTING % (3, 10)}",
    "window": SETTING % (4, 100000),
    "window by name too": f"initial_stream_window_size: 100000, {SETTING % (4, 100000)}",
    "keepalive without a timeout": "connection_keepalive: {interval: 1s}",
    "keepalive without an interval": "connection_keepalive: {timeout: 1s}",
    "keepalive of nothing": "connection_keepalive: {interval: 0s, timeout: 1s}",
    "idle interval of nothing": "connection_keepalive: {timeout: 1s, connection_idle_interval: 0s}",
    "jitter beyond 100": "connection_keepalive: {timeout: 1s, interval_jitter: {value: 101}}",
    "window too small": "initial_stream_window_size: 65534",
    "connection window too small": "initial_connection_window_size: 65534",
    "no streams": "max_concurrent_streams: 0",
    "no outbound frames": "max_outbound_frames: 0",
    "no control frames": "max_outbound_control_frames: 0",
    "no window updates": "max_inbound_window_update_frames_per_data_frame_sent: 0",
    "no priorities": "max_inbound_priority_frames_per_stream: 0",
    "field size too small": "max_header_field_size_kb: 63",
    "field size too large": "max_header_field_size_kb: 257",
    "metadata": "allow_metadata: true, max_metadata_size: 1024",
    "metadata of nothing": "max_metadata_size: 0",
    "resets": "stream_reset_burst: 0, stream_reset_rate: 0",
    "a burst alone": "stream_reset_burst: 5",
}


def _cases() -> list[tuple[str, str]]:
    cases = []
    for name, options in OPTIONS.items():
        cases.append((f"listener: {name}", conf(hcm=f"http2_protocol_options: {{{options}}}")))
    for name in ("one of two values", "push on", "table size by name too", "one twice", "resets"):
        http2 = f"http2_protocol_options: {{{OPTIONS[name]}}}"
        cases.append((f"cluster: {name}", conf(cluster=http2)))
        typed = f"{{'@type': type.googleapis.com/{_OPTIONS}, explicit_http_config: {{{http2}}}}}"
        cases.append(
            (f"typed: {name}", conf(cluster=f"typed_extension_protocol_options: {{{_OPTIONS}: {typed}}}"))
        )
    return cases


CASES = dict(_cases())


@pytest.mark.parametrize("name", CASES)
def test_http2_options_get_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[name])
    theirs = envoy_verdict(file)
    ours = our_verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"


@pytest.mark.parametrize("setting", [(2, 7), (4, 1 << 31), (5, 100), (5, 1 << 24)], ids=str)
def test_setting_that_the_rfc_forbids_is_not_served(setting: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(hcm=f"http2_protocol_options: {{{SETTING % setting}}}"))
    assert envoy_verdict(file).accepted
    ours = our_verdict(file)
    assert ours.accepted
    assert f"RFC 9113 allows no setting {setting[0]} of {setting[1]}" in ours.text
