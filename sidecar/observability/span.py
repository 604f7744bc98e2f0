"""Spans: what is known of one operation of a trace, and how a trace goes along in headers.

A span that is not sampled has ids and nothing else; they go along all the same (W3C Trace Context §3.2).
Envoy's OpenTelemetry tracer writes every tag as a string (``Span::setTag``).
"""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = ["CLIENT", "SERVER", "BadContext", "Parent", "Span", "Tracer", "UnsampledSpan", "extract"]

#: ``Span.SpanKind`` of OTLP.
SERVER = 2
CLIENT = 3

_TRACEPARENT = re.compile(rb"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-([0-9a-fA-F]{16})-([0-9a-fA-F]{2})")
_HTTP_STATUS = "http.status_code"
#: Of the one generator that is seeded anew in a copy of the process.
_random_bits = random.getrandbits


class BadContext(Exception):
    """A ``traceparent`` that cannot be read: Envoy makes no span then."""


class Parent:
    """The span that a request came from."""

    __slots__ = ("is_sampled", "span_id", "trace_id", "trace_state")

    def __init__(self, trace_id: str, span_id: str, *, is_sampled: bool, trace_state: bytes) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.is_sampled = is_sampled
        self.trace_state = trace_state


def extract(headers: HeaderMap) -> Parent | None:
    """The parent in ``traceparent`` and ``tracestate``; None where there is none.  Raises: BadContext."""
    value = headers.get(b"traceparent")
    if value is None:
        return None
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        raise BadContext
    trace_id, span_id, flags = found.groups()
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        raise BadContext
    states = headers.get_all(b"tracestate")
    return Parent(
        trace_id.decode().lower(),
        span_id.decode().lower(),
        is_sampled=bool(int(flags, 16) & 1),
        trace_state=b",".join(states),
    )


class Tracer(Protocol):
    """Makes spans and takes those that are over."""

    def start(
        self, name: str, kind: int, start_ns: int, headers: HeaderMap, *, is_traced: bool, stream: Any
    ) -> Span | None:
        """A span for a request with ``headers``; None where its context cannot be read.

        ``start_ns`` counts from the epoch; ``is_traced`` is what the connection manager decided
        of ``stream``.
        """

    def take(self, span: Span) -> None:
        """A sampled span is over."""


class Span:
    """One operation; made by a tracer or by :meth:`spawn`."""

    __slots__ = (
        *("end_ns", "events", "is_error", "is_sampled", "kind", "name", "parent_id", "span_id"),
        *("start_ns", "tags", "trace_id", "trace_state", "tracer"),
    )

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        kind: int,
        start_ns: int,
        *,
        trace_id: str,
        parent_id: str,
        trace_state: bytes,
        is_sampled: bool,
    ) -> None:
        self.tracer = tracer
        self.name = name
        self.kind = kind
        #: Nanoseconds since the epoch.
        self.start_ns = start_ns
        self.end_ns = 0
        #: Ids in hexadecimal; the parent's is empty at the root.
        if trace_id:
            self.trace_id = trace_id
            self.span_id = f"{_random_bits(64):016x}"
        else:
            ids = f"{_random_bits(192):048x}"
            self.trace_id, self.span_id = ids[:32], ids[32:]
        self.parent_id = parent_id
        self.trace_state = trace_state
        self.is_sampled = is_sampled
        self.is_error = False
        self.tags: list[tuple[str, Any]] = []
        #: Names with nanoseconds since the epoch.
        self.events: list[tuple[str, int]] = []

    def set_tag(self, key: str, value: Any) -> None:
        """Say something about the operation; nothing is kept of a span that is not sampled."""
        if not self.is_sampled:
            return
        if key == _HTTP_STATUS and value.isdigit() and int(value) >= (400 if self.kind == CLIENT else 500):
            self.is_error = True
        self.tags.append((key, value))

    def spawn(self, name: str, start_ns: int = 0, kind: int = CLIENT) -> Span:
        """A child, which begins now unless ``start_ns`` says when."""
        return Span(
            self.tracer,
            name,
            kind,
            start_ns or time.time_ns(),
            trace_id=self.trace_id,
            parent_id=self.span_id,
            trace_state=self.trace_state,
            is_sampled=self.is_sampled,
        )

    def inject(self, headers: HeaderMap) -> None:
        """Let the trace go along with ``headers``, at their end."""
        flags = "01" if self.is_sampled else "00"
        value = f"00-{self.trace_id}-{self.span_id}-{flags}".encode()
        index = headers.index()
        if b"traceparent" in index or b"tracestate" in index:
            headers.remove(b"traceparent")
            headers.remove(b"tracestate")
            index = headers.index()
        # Neither is there: what Envoy's addCopy does, without asking again.
        state = self.trace_state
        headers.fields += ((b"traceparent", value), (b"tracestate", state))
        index[b"traceparent"] = value
        index[b"tracestate"] = state

    def finish(self, end_ns: int = 0) -> None:
        """It is over, now unless ``end_ns`` says when."""
        if self.is_sampled:
            self.end_ns = end_ns or time.time_ns()
            self.tracer.take(self)


class UnsampledSpan(Span):
    """The span of a request that is not sampled and stays so: it has what goes along, and keeps nothing.

    Most requests are such, so it is as cheap as can be.
    """

    __slots__ = ()

    def __init__(self, tracer: Tracer, trace_id: str, trace_state: bytes) -> None:
        if trace_id:
            self.trace_id = trace_id
            self.span_id = f"{_random_bits(64):016x}"
        else:
            ids = f"{_random_bits(192):048x}"
            self.trace_id, self.span_id = ids[:32], ids[32:]
        self.trace_state = trace_state
        self.is_sampled = False
        self.tracer = tracer
