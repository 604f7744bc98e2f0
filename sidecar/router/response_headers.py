"""What a route adds to and removes from the head of a response (``RouteEntry::finalizeResponseHeaders``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import ResponseHeaders

__all__ = ["finish_response_headers"]


def finish_response_headers(stream: Stream, headers: ResponseHeaders) -> None:
    """Apply the mutations of the stream's route, those of a weighted entry among them."""
    for mutations in stream.route.response_mutations:
        mutations.apply(headers, stream)
