"""Spans as OTLP says them (``opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest``).

The messages are of the package that the rest of Envoy's API comes in.  It has the older names of two fields,
``instrumentation_library_spans`` for ``scope_spans``: numbers and wire are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from sidecar.observability.span import Span

__all__ = ["EXPORT_METHOD", "encode_spans", "make_resource"]

#: ``:path`` of the call.
EXPORT_METHOD = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_ERROR = 2  # Status.STATUS_CODE_ERROR


def make_resource(attributes: Iterable[tuple[str, str]]) -> Any:
    """An ``opentelemetry.proto.resource.v1.Resource``."""
    made = resource_pb2.Resource()
    for key, value in attributes:
        made.attributes.add(key=key).value.string_value = value
    return made


def encode_spans(spans: Iterable[Span], resource: Any, scope: tuple[str, str]) -> bytes:
    """The serialized request; ``scope`` is name and version of what measured."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.CopyFrom(resource)
    of_scope = of_resource.instrumentation_library_spans.add()
    if scope[0]:
        of_scope.instrumentation_library.CopyFrom(
            common_pb2.InstrumentationLibrary(name=scope[0], version=scope[1])
        )
    for span in spans:
        made = of_scope.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            trace_state=span.trace_state.decode("utf-8", "replace"),
            parent_span_id=bytes.fromhex(span.parent_id),
            name=span.name,
            kind=span.kind,
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=max(span.end_ns, span.start_ns),
        )
        add = made.attributes.add
        for key, value in span.tags:
            add(key=key).value.string_value = value
        for name, when in span.events:
            made.events.add(name=name, time_unix_nano=when)
        if span.is_error:
            made.status.code = _ERROR
        else:
            made.status.SetInParent()
    data: bytes = request.SerializeToString()
    return data
