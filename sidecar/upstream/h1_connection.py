"""One HTTP/1.1 connection to an upstream: taken for an exchange, kept for the next one, closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from sidecar.core.address import Address
from sidecar.net.reactor import Transport
from sidecar.upstream.connection_pool import next_connection_id
from sidecar.upstream.h1_exchange import H1Exchange

if TYPE_CHECKING:
    from sidecar.upstream.h1_pool import H1Pool

__all__ = ["H1Connection"]


@mypyc_attr(allow_interpreted_subclasses=True)
class H1Connection(H1Exchange):
    """See the module.  It is its own stream (:class:`sidecar.upstream.pool.UpstreamStream`)."""

    __slots__ = ("connection_id", "idle_since", "local_address", "requests", "start_s", "tls")

    def __init__(self, pool: H1Pool, transport: Transport) -> None:
        super().__init__(pool, transport)
        self.connection_id = next_connection_id()
        self.local_address = Address.from_sockaddr(transport.sock.family, transport.sock.getsockname()).text
        self.tls: Any = transport.facts
        self.requests = 0
        self.start_s = pool.reactor.clock()
        self.idle_since = 0.0

    # -- the end of an exchange ----------------------------------------------------------------------
    def release(self) -> None:
        self._pool.resources.requests -= 1
        reader = self._reader
        if reader.rx_bytes:
            self._take_rx_bytes()
        self._wire = None
        if (
            self._response_done
            and self._request_done
            and not self._must_close
            and not reader.rest
            and not self._transport.queued
        ):
            self._pool.put_idle(self)
        else:
            # Towards CONNECT a connection may be half closed: then it is ours to close.
            local = self._is_connect or not self._transport.hangup
            self.close(local=local, active=not self._response_done)

    def reset(self) -> None:
        self._pool.resources.requests -= 1
        self.close(local=True, active=True)

    def end(self, *, local: bool) -> None:
        """Who carried its bytes is done with it; ``local`` says that the upstream had not ended."""
        self._take_rx_bytes()
        self._pool.resources.requests -= 1
        self.close(local=local, active=True)

    # -- its life ------------------------------------------------------------------------------------
    def is_quiet(self) -> bool:
        """Whether nothing was received behind the last response; asked when a read may give something."""
        transport = self._transport
        try:
            transport.recv(1)
        except (BlockingIOError, InterruptedError):
            transport.ready = False
            return True
        except OSError:
            return False
        return False

    def _on_idle_event(self) -> None:
        self._pool.drop_idle(self)
        self.close(local=False, active=False)

    def close(self, *, local: bool, active: bool) -> None:
        """Close the connection; ``local`` says who ended it, ``active`` whether a request was on it."""
        if self._transport.is_closed:
            return
        self._transport.on_idle_event = None
        self._transport.close()
        self._pool.on_closed(self, local=local, active=active)
