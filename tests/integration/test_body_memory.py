"""Bodies stream: a gigabyte through the proxy, either way, either protocol, leaves its memory as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.proxy_process import running_proxy
from tests.integration.stream_peers import Upstream, download_h1, download_h2, upload_h1, upload_h2

MIB = 1 << 20
SIZE = 1024 * MIB
GROWTH = 8 * MIB

CONFIGURATION = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          codec_type: CODEC
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: upstream, timeout: 0s}}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: upstream
    load_assignment:
      cluster_name: upstream
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 999}}}}]}]
"""  # noqa: E501
HTTP2_CLUSTER = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


def memory_bytes(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise AssertionError(what)


@pytest.mark.parametrize("is_upload", [False, True], ids=["download", "upload"])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_body_of_a_gigabyte_leaves_memory_flat(http2: bool, is_upload: bool, tmp_path: Path) -> None:
    text = CONFIGURATION.replace("CODEC", "HTTP2" if http2 else "HTTP1")
    if http2:
        text = text.rstrip() + HTTP2_CLUSTER
    with Upstream(SIZE, http2=http2) as upstream:
        text = text.replace("port_value: 999}", f"port_value: {upstream.port} }}")
        with running_proxy("sidecar", text, tmp_path, keep={upstream.port}) as proxy:
            port = proxy.ports[10000]
            # The peak is counted from here on (proc(5), clear_refs).
            Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")
            before = memory_bytes(proxy.pid, "VmRSS")
            if is_upload:
                upstream.slow = True
                (upload_h2 if http2 else upload_h1)(port, SIZE)
            else:
                (download_h2 if http2 else download_h1)(port, SIZE, slow=True)
            peak = memory_bytes(proxy.pid, "VmHWM")
        assert upstream.errors == []
    assert peak - before <= GROWTH, f"{(peak - before) / MIB:.1f} MiB on top of {before / MIB:.1f}"
