"""The filter ``envoy.filters.http.tap``: records exchanges for ``/tap`` or into files.

While nobody asks for a tap it costs one look at an attribute.  A trace is a protobuf message from the
beginning (:mod:`sidecar.extensions.http.tap_messages`): who taps looks at few exchanges.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.taps import FORMATS, Tap, TapPoint
from sidecar.core.exchange_match import (
    REQUEST,
    REQUEST_BODY,
    REQUEST_TRAILERS,
    RESPONSE,
    RESPONSE_BODY,
    RESPONSE_TRAILERS,
)
from sidecar.extensions.http.tap_messages import (
    fill_connection,
    fill_headers,
    new_trace,
    put_body,
    render,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["TapFilter"]

logger = logging.getLogger("sidecar.tap")

_ENDINGS = dict(FORMATS)


class _Recording:
    """What is recorded of one exchange."""

    __slots__ = ("_begun", "_emit", "_filter", "_held", "_id", "_match", "_stream", "_tap", "_trace")

    def __init__(self, owner: TapFilter, stream: Stream, tap: Tap, emit: Callable[[bytes], None]) -> None:
        self._filter = owner
        self._stream = stream
        self._tap = tap
        self._emit = emit
        self._match = tap.match.begin()
        self._id = random.getrandbits(64)
        #: The trace, of which a streaming tap keeps the times and bodies that wait for the match.
        self._trace: Any = new_trace()
        self._begun = False
        #: Parts that wait until it is known whether the exchange matches: headers by reference, so that they
        #: are told as they are then, and segments of bodies.
        self._held: list[tuple[str, Any]] = []

    # -- parts of the exchange ---------------------------------------------------------------------
    def request_headers(self, headers: HeaderMap) -> None:
        """The request has come."""
        if self._filter.records_times:
            stamp(self._trace.http_buffered_trace.request.headers_received_time)
        self._match.headers(REQUEST, headers)
        self._part("request_headers", headers)

    def response_headers(self, headers: HeaderMap) -> None:
        """The response has come."""
        if self._filter.records_times:
            stamp(self._trace.http_buffered_trace.response.headers_received_time)
        self._match.headers(RESPONSE, headers)
        self._part("response_headers", headers)

    def body(self, data: bytes, *, is_request: bool) -> None:
        """A chunk of either body."""
        self._match.body(REQUEST_BODY if is_request else RESPONSE_BODY, data)
        tap = self._tap
        limit = tap.max_buffered_rx_bytes if is_request else tap.max_buffered_tx_bytes
        if not tap.is_streaming:
            whole = self._trace.http_buffered_trace
            put_body((whole.request if is_request else whole.response).body, data, limit)
            return
        name = "request_body_chunk" if is_request else "response_body_chunk"
        if self._held and self._held[-1][0] == name:
            segment = self._held[-1][1]
        else:
            segment = self._segment()
            if not self._begun:  # and a match of a body waits for the next headers or trailers, as in Envoy
                self._held.append((name, segment))
        put_body(getattr(segment.http_streamed_trace_segment, name), data, limit)
        if self._begun:
            self._submit(segment)

    def trailers(self, trailers: HeaderMap, *, is_request: bool) -> None:
        """Trailers of either message."""
        self._match.headers(REQUEST_TRAILERS if is_request else RESPONSE_TRAILERS, trailers)
        self._part("request_trailers" if is_request else "response_trailers", trailers)

    def _part(self, name: str, headers: HeaderMap) -> None:
        if not self._tap.is_streaming:
            return
        self._held.append((name, headers))
        if self._begun or self._match.matches:
            self._begun = True
            for held, what in self._held:
                self._submit(what if held.endswith("_chunk") else self._headers(held, what))
            self._held.clear()

    def _headers(self, name: str, headers: HeaderMap) -> Any:
        segment = self._segment()
        target = getattr(segment.http_streamed_trace_segment, name)
        target.SetInParent()
        fill_headers(target.headers, headers)
        return segment

    def _segment(self) -> Any:
        segment = new_trace()
        segment.http_streamed_trace_segment.trace_id = self._id
        return segment

    # -- the end -----------------------------------------------------------------------------------
    def end(self) -> bool:
        """The exchange is over; whether it was recorded."""
        if self._tap.is_streaming or not self._match.matches:
            return self._match.matches
        stream, whole = self._stream, self._trace.http_buffered_trace
        request, response = stream.request, stream.response
        fill_headers(whole.request.headers, request.headers)
        if request.body is not None and request.body.trailers is not None:
            fill_headers(whole.request.trailers, request.body.trailers)
        if response is not None:
            fill_headers(whole.response.headers, response.headers)
            if response.body is not None and response.body.trailers is not None:
                fill_headers(whole.response.trailers, response.body.trailers)
        if self._filter.records_downstream:
            connection = stream.connection
            fill_connection(whole.downstream_connection, connection.local_address, connection.remote_address)
        if self._filter.records_upstream:
            whole.upstream_connection.SetInParent()
            if stream.upstream_host is not None and stream.upstream_local_address:
                remote = stream.upstream_host.address
                fill_connection(whole.upstream_connection, stream.upstream_local_address, remote)
        self._submit(self._trace)
        return True

    def _submit(self, trace: Any) -> None:
        tap = self._tap
        data = render(trace, tap.format)
        if tap.sink != "file_per_tap":
            self._emit(data)
            return
        path = f"{tap.path_prefix}_{self._id}{_ENDINGS[tap.format]}"
        try:
            with open(path, "ab") as file:
                file.write(data)
        except OSError as error:
            logger.warning("cannot write the tap %s: %s", path, error.strerror)


class _Stage:
    """Sees a body go by."""

    __slots__ = ("_is_request", "_recording")

    def __init__(self, recording: _Recording, *, is_request: bool) -> None:
        self._recording = recording
        self._is_request = is_request

    def push(self, data: bytes, end_stream: bool) -> bytes:
        if data:
            self._recording.body(data, is_request=self._is_request)
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        self._recording.trailers(trailers, is_request=self._is_request)
        return b""


class TapFilter(HttpFilter):
    """``point``: what is to be recorded, if anything is."""

    uses_trio = False

    def __init__(
        self,
        point: TapPoint,
        stats: Any,
        *,
        records_times: bool,
        records_downstream: bool,
        records_upstream: bool,
    ) -> None:
        self._point = point
        self._tapped = stats.counter("tap.rq_tapped")
        self._sampled_out = stats.counter("tap.rq_sampled_out")
        self.records_times = records_times
        self.records_downstream = records_downstream
        self.records_upstream = records_upstream

    def decode_headers(self, stream: Stream) -> None:
        tap = self._point.tap
        if tap is None:
            return
        if tap.is_enabled is not None and not tap.is_enabled():
            self._sampled_out.inc()
            return
        recording = _Recording(self, stream, tap, self._point.emit)
        stream.set_slot(self.slot, recording)
        recording.request_headers(stream.request.headers)
        stream.request.pipe_body(_Stage(recording, is_request=True))

    def encode_headers(self, stream: Stream) -> None:
        recording: _Recording | None = stream.get_slot(self.slot)
        if recording is None or stream.response is None:
            return
        recording.response_headers(stream.response.headers)
        stream.response.pipe_body(_Stage(recording, is_request=False))

    def on_complete(self, stream: Stream) -> None:
        recording: _Recording | None = stream.get_slot(self.slot)
        if recording is not None and recording.end():
            self._tapped.inc()
