# ruff: noqa: E501  (names of types are longer than a line)
"""Certificates that change while they are served: nobody notices but those who look at them."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from proxy_process import running_proxy

from tests.support.pki import Authority, Leaf

ROTATIONS = 50
#: For all of them, on a machine with other things to do.
MOST_S = 60.0

CONFIGURATION = """\
node: {id: a, cluster: b}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {name: cert, sds_config: {path_config_source: {path: DIR/secret.yaml}}}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
SECRET = """\
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: cert
  tls_certificate:
    certificate_chain: {filename: DIR/mounted/tls.crt}
    private_key: {filename: DIR/mounted/tls.key}
    watched_directory: {path: DIR/mounted}
"""
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def mount(directory: Path, leaf: Leaf, number: int, key: bytes = b"") -> None:
    """Change the files as Kubernetes does: a new folder, and a link to it that is renamed into place."""
    fresh = directory / f"..{number}"
    fresh.mkdir()
    (fresh / "tls.crt").write_bytes(leaf.cert_pem)
    (fresh / "tls.key").write_bytes(key or leaf.key_pem)
    link = directory / "..data_tmp"
    link.symlink_to(fresh.name)
    os.rename(link, directory / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(plain, server_hostname="a.example")


def ask(tls: ssl.SSLSocket) -> None:
    tls.sendall(REQUEST)
    data = b""
    while not data.endswith(b"\r\n\r\nok"):
        piece = tls.recv(4096)
        if not piece:
            raise ConnectionError("closed")
        data += piece
    assert data.startswith(b"HTTP/1.1 200 ")


@dataclass
class Load:
    """Requests on connections of their own, and on one that stays."""

    context: ssl.SSLContext
    port: int
    done: int = 0
    failures: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    is_over: bool = False

    def run(self) -> None:
        kept = connect(self.context, self.port)
        while not self.is_over:
            try:
                ask(kept)
                with connect(self.context, self.port) as fresh:
                    self.seen.add(int((fresh.getpeercert() or {})["serialNumber"], 16))
                    ask(fresh)
                self.done += 2
            except (OSError, ConnectionError) as error:
                self.failures.append(repr(error))
        kept.close()

    def until_seen(self, serial: int) -> None:
        end = time.monotonic() + MOST_S
        while serial not in self.seen:
            assert time.monotonic() < end, (
                f"certificate {serial} is not served; failures: {self.failures[:3]}"
            )
            time.sleep(0.005)  # another process, and another thread, are at work


def test_fifty_rotations_under_load_fail_no_request(tmp_path: Path) -> None:
    root = Authority("root")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount(mounted, root.leaf("first", "DNS:a.example"), 0)
    (tmp_path / "secret.yaml").write_text(SECRET.replace("DIR", str(tmp_path)))
    context = ssl.create_default_context(cadata=root.cert_pem.decode())
    configuration = CONFIGURATION.replace("DIR", str(tmp_path))
    with running_proxy("sidecar", configuration, tmp_path) as proxy:
        load = Load(context, proxy.ports[10000])
        thread = threading.Thread(target=load.run)
        thread.start()
        try:
            for number in range(1, ROTATIONS + 1):
                leaf = root.leaf(f"number {number}", "DNS:a.example")
                mount(mounted, leaf, number)
                load.until_seen(leaf.certificate.serial_number)
            # A key that does not fit is refused, and the last good pair is served on.
            other = root.leaf("other", "DNS:a.example")
            before = load.done
            mount(mounted, other, ROTATIONS + 1, key=root.leaf("third").key_pem)
            stats = ""
            end = time.monotonic() + MOST_S
            while "sds.cert.key_rotation_failed: 1" not in stats:
                assert time.monotonic() < end
                stats = proxy.get("/stats?filter=sds", port=9901).body.decode()
            while load.done < before + 20:
                assert time.monotonic() < end
                time.sleep(0.005)  # the load goes on in its thread
            assert other.certificate.serial_number not in load.seen
        finally:
            load.is_over = True
            thread.join(30)
    assert load.failures == []
    assert load.done > ROTATIONS * 2
