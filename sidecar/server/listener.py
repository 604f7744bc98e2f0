"""Listeners: bound sockets, and a strand for each connection.

A listener owns its connections: when it is cancelled they end, each in a task in the listener's nursery.
Those that never need trio have no task before.  What a connection does is decided by its filter chain
(:mod:`sidecar.server.filter_chain`).
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from sidecar.api.stream import Flag
from sidecar.core.address import Address
from sidecar.core.errors import Disconnected
from sidecar.core.log import tags_of
from sidecar.http.connection_ends import was_reset
from sidecar.net.reactor import Reactor, Strand, Transport
from sidecar.server.bind import BindError, BindOptions, listen
from sidecar.server.connection import Connection
from sidecar.server.filter_chain import FilterChain, FilterChains
from sidecar.server.inspection import Inspector
from sidecar.server.listening_sockets import OwnSockets, SocketSource

if TYPE_CHECKING:
    from sidecar.observability.stats import Store
    from sidecar.server.connection_limits import ConnectionLimits

__all__ = ["BindError", "Listener"]

logger = logging.getLogger("sidecar.connection")
handler_logger = logging.getLogger("sidecar.conn_handler")

#: Connections taken from the queue before others have their turn.
_ACCEPTS_PER_TURN = 64


class Listener:
    """One listener, with one socket for each of its addresses."""

    #: Of its sockets.
    socket_type: int = socket.SOCK_STREAM
    #: Where they come from.
    source: SocketSource = OwnSockets()
    #: Which of the workers this process is.
    worker: int = 0

    def __init__(
        self,
        name: str,
        addresses: list[Address],
        chains: FilterChains,
        reactor: Reactor,
        store: Store,
        *,
        stat_prefix: str = "",
        reuse_port: bool = True,
        backlog: int = 1024,
        bind_options: Sequence[BindOptions] = (),
        traffic_direction: str = "UNSPECIFIED",
        metadata: dict[str, dict[str, Any]] | None = None,
        inspector: Inspector | None = None,
        access_logs: Sequence[Any] = (),
        accepts_per_turn: int = _ACCEPTS_PER_TURN,
        bind_to_port: bool = True,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.name = name
        #: As the configuration has them; ``addresses`` are those that were bound.
        self.wanted = list(addresses)
        self.addresses = addresses
        self.address = addresses[0]
        self.stat_prefix = stat_prefix
        self.reuse_port = reuse_port
        self.backlog = backlog
        self.bind_options = tuple(bind_options) or (BindOptions(),) * len(addresses)
        self.traffic_direction = traffic_direction
        self.metadata = metadata or {}
        self.chains = chains
        #: What looks at a connection before its chain is chosen; None where nothing does.
        self.inspector = inspector
        self.access_logs = tuple(access_logs)
        self.accepts_per_turn = accepts_per_turn
        self.bind_to_port = bind_to_port
        #: None where nothing limits how many connections there are.
        self.limits = limits
        #: The socket's own address of the connection before, and its text: mostly they are one for all.
        self.last_local: tuple[Any, str] = (None, "")
        #: ``use_original_dst``: finds the listener for a connection whose address was restored.
        self.hand_off: Callable[[str], Listener | None] | None = None
        #: What the bytes of a connection go through; another one where it may hold less.
        self.make_transport: Callable[[socket.socket, Reactor], Transport] = Transport
        self.reactor = reactor
        self.store = store
        self.sockets: list[socket.socket] = []
        #: Of a supervisor: those of its workers but the first, address by address.
        self.copies: list[socket.socket] = []
        #: More than are needed, of an epoch that had more workers: who waits there is served, too.
        self.spare: list[socket.socket] = []
        self.message: Any = None
        #: Who this proxy is (:class:`sidecar.api.context.NodeInfo`).
        self.node: Any = None
        #: What has to be done before it serves, and when it ended, of one that was added while running.
        self.jobs: list[Callable[[], Any]] = []
        self.closers: list[Callable[[], None]] = []
        #: The connections that it accepted, and those that another one accepted for it.
        self._strands: dict[Connection, Strand] = {}
        self._guests: dict[Connection, Strand] = {}
        #: Set when the last of those that it accepted is over.
        self._all_over: trio.Event | None = None
        self._is_listening = False
        #: Whether another listener accepts on the same sockets from now on.
        self.is_succeeded = False
        #: Set when the sockets are closed.
        self.stopped = trio.Event()
        self.is_draining = False
        self.active = 0
        #: Until when nobody is let in, who may connect all the same; None where everybody is.
        self.pause: trio.Event | None = None
        self._accept_scope: trio.CancelScope | None = None
        self._scope: Any = None
        #: ``listener.<address>.``, once the address is known.
        self.stats_prefix = ""
        #: Called with the scope name once the address is known: ``listener.<address>.``.
        self.on_bound: list[Callable[[Any], None]] = []

    def open(self) -> None:
        """Bind all addresses.  Raises: BindError."""
        bound: list[Address] = []
        try:
            for number, (address, options) in enumerate(zip(self.addresses, self.bind_options, strict=True)):
                if not self.bind_to_port:
                    bound.append(address)
                    continue
                sock = self.source.open(self, number, address, options)
                if sock is None:
                    bound.append(address)
                    continue
                self.sockets.append(sock)
                if address.family != socket.AF_UNIX:
                    address = Address.from_sockaddr(address.family, sock.getsockname())
                bound.append(address)
        except BindError:
            self.close()
            raise
        self._bound(bound)
        self.source.opened(self)

    def adopt(self, other: Listener) -> None:
        """Take over the sockets of a listener with the same addresses, which keeps its own."""
        other.is_succeeded = True
        self.sockets = [each.dup() for each in other.sockets]
        self.copies = [each.dup() for each in other.copies]
        self.spare = [each.dup() for each in other.spare]
        self._bound(other.addresses)

    def _bound(self, bound: list[Address]) -> None:
        self.addresses = bound
        self.address = bound[0]
        name = self.stat_prefix or self.address.text.replace(":", "_")
        scope = self._scope = self.store.scope(f"listener.{name}")
        self.stats_prefix = scope.prefix
        for counter in (
            "downstream_cx_destroy", "downstream_cx_overflow", "downstream_cx_overload_reject",
            "downstream_cx_total",
            "downstream_cx_transport_socket_connect_timeout", "downstream_global_cx_overflow",
            "downstream_listener_filter_error", "downstream_listener_filter_remote_close",
            "downstream_pre_cx_timeout", "extension_config_missing", "network_extension_config_missing",
            "no_filter_chain_match",
        ):  # fmt: skip
            scope.counter(counter)
        scope.gauge("downstream_cx_active")
        scope.gauge("downstream_pre_cx_active")
        self._cx_total = scope.counter("downstream_cx_total")
        self._cx_active = scope.gauge("downstream_cx_active")
        self._cx_destroy = scope.counter("downstream_cx_destroy")
        self._cx_length = scope.histogram("downstream_cx_length_ms", "milliseconds")
        self._no_match = scope.counter("no_filter_chain_match")
        self._per_event = scope.histogram("connections_accepted_per_socket_event")
        worker = scope.scope("main_thread" if name == "admin" else f"worker_{self.worker}")
        self._worker_total = worker.counter("downstream_cx_total")
        self._worker_active = worker.gauge("downstream_cx_active")
        if self.inspector is not None:
            self.inspector.bind(scope)
        if self.limits is not None:
            self.limits.set_scope(scope)
        for callback in self.on_bound:
            callback(scope)

    def begin(self) -> None:
        """Let clients connect: who hears that the server is ready may.  Raises: BindError."""
        if not self._is_listening and not self.source.workers:
            self._is_listening = True
            for sock, options in zip(self.sockets, self.bind_options, strict=False):
                listen(sock, self.backlog, options)

    async def run(self) -> None:
        """Accept until :meth:`stop_accepting`, then serve what is open until it ends or is cancelled."""
        self.begin()
        async with trio.open_nursery() as nursery:
            try:
                with trio.CancelScope() as scope:
                    self._accept_scope = scope
                    async with trio.open_nursery() as accepting:
                        if self.source.workers:
                            await trio.sleep_forever()
                        for sock in (*self.sockets, *self.spare):
                            accepting.start_soon(self._accept, sock, nursery, name=f"accept on {self.name}")
                if not self.source.workers and not self.is_succeeded:
                    self._take_waiting(nursery)
                self.close()
                while self._strands:
                    self._all_over = trio.Event()
                    await self._all_over.wait()
            finally:
                # Where this was cancelled they know nothing of it.
                for strand in tuple(self._strands.values()):
                    strand.cancel()

    def open_again(self) -> None:
        """Bind anew what was stopped, for :meth:`run` to run again.  Raises: BindError."""
        self._is_listening = self.is_draining = False
        self.stopped = trio.Event()
        self.open()
        self.begin()

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on."""
        self.is_draining = True
        if self._accept_scope is not None:
            self._accept_scope.cancel()

    def stop_for_overload(self, value: float) -> None:
        """``stop_accepting_connections``: saturated, connections wait in the queues of the sockets."""
        if value == 1:
            self.pause = self.pause or trio.Event()
        elif self.pause is not None:
            self.pause.set()
            self.pause = None

    def close(self) -> None:
        """Close the listening sockets."""
        for sock in (*self.sockets, *self.copies, *self.spare):
            sock.close()
        self.sockets, self.copies, self.spare = [], [], []
        self.stopped.set()

    def address_of(self, sock: socket.socket) -> str:
        """Where one of the sockets is bound, as text."""
        if sock.family == socket.AF_UNIX:
            return next(each.text for each in self.addresses if each.sockaddr == sock.getsockname())
        return Address.from_sockaddr(sock.family, sock.getsockname()).text

    def sockets_of(self, worker: int, workers: int) -> list[socket.socket]:
        """Of a supervisor: those that one of its workers accepts on, in the order of the addresses."""
        own = self.copies[worker - 1 :: workers - 1] if worker else self.sockets
        return [*own, *self.spare[worker::workers]]

    def end_chain(self, chain: FilterChain) -> None:
        """Cancel the connections of a chain."""
        for strands in (self._strands, self._guests):
            for connection, strand in tuple(strands.items()):
                if connection.filter_chain is chain:
                    strand.cancel()

    async def _accept(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        accept = _acceptor(sock)
        while True:
            await trio.lowlevel.wait_readable(sock)
            while self.pause is not None:
                await self.pause.wait()
            accepted = 0
            for _ in range(self.accepts_per_turn):
                try:
                    client, peer = accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    break
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        logger.warning("listener %s cannot accept: %s", self.name, error)
                        await trio.sleep(0.1)
                        break
                    raise
                accepted += 1
                if self.limits is not None and not self.limits.admit():
                    client.close()
                    continue
                self._begin_connection(client, peer, nursery)
            if accepted:
                self._per_event.record(accepted)

    def _take_waiting(self, nursery: trio.Nursery) -> None:
        """Let in who connected before the sockets close: they would be reset."""
        for sock in (*self.sockets, *self.spare):
            accept = _acceptor(sock)
            try:
                while True:
                    client, peer = accept()
                    if self.limits is None or self.limits.admit():
                        self._begin_connection(client, peer, nursery)
                    else:
                        client.close()
            except OSError:
                continue

    def _begin_connection(self, client: socket.socket, peer: Any, nursery: trio.Nursery) -> None:
        client.setblocking(False)
        try:
            connection = Connection(self, client, peer)
            transport = self.make_transport(client, self.reactor)
        except OSError:
            client.close()
            if self.limits is not None:
                self.limits.leave()
            return
        if handler_logger.isEnabledFor(logging.DEBUG):
            tags = tags_of(connection.connection_id)
            handler_logger.debug("%snew connection from %s", tags, connection.direct_remote_address)
        strand = self.reactor.begin(
            connection.connection_id, nursery, partial(self._over, connection, transport)
        )
        self._strands[connection] = strand
        chain = self.chains.only
        if chain is None or self.inspector is not None:
            strand.start(self._choose(connection, transport, strand, may_hand_on=True))
        else:
            self._enter(connection, chain)
            strand.start(chain.serve(connection, transport, strand))
        strand.step()

    async def _choose(
        self, connection: Connection, transport: Transport, strand: Strand, *, may_hand_on: bool
    ) -> None:
        """Find out who serves a connection, here or at the listener that its client meant."""
        if self.inspector is not None:
            goes_on = await self.inspector.run(connection, transport, strand)
            strand.deadline = 0.0
            if not goes_on:
                return
        if may_hand_on and self.hand_off is not None and connection.is_local_address_restored:
            target = self.hand_off(connection.local_address)
            if target is not None:
                connection.move_to(target)
                target._guests[connection] = strand
                try:
                    await target._choose(connection, transport, strand, may_hand_on=False)
                finally:
                    del target._guests[connection]
                return
        chain = self.chains.only or self._find_chain(connection)
        if chain is not None:
            self._enter(connection, chain)
            await chain.serve(connection, transport, strand)

    def _over(self, connection: Connection, transport: Transport, error: BaseException | None) -> None:
        """A connection that this listener accepted is over."""
        del self._strands[connection]
        listener = connection.listener
        if isinstance(error, Exception) and not isinstance(error, Disconnected):
            # The connection driver is the last to see an error of its own; the proxy goes on.
            logger.error(
                "connection %d on %s failed", connection.connection_id, listener.name, exc_info=error
            )
        if logger.isEnabledFor(logging.DEBUG):
            how = "remote close" if transport.hangup else "closing socket"
            logger.debug("%s%s", tags_of(connection.connection_id), how)
        if listener.access_logs and not connection.at_end and was_reset(transport):
            connection.detected_close_type = "RemoteReset"
        transport.close()
        if self.limits is not None:
            self.limits.leave()
        if connection.filter_chain is not None:
            listener._gone(connection)
        listener._end(connection)
        if self._all_over is not None and not self._strands:
            self._all_over.set()

    def _enter(self, connection: Connection, chain: FilterChain) -> None:
        """``chain`` serves a connection from now on."""
        connection.filter_chain = chain
        connection.filter_chain_name = chain.name
        if chain.metadata:
            connection.filter_chain_metadata = chain.metadata
        self._come()

    def _come(self) -> None:
        self._cx_total.value += 1
        self._worker_total.value += 1
        self._cx_active.inc()
        self._worker_active.inc()
        self.active += 1

    def _find_chain(self, connection: Connection) -> FilterChain | None:
        find = self.chains.find
        assert find is not None
        chain: FilterChain | None = find(connection)
        if chain is None:
            self._no_match.value += 1
            connection.stream.flags |= Flag.NO_ROUTE_FOUND
            connection.stream.details = "filter_chain_not_found"
        return chain

    def _end(self, connection: Connection) -> None:
        """Log the connection, here first, then where its filters do."""
        if self.access_logs:
            connection.stream.protocol = connection.protocol
        for log in self.access_logs:
            log.log(connection.stream)
        for each in connection.at_end:
            each()

    def _gone(self, connection: Connection) -> None:
        self.active -= 1
        self._cx_active.dec()
        self._worker_active.dec()
        self._cx_destroy.value += 1
        self._cx_length.record((time.monotonic_ns() - connection.start_ns) // 1_000_000)


def _acceptor(sock: socket.socket) -> Callable[[], tuple[socket.socket, Any]]:
    """``sock.accept``, without what it asks anew for each connection: they are all of one kind.

    They inherit TCP_NODELAY.
    """
    family, kind, protocol = int(sock.family), int(sock.type), sock.proto
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    take = sock._accept  # type: ignore[attr-defined]  # what ``accept`` calls

    def accept() -> tuple[socket.socket, Any]:
        descriptor, peer = take()
        return socket.socket(family, kind, protocol, descriptor), peer

    return accept
