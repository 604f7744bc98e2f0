"""Which choices of an upstream protocol Envoy takes and refuses, and so do we."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict
from test_config_verdicts import conf

pytestmark = pytest.mark.oracle

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = """
transport_socket:
  name: tls
  typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}
"""
_BOTH = "http_protocol_options: {}\nhttp2_protocol_options: {}"


def typed(options: str) -> str:
    return (
        f"typed_extension_protocol_options: {{{_OPTIONS}: "
        f"{{'@type': type.googleapis.com/{_OPTIONS}, {options}}}}}"
    )


CASES = {
    "ALPN without TLS": typed("auto_config: {}"),
    "ALPN over TLS": typed("auto_config: {}") + _TLS,
    "ALPN with HTTP/3 and no cache": typed("auto_config: {http3_protocol_options: {}}") + _TLS,
    "HTTP/3 without QUIC": typed("explicit_http_config: {http3_protocol_options: {}}"),
    "HTTP/3 over TLS": typed("explicit_http_config: {http3_protocol_options: {}}") + _TLS,
    "downstream protocol": typed("use_downstream_protocol_config: {}"),
    "downstream protocol with options": typed(
        "use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}"
    ),
    "downstream protocol with HTTP/3": typed("use_downstream_protocol_config: {http3_protocol_options: {}}"),
    "both, deprecated": _BOTH,
    "both, deprecated, as downstream": f"{_BOTH}\nprotocol_selection: USE_DOWNSTREAM_PROTOCOL",
    "both, beside the new place": f"{_BOTH}\n{typed('explicit_http_config: {http_protocol_options: {}}')}",
    "none": typed("common_http_protocol_options: {}"),
}


@pytest.mark.parametrize("name", CASES)
def test_choice_of_an_upstream_protocol_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(cluster=CASES[name]))
    theirs = envoy_verdict(file)
    ours = our_verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"
