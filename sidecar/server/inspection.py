"""Runs a listener's filters on a connection before its filter chain is chosen.

The bytes that they look at are peeked: they stay in the kernel for whoever serves the connection, TLS among
them.  Called by the listener's connection task through :func:`sidecar.net.reactor.drive`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.api.listener_filter import CLOSE, DONE, MORE, Inspection, ListenerFilter
from sidecar.core.errors import DeadlineExceeded

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = ["FilterEntry", "Inspector"]


class FilterEntry(NamedTuple):
    """A listener filter, and for which connections it is left out."""

    #: None where its configuration has not come.
    filter: ListenerFilter | None
    #: ``filter_disabled``; None for none.
    is_disabled: Callable[[Any], bool] | None = None


class Inspector:
    """The ``listener_filters`` of one listener."""

    def __init__(
        self, entries: Sequence[FilterEntry], timeout_s: float, *, continues_on_timeout: bool
    ) -> None:
        self.set_entries(entries)
        self._timeout_s = timeout_s
        self._continues_on_timeout = continues_on_timeout

    def set_entries(self, entries: Sequence[FilterEntry]) -> None:
        """Have connections from now on pass these."""
        self._entries = tuple(entries)
        self._is_missing = any(entry.filter is None for entry in entries)

    @property
    def chooses_source(self) -> bool:
        """Whether connections to upstreams depend on the client."""
        return any(getattr(entry.filter, "chooses_source", False) for entry in self._entries)

    def bind(self, scope: Any) -> None:
        """Count in the listener's ``scope``."""
        self._active = scope.gauge("downstream_pre_cx_active")
        self._timeouts = scope.counter("downstream_pre_cx_timeout")
        self._missing = scope.counter("extension_config_missing")
        self._errors = scope.counter("downstream_listener_filter_error")
        self._remote_closes = scope.counter("downstream_listener_filter_remote_close")

    async def run(self, connection: Any, transport: Transport, strand: Strand) -> bool:
        """Whether the connection goes on to a filter chain."""
        if self._is_missing:
            self._missing.value += 1
            return False
        if self._timeout_s:
            strand.deadline = strand.reactor.clock() + self._timeout_s
        self._active.inc()
        try:
            for entry in self._entries:
                if entry.is_disabled is not None and entry.is_disabled(connection):
                    continue
                assert entry.filter is not None  # no connection comes here otherwise
                state = entry.filter.begin(connection, transport.sock)
                if not isinstance(state, int):
                    state = await self._inspect(state, transport)
                if state == CLOSE:
                    return False
        except DeadlineExceeded:
            self._timeouts.value += 1
            return self._continues_on_timeout
        finally:
            self._active.dec()
        # An edge that was used up here is owed to whoever reads next.
        transport.ready = True
        return True

    async def _inspect(self, inspection: Inspection, transport: Transport) -> int:
        """What the filter said in the end: DONE or CLOSE."""
        sock = transport.sock
        seen = 0
        while True:
            wants = inspection.wants
            try:
                data = sock.recv(wants, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await transport.readable()
                continue
            except OSError:
                self._errors.value += 1
                return CLOSE
            if len(data) > seen:
                seen = len(data)
                state = inspection.feed(data)
                # Asked for more than was looked for, as Envoy does at once.
                while state == MORE and inspection.wants > wants:
                    wants = inspection.wants
                    data = sock.recv(wants, socket.MSG_PEEK)
                    seen = len(data)
                    state = inspection.feed(data)
                if state == DONE and inspection.taken:
                    sock.recv(inspection.taken)
                if state != MORE:
                    return state
            elif transport.hangup or not data:
                self._remote_closes.value += 1
                return CLOSE
            await transport.readable()
