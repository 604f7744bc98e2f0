# ruff: noqa: E501  (a case is a line of a table)
"""Proxies of HTTP/1.1 in front of hosts: what Envoy accepts is accepted, what it refuses refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle

_KIND = "type.googleapis.com/envoy.extensions.transport_sockets"
_RAW = f"transport_socket: {{name: raw, typed_config: {{'@type': {_KIND}.raw_buffer.v3.RawBuffer}}}}"
_TLS = f"transport_socket: {{name: tls, typed_config: {{'@type': {_KIND}.tls.v3.UpstreamTlsContext}}}}"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_AUTO = f"typed_extension_protocol_options: {{{_HTTP}: {{'@type': type.googleapis.com/{_HTTP}, auto_config: {{}}}}}}"
_PROXY = "default_proxy_address: {socket_address: {address: 127.0.0.1, port_value: 3128}}"


def through(*fields: str, cluster: str = "", metadata: str = "") -> str:
    config = ", ".join((f"'@type': {_KIND}.http_11_proxy.v3.Http11ProxyUpstreamTransport", *fields))
    return (
        f"static_resources:\n  clusters:\n  - name: app\n    type: STATIC\n    {cluster}\n"
        f"    transport_socket: {{name: h, typed_config: {{{config}}}}}\n"
        "    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: 1}}}}}}{metadata}}}]}}]}}\n"
    )


def named(config: str) -> str:
    at = "envoy.http11_proxy_transport_socket.proxy_address"
    return through(_RAW, metadata=f", metadata: {{typed_filter_metadata: {{{at}: {{{config}}}}}}}")


_ADDRESS = "'@type': type.googleapis.com/envoy.config.core.v3.Address"
CASES = {
    "raw": through(_RAW),
    "tls": through(_TLS),
    "default": through(_RAW, _PROXY),
    "default by name": through(_RAW, _PROXY.replace("127.0.0.1", "proxy.example")),
    "default without port": through(_RAW, "default_proxy_address: {socket_address: {address: 127.0.0.1}}"),
    "default of a pipe": through(_RAW, "default_proxy_address: {pipe: {path: /x}}"),
    "default of nothing": through(_RAW, "default_proxy_address: {}"),
    "nothing": through(),
    "a socket of no type": through("transport_socket: {name: raw}"),
    "a socket that is none": through(
        "transport_socket: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}"
    ),
    "auto in front of raw": through(_RAW, cluster=_AUTO),
    "auto in front of tls": through(_TLS, cluster=_AUTO),
    "named": named(f"{_ADDRESS}, socket_address: {{address: 127.0.0.1, port_value: 1}}"),
    "named by name": named(f"{_ADDRESS}, socket_address: {{address: proxy.example, port_value: 1}}"),
    "named by a pipe": named(f"{_ADDRESS}, pipe: {{path: /x}}"),
    "named by nothing": named(_ADDRESS),
    "named by another type": named("'@type': type.googleapis.com/google.protobuf.Struct, value: {a: 1}"),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_proxy_in_front_of_hosts_gets_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
