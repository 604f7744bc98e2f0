"""Network filters that answer a connection themselves: echo, and a fixed response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = ["DirectResponse", "Echo"]


class Echo:
    """``envoy.filters.network.echo``: what comes goes back."""

    access_logs: tuple[Any, ...] = ()

    async def serve(self, connection: Any, transport: Transport, strand: Strand) -> None:
        """Send back what is read, to its end."""
        while True:
            try:
                data = await transport.receive()
                if not data:
                    return
                await transport.send_all(data)
            except OSError:
                return


class DirectResponse:
    """``envoy.filters.network.direct_response``: the same bytes for everybody."""

    access_logs: tuple[Any, ...] = ()

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def serve(self, connection: Any, transport: Transport, strand: Strand) -> None:
        """Send the response and close."""
        try:
            if self._body:
                await transport.send_all(self._body)
            await transport.end()
        except OSError:
            return
