"""What a connection occupies that has had its answer and waits for the next request."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.integration.proxy_process import running_proxy
from tests.integration.test_body_memory import memory_bytes

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
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""  # noqa: E501
#: That grow tables, which do so by leaps, and that are measured.
FIRST, COUNT = 400, 300
#: It takes 3900 in either form.
MOST_BYTES = 4400


def test_idle_connection_occupies_little(tmp_path: Path) -> None:
    with running_proxy("sidecar", CONFIGURATION, tmp_path) as proxy, ExitStack() as stack:

        def ask(times: int) -> int:
            for _ in range(times):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.ports[10000]), 10))
                client.sendall(b"GET / HTTP/1.1\r\nhost: proxy\r\n\r\n")
                answer = b""
                while not answer.endswith(b"\r\n\r\nok"):
                    answer += client.recv(65536)
            time.sleep(0.2)  # what its passes still hold
            return memory_bytes(proxy.pid, "VmRSS")

        before = ask(FIRST)
        each = (ask(COUNT) - before) / COUNT
    assert each <= MOST_BYTES, f"{each:.0f} bytes"
