"""What the streams of a connection manager hold in memory, for ``reset_high_memory_stream``.

Streams of HTTP/2 alone, as in Envoy.  Counted is what the proxy keeps on behalf of a stream and knows of:
bytes that nobody took yet, bodies that a filter reads whole, what is kept to be sent again, and what waits
for the client's windows.  What a stage of a filter holds back is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.api.message import held_bytes
from sidecar.core.overload import StreamMemory
from sidecar.http.h2_driver import H2Driver

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["watch_memory"]


def watch_memory(
    manager: ConnectionManager, memory: StreamMemory, on_close: Callable[[Callable[[], None]], None]
) -> None:
    """Let ``memory`` reset streams of ``manager``, until it is closed."""

    def holder() -> Iterator[tuple[int, Callable[[], None]]]:
        for driver in tuple(manager.drivers):
            if isinstance(driver, H2Driver):
                for responder in driver.responders():
                    yield _held(responder), partial(driver.shed, responder)

    memory.holders.append(holder)
    on_close(lambda: memory.holders.remove(holder))


def _held(responder: Any) -> int:
    stream = responder.stream
    held: int = held_bytes(stream.request.body) + responder.held
    if stream.replay is not None:
        held += stream.replay.size
    if stream.response is not None:
        held += held_bytes(stream.response.body)
    return held
