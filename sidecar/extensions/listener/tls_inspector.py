"""The listener filter that tells TLS from plain text, and reads server name, ALPN and fingerprints."""

from __future__ import annotations

import socket
from typing import Any

from sidecar.api.listener_filter import CLOSE, DONE, MORE, Inspection
from sidecar.codec.client_hello import (
    ClientHello,
    ClosedByAlert,
    NotClientHello,
    alpn,
    ja3,
    ja4,
    read_client_hello,
    server_name,
)

__all__ = ["MAX_CLIENT_HELLO", "TlsInspector"]

#: What BoringSSL takes at most for one ClientHello.
MAX_CLIENT_HELLO = 16 * 1024
_NAMESPACE = "envoy.filters.listener.tls_inspector"


class TlsInspector:
    """``envoy.filters.listener.tls_inspector``."""

    def __init__(
        self,
        stats: Any,
        *,
        has_ja3: bool = False,
        has_ja4: bool = False,
        initial_read_buffer_size: int = MAX_CLIENT_HELLO,
        max_client_hello_size: int = MAX_CLIENT_HELLO,
        closes_on_errors: bool = False,
    ) -> None:
        """``stats`` is the scope ``tls_inspector.``."""
        self.has_ja3 = has_ja3
        self.has_ja4 = has_ja4
        self.max_client_hello_size = max_client_hello_size
        self.initial_read_buffer_size = min(initial_read_buffer_size, max_client_hello_size)
        self.closes_on_errors = closes_on_errors
        self.tls_found = stats.counter("tls_found")
        self.tls_not_found = stats.counter("tls_not_found")
        self.sni_found = stats.counter("sni_found")
        self.sni_not_found = stats.counter("sni_not_found")
        self.alpn_found = stats.counter("alpn_found")
        self.alpn_not_found = stats.counter("alpn_not_found")
        self.client_hello_too_large = stats.counter("client_hello_too_large")
        self.bytes_processed = stats.histogram("bytes_processed", "bytes")

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        return _Inspection(self, connection)


class _Inspection:
    __slots__ = ("_connection", "_filter", "taken", "wants")

    def __init__(self, owner: TlsInspector, connection: Any) -> None:
        self._filter = owner
        self._connection = connection
        self.wants = owner.initial_read_buffer_size
        self.taken = 0

    def feed(self, data: bytes) -> int:
        owner = self._filter
        try:
            hello = read_client_hello(data)
        except ClosedByAlert:
            return CLOSE
        except NotClientHello:
            owner.bytes_processed.record(min(len(data), 5))
            return self._not_found()
        if hello is None:
            if len(data) >= owner.max_client_hello_size:
                owner.client_hello_too_large.value += 1
                self._fail("ClientHelloTooLarge")
                owner.bytes_processed.record(len(data))
                return CLOSE
            if len(data) >= self.wants:
                self.wants = min(2 * len(data), owner.max_client_hello_size)
            return MORE
        owner.bytes_processed.record(hello.size)
        return self._found(hello)

    def _not_found(self) -> int:
        owner = self._filter
        owner.tls_not_found.value += 1
        self._fail("ClientHelloNotDetected")
        return CLOSE if owner.closes_on_errors else DONE

    def _fail(self, reason: str) -> None:
        metadata = self._connection.dynamic_metadata
        if metadata is None:
            metadata = self._connection.dynamic_metadata = {}
        metadata.setdefault(_NAMESPACE, {})["failure_reason"] = reason

    def _found(self, hello: ClientHello) -> int:
        owner, connection = self._filter, self._connection
        if owner.has_ja3:
            connection.ja3_hash = ja3(hello)
        if owner.has_ja4:
            connection.ja4_hash = ja4(hello)
        protocols = alpn(hello)
        if protocols:
            connection.application_protocols = protocols
        name = server_name(hello)
        if name:
            owner.sni_found.value += 1
            connection.requested_server_name = name.lower()
        else:
            owner.sni_not_found.value += 1
        if not hello.is_supported:
            # No plain text either: Envoy closes such a connection, whatever the configuration says.
            self._not_found()
            return CLOSE
        owner.tls_found.value += 1
        (owner.alpn_found if protocols else owner.alpn_not_found).value += 1
        connection.transport_protocol = "tls"
        return DONE
