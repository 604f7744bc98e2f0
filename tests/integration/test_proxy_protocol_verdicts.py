# ruff: noqa: E501  (a case is a line of a table)
"""The PROXY protocol towards hosts: what Envoy accepts is accepted, what it refuses refused, each tried on Envoy."""

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


def told(
    *fields: str,
    cluster: str = "",
    metadata: str = "",
    kind: str = "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
) -> str:
    config = ", ".join((f"'@type': {_KIND}.{kind}", *fields))
    return (
        f"static_resources:\n  clusters:\n  - name: app\n    type: STATIC\n    {cluster}\n"
        f"    transport_socket: {{name: pp, typed_config: {{{config}}}}}\n"
        "    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: 1}}}}}}{metadata}}}]}}]}}\n"
    )


def added(*entries: str) -> str:
    return told(f"config: {{version: V2, added_tlvs: [{', '.join(entries)}]}}", _RAW)


def of_host(config: str) -> str:
    at = f", metadata: {{typed_filter_metadata: {{envoy.transport_sockets.proxy_protocol: {{{config}}}}}}}"
    return told("config: {version: V2}", _RAW, metadata=at)


_FORMAT = "format_string: {text_format_source: {inline_string: '%s'}}"
_PER_HOST = "'@type': type.googleapis.com/envoy.config.core.v3.PerHostConfig"
CASES = {
    "v1": told("config: {version: V1}", _RAW),
    "v2": told("config: {version: V2}", _RAW),
    "version 3": told("config: {version: 3}", _RAW),
    "without config": told(_RAW),
    "without a socket": told("config: {version: V1}"),
    "tls": told("config: {version: V1}", _TLS),
    "tls that cannot be": told(
        "config: {version: V1}", _TLS.replace("UpstreamTlsContext", "DownstreamTlsContext")
    ),
    "a socket of no type": told("config: {version: V1}", "transport_socket: {name: raw}"),
    "a socket that is none": told(
        "config: {version: V1}",
        "transport_socket: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}",
    ),
    "auto in front of tls": told("config: {version: V1}", _TLS, cluster=_AUTO),
    "auto in front of raw": told("config: {version: V1}", _RAW, cluster=_AUTO),
    "passing": told(
        "config: {version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [1, 255]}}", _RAW
    ),
    "passing beyond": told(
        "config: {version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [256]}}", _RAW
    ),
    "added": added("{type: 1, value: YQ==}"),
    "added of nothing": added("{type: 1}"),
    "added beyond": added("{type: 256, value: YQ==}"),
    "added to version 1": told("config: {version: V1, added_tlvs: [{type: 1}]}", _RAW),
    "added twice": added("{type: 1, value: YQ==}", "{type: 1, value: YQ==}"),
    "format": added(f"{{type: 1, {_FORMAT % '%UPSTREAM_HOST%'}}}"),
    "wrong format": added(f"{{type: 1, {_FORMAT % '%NOPE%'}}}"),
    "format and value": added(f"{{type: 1, value: YQ==, {_FORMAT % 'a'}}}"),
    "json format": added("{type: 1, format_string: {json_format: {a: '%UPSTREAM_HOST%'}}}"),
    "hidden fields": told(
        "config: {version: V2}", _RAW, "tlv_as_pool_key: true, allow_unspecified_address: true"
    ),
    "host": of_host(f"{_PER_HOST}, added_tlvs: [{{type: 1}}, {{type: 1, value: YQ==}}]"),
    "host beyond": of_host(f"{_PER_HOST}, added_tlvs: [{{type: 256}}]"),
    "host of another type": of_host("'@type': type.googleapis.com/google.protobuf.Struct, value: {a: 1}"),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_proxy_protocol_towards_hosts_gets_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
