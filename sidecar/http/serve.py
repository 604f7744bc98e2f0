"""A downstream connection on an HTTP connection manager: which codec speaks, and what is counted.

Called by the listener's connection task through :func:`sidecar.net.reactor.drive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.codec.h1_stats import declare_h1_stats
from sidecar.codec.h2_connection import H2Connection
from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.http.h1_driver import H1Driver
from sidecar.http.h2_driver import H2Driver
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.net.reactor import Strand, Transport

__all__ = ["serve_http"]

#: As much of the preface (RFC 9113 §3.4) as Envoy looks for in what it reads first.
_PREFACE = b"PRI * HTTP/2"


class _Age:
    """``max_connection_duration`` of one connection."""

    __slots__ = ("_manager", "_strand", "driver")

    def __init__(self, manager: ConnectionManager, strand: Strand) -> None:
        self._manager = manager
        self._strand = strand
        self.driver: H1Driver | H2Driver | None = None

    def reached(self) -> None:
        manager = self._manager
        driver = self.driver
        manager.stats.downstream_cx_max_duration_reached.value += 1
        if driver is None:
            self._strand.fail(DeadlineExceeded("age"))
        elif manager.http1_safe_max_connection_duration and isinstance(driver, H1Driver):
            driver.close_after_next()
        else:
            driver.start_drain()


async def serve_http(
    manager: ConnectionManager,
    connection: Any,
    transport: Transport,
    strand: Strand,
    *,
    h2_codec_class: Any = H2Connection,
) -> None:
    """Serve one connection to its end.  Closing the transport is the caller's.

    ``codec_type`` AUTO takes HTTP/2 when what is read first begins with the connection preface (prior
    knowledge, RFC 9113 §3.3).  As in Envoy nothing waits for more of it: its first bytes alone are HTTP/1.
    """
    stats = manager.stats
    clock = manager.reactor.clock
    started = clock()
    stats.downstream_cx_total.value += 1
    stats.downstream_cx_active.inc()
    transport.watcher = strand
    tls = connection.tls
    if tls is not None:
        stats.downstream_cx_ssl_total.value += 1
        stats.downstream_cx_ssl_active.inc()
    active = None
    driver: H1Driver | H2Driver | None = None
    age: _Age | None = None
    if manager.max_connection_duration_s:
        age = _Age(manager, strand)
        when = started + manager.max_connection_duration_s
        start_timer(strand, when, age.reached, "max_connection_duration", is_of_stream=False)
    try:
        received = await _first_bytes(manager, transport, strand)
        if not received:
            return
        point = None if manager.overload is None else manager.overload.hcm_ondata_creating_codec
        if point is not None and point.shed():
            stats.downstream_rq_overload_close.value += 1
            await _linger(manager, transport, strand)
            return
        kind = manager.codec_type
        if kind == "AUTO" and tls is not None and tls.alpn:
            # Both sides agreed already.
            kind = "HTTP2" if tls.alpn == "h2" else "HTTP1"
        if kind == "HTTP2" or (kind == "AUTO" and received.startswith(_PREFACE)):
            stats.downstream_cx_http2_total.value += 1
            active = stats.downstream_cx_http2_active
            active.inc()
            connection.protocol = "HTTP/2"
            driver = H2Driver(manager, connection, transport, strand, codec_class=h2_codec_class)
            manager.drivers.add(driver)
            if age is not None:
                age.driver = driver
            await driver.serve(received)
        else:
            stats.downstream_cx_http1_total.value += 1
            if not manager.has_h1_stats:
                manager.has_h1_stats = True
                declare_h1_stats(stats.scope.store)
            stats.downstream_cx_rx_bytes_total.value += len(received)
            active = stats.downstream_cx_http1_active
            active.inc()
            connection.protocol = "HTTP/1.1"
            driver = H1Driver(manager, connection, transport, strand, received)
            received = b""
            manager.drivers.add(driver)
            if age is not None:
                age.driver = driver
            await driver.serve()
    finally:
        stats.downstream_cx_active.dec()
        if tls is not None:
            stats.downstream_cx_ssl_active.dec()
        if active is not None:
            active.dec()
        if driver is not None:
            manager.drivers.discard(driver)
            driver.let_go()
        is_remote = transport.hangup
        stats.downstream_cx_destroy.value += 1
        (stats.downstream_cx_destroy_remote if is_remote else stats.downstream_cx_destroy_local).value += 1
        if driver is not None and driver.was_active:
            stats.downstream_cx_destroy_active_rq.value += 1
            (
                stats.downstream_cx_destroy_remote_active_rq
                if is_remote
                else stats.downstream_cx_destroy_local_active_rq
            ).value += 1
        length_ms = int((clock() - started) * 1000)
        stats.downstream_cx_length_ms.record(length_ms)
        if connection.agent:
            connection.agent.end(length_ms, is_cut_off=is_remote and driver is not None and driver.was_active)


async def _linger(manager: ConnectionManager, transport: Transport, strand: Strand) -> None:
    """Read what nobody looks at until the client closes (``delayed_close_timeout``)."""
    if not manager.delayed_close_timeout_s:
        return
    strand.idle_deadline = 0.0
    strand.deadline = manager.reactor.clock() + manager.delayed_close_timeout_s
    try:
        while await transport.receive():
            pass
    except (OSError, Disconnected):
        return
    except DeadlineExceeded:
        manager.stats.downstream_cx_delayed_close_timeout.value += 1
    finally:
        strand.deadline = 0.0


async def _first_bytes(manager: ConnectionManager, transport: Transport, strand: Strand) -> bytes:
    """What is read first; ``b""`` when nothing came before the connection ended, or in time.

    Until then Envoy has no codec: nothing is said to a client that said nothing.
    """
    idle = manager.idle_timeout_s
    strand.idle_deadline = manager.reactor.clock() + idle if idle else 0.0
    silent = manager.silent_connections
    if silent is not None:
        silent.add(strand)
    try:
        return await transport.receive()
    except DeadlineExceeded as late:
        if late.kind == "idle":
            manager.stats.downstream_cx_idle_timeout.value += 1
    except (OSError, Disconnected):
        return b""
    finally:
        if silent is not None:
            silent.discard(strand)
    return b""
