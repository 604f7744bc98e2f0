"""METADATA of HTTP/2 on its way through a stream: from the client to the upstream, and back.

There is one of these where the client's connection allows it (``allow_metadata``).  What the client says is
handed on at once, ahead of the body that waits, or as soon as the upstream has the request's head; what the
upstream says keeps its place in the response.  Filters are told before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.core.headers import Field

__all__ = ["StreamMetadata", "Told"]

Told = Callable[["list[Field]"], None]


class StreamMetadata:
    """What waits, and who is told."""

    __slots__ = ("_heard", "_on_request", "_on_response", "_send", "_upstream", "_waiting")

    def __init__(self, send: Told) -> None:
        self._send = send
        #: What has begun to send the request.
        self._upstream: Any = None
        self._waiting: list[list[Field]] = []
        #: All that the client said, for filters that begin to listen later: as much as its codec allows.
        self._heard: list[list[Field]] = []
        self._on_request: list[Told] = []
        self._on_response: list[Told] = []

    def listen(self, on_request: Told, on_response: Told) -> None:
        """Tell a filter of it; at once of what the client has said already."""
        for pairs in self._heard:
            on_request(pairs)
        self._on_request.append(on_request)
        self._on_response.insert(0, on_response)

    @property
    def is_waiting(self) -> bool:
        """Whether something has not gone on yet."""
        return bool(self._waiting)

    def take(self, pairs: list[Field]) -> None:
        """The client says it."""
        self._heard.append(pairs)
        for tell in self._on_request:
            tell(pairs)
        if self._upstream is not None:
            self._upstream.send_metadata(pairs)
        else:
            self._waiting.append(pairs)

    def begin(self, upstream: Any) -> None:
        """The upstream has been sent the request's head, and more is to follow."""
        self._upstream = upstream
        waiting, self._waiting = self._waiting, []
        for pairs in waiting:
            upstream.send_metadata(pairs)

    def end(self) -> None:
        """That upstream is sent nothing any more."""
        self._upstream = None

    def give(self, pairs: list[Field]) -> None:
        """The upstream says it."""
        for tell in self._on_response:
            tell(pairs)
        self._send(pairs)
