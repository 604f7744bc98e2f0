"""Which parts of a request and its response a processor is shown, and how.

``envoy.extensions.filters.http.ext_proc.v3.ProcessingMode``.
"""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.dataclass import dataclass

__all__ = [
    "BUFFERED",
    "BUFFERED_PARTIAL",
    "DEFAULT",
    "FULL_DUPLEX_STREAMED",
    "GRPC",
    "NONE",
    "SEND",
    "SKIP",
    "STREAMED",
    "Mode",
]

#: ``HeaderSendMode``, for heads and trailers.
DEFAULT, SEND, SKIP = range(3)
#: ``BodySendMode``.
NONE, STREAMED, BUFFERED, BUFFERED_PARTIAL, FULL_DUPLEX_STREAMED, GRPC = range(6)


@dataclass(frozen=True, slots=True)
class Mode:
    """Heads are sent where nothing is said, trailers are not."""

    request_header: int = DEFAULT
    response_header: int = DEFAULT
    request_body: int = NONE
    response_body: int = NONE
    request_trailer: int = DEFAULT
    response_trailer: int = DEFAULT

    def overridden(self, other: Mode) -> Mode:
        """This mode where ``other`` says nothing; of bodies it always says something."""
        return replace(
            self,
            request_header=other.request_header or self.request_header,
            response_header=other.response_header or self.response_header,
            request_trailer=other.request_trailer or self.request_trailer,
            response_trailer=other.response_trailer or self.response_trailer,
            request_body=other.request_body,
            response_body=other.response_body,
        )

    def is_like(self, other: Mode) -> bool:
        """Whether both are the same, but for the head of the request, which has been sent."""
        return replace(self, request_header=DEFAULT) == replace(other, request_header=DEFAULT)


#: Nothing at all.
OFF = Mode(request_header=SKIP, response_header=SKIP)
