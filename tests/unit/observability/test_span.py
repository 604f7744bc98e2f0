"""Spans: ids, parents, what goes along in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.headers import RequestHeaders
from sidecar.observability.span import CLIENT, SERVER, BadContext, Span, UnsampledSpan, extract


class Kept:
    """A tracer that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def take(self, span: Span) -> None:
        self.spans.append(span)


def make(kept: Kept, kind: int = SERVER, *, is_sampled: bool = True) -> Span:
    return Span(
        kept,  # type: ignore[arg-type]
        "operation",
        kind,
        1,
        trace_id="",
        parent_id="",
        trace_state=b"a=b",
        is_sampled=is_sampled,
    )


def head(**fields: bytes) -> RequestHeaders:
    return RequestHeaders(b"GET", b"/", b"a", b"http", [(n.encode(), v) for n, v in fields.items()])


@given(st.booleans(), st.booleans())
def test_what_is_injected_is_extracted(is_sampled: bool, had_some: bool) -> None:
    span = make(Kept(), is_sampled=is_sampled)
    headers = head(traceparent=b"old", tracestate=b"old=1") if had_some else head()
    span.inject(headers)
    parent = extract(headers)
    assert parent is not None
    assert (parent.trace_id, parent.span_id) == (span.trace_id, span.span_id)
    assert (parent.is_sampled, parent.trace_state) == (is_sampled, b"a=b")
    assert [name for name, _ in headers.fields] == [b"traceparent", b"tracestate"]


@given(st.binary(max_size=60))
def test_a_parent_is_whole_or_refused(value: bytes) -> None:
    try:
        parent = extract(head(traceparent=value))
    except BadContext:
        return
    assert parent is not None
    assert (len(value), len(parent.trace_id), len(parent.span_id)) == (55, 32, 16)


def test_a_child_belongs_to_its_parent_and_ends_by_itself() -> None:
    kept = Kept()
    span = make(kept)
    child = span.spawn("child")
    child.finish()
    assert kept.spans == [child]
    assert (child.trace_id, child.parent_id, child.kind) == (span.trace_id, span.span_id, CLIENT)
    assert child.span_id != span.span_id
    assert child.end_ns >= child.start_ns > 0


def test_a_span_that_is_not_sampled_is_never_kept() -> None:
    kept = Kept()
    span = make(kept, is_sampled=False)
    span.set_tag("key", "value")
    span.spawn("child").finish()
    span.finish()
    assert kept.spans == []
    assert span.tags == []


@pytest.mark.parametrize(
    ("kind", "status", "is_error"),
    [(SERVER, "404", False), (SERVER, "500", True), (CLIENT, "399", False), (CLIENT, "404", True)],
)
def test_whose_fault_a_status_is(kind: int, status: str, is_error: bool) -> None:
    span = make(Kept(), kind)
    span.set_tag("http.status_code", status)
    assert span.is_error is is_error


def test_unsampled_span_goes_along_and_its_children_are_whole() -> None:
    kept = Kept()
    span = UnsampledSpan(kept, "", b"")  # type: ignore[arg-type]
    headers = head()
    span.inject(headers)
    assert headers.index() == dict(headers.fields)
    parent = extract(headers)
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (span.trace_id, span.span_id, False)
    span.set_tag("http.status_code", "500")
    span.finish()
    child = span.spawn("child")
    child.is_sampled = True  # as a script may have it
    child.finish()
    assert [(each.trace_id, each.parent_id) for each in kept.spans] == [(span.trace_id, span.span_id)]
