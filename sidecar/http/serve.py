"""A downstream connection on an HTTP connection manager: which codec speaks, and what is counted.

Called by the listener's connection task through :func:`sidecar.net.reactor.drive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.codec.h1_stats import declare_h1_stats
from sidecar.codec.h2_connection import H2Connection
from sidecar.core.errors import DeadlineExceeded
from sidecar.http.h1_driver import H1Driver
from sidecar.http.h2_driver import H2Driver

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.net.reactor import Strand, Transport

__all__ = ["serve_http"]

#: As much of the preface (RFC 9113 §3.4) as Envoy waits for before it decides.
_PREFACE = b"PRI * HTTP/2"


async def serve_http(
    manager: ConnectionManager,
    connection: Any,
    transport: Transport,
    strand: Strand,
    *,
    h2_codec_class: Any = H2Connection,
) -> None:
    """Serve one connection to its end.  Closing the transport is the caller's.

    ``codec_type`` AUTO takes HTTP/2 when the connection preface is there (prior knowledge, RFC 9113 §3.3).
    """
    stats = manager.stats
    clock = manager.reactor.clock
    started = clock()
    stats.downstream_cx_total.value += 1
    stats.downstream_cx_active.inc()
    transport.watcher = strand
    codec = manager.codec_type
    received = b""
    http2 = codec == "HTTP2"
    active = None
    try:
        if codec == "AUTO":
            strand.idle_deadline = clock() + manager.idle_timeout_s if manager.idle_timeout_s else 0.0
            while True:
                try:
                    data = await transport.receive()
                except DeadlineExceeded:
                    stats.downstream_cx_idle_timeout.value += 1
                    return
                except OSError:
                    return
                if not data:
                    return
                received += data
                if received.startswith(_PREFACE):
                    http2 = True
                    break
                if not _PREFACE.startswith(received):
                    break
        if http2:
            stats.downstream_cx_http2_total.value += 1
            active = stats.downstream_cx_http2_active
            active.inc()
            driver = H2Driver(manager, connection, transport, strand, codec_class=h2_codec_class)
            await driver.serve(received)
        else:
            stats.downstream_cx_http1_total.value += 1
            if not manager.has_h1_stats:
                manager.has_h1_stats = True
                declare_h1_stats(stats.scope.store)
            stats.downstream_cx_rx_bytes_total.value += len(received)
            active = stats.downstream_cx_http1_active
            active.inc()
            await H1Driver(manager, connection, transport, strand, received).serve()
    finally:
        stats.downstream_cx_active.dec()
        if active is not None:
            active.dec()
        stats.downstream_cx_destroy.value += 1
        if transport.hangup:
            stats.downstream_cx_destroy_remote.value += 1
        else:
            stats.downstream_cx_destroy_local.value += 1
        stats.downstream_cx_length_ms.record(int((clock() - started) * 1000))
