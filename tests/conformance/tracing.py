"""A collector of OTLP for scenarios: what it received of each proxy, as a tree without what is random."""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from .lab import Session
from .proxy import POLL_S
from .upstream import H2Call

_RESPONSE = b"\0\0\0\0\0"


class Collector:
    """Takes spans over gRPC on the upstream of that name, which speaks HTTP/2."""

    def __init__(self, s: Session, name: str = "collector") -> None:
        self.requests: list[Any] = []
        self.spans: list[Any] = []
        self._upstream = s.upstream(name)
        self._upstream.h2_script = self._take
        self._session = s
        #: The head of each export.
        self.heads: list[list[str]] = []

    async def _take(self, call: H2Call) -> None:
        self._upstream.seen.clear()  # how many exports there are is a matter of time
        body = await call.body()
        self.heads.append([f"{name}: {value}" for name, value in call.stream.headers if name != "user-agent"])
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body[5:])
        self.requests.append(request)
        for resource in request.resource_spans:
            for scope in resource.instrumentation_library_spans:
                self.spans.extend(scope.spans)
        await call.answer(
            [(":status", "200"), ("content-type", "application/grpc")], _RESPONSE, [("grpc-status", "0")]
        )

    async def until(self, count: int) -> None:
        """Wait for that many spans."""
        while len(self.spans) < count:  # noqa: ASYNC110 - another process sends them
            await trio.sleep(POLL_S)

    async def see(self, count: int, label: str = "spans") -> None:
        """Wait for that many spans and observe them, the oldest first."""
        await self.until(count)
        spans = sorted(self.spans, key=lambda span: span.start_time_unix_nano)
        self._session.see(label, [shown(span) for span in spans])
        self.spans.clear()

    async def take_until(self, path: str) -> list[Any]:
        """The spans up to that of a request for `path`, the oldest first."""
        while not any(self.url(span).endswith(path) for span in self.spans):  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        spans = sorted(self.spans, key=lambda span: span.start_time_unix_nano)
        self.spans.clear()
        return spans

    @staticmethod
    def url(span: Any) -> str:
        """What was asked for."""
        return next((each.value.string_value for each in span.attributes if each.key == "http.url"), "")

    def see_resource(self) -> None:
        """Observe what the spans are said to be of, and how they came."""
        self._session.see("export", sorted(self.heads[0]))
        first = self.requests[0].resource_spans[0]
        said = {each.key: each.value.string_value for each in first.resource.attributes}
        version = said.pop("telemetry.sdk.version", "")
        scope = first.instrumentation_library_spans[0].instrumentation_library
        self._session.see("resource", sorted(said.items()))
        self._session.see("scope", [scope.name, not version or scope.version == version])


def _value(value: Any) -> object:
    return MessageToDict(value)


def shown(span: Any) -> dict[str, object]:
    """A span; its times are told by whether they are in order."""
    out: dict[str, object] = {
        "trace": f"trace:{span.trace_id.hex()}",
        "span": f"span:{span.span_id.hex()}",
        "name": span.name,
        "kind": span.kind,
        "is in order": 0 < span.start_time_unix_nano <= span.end_time_unix_nano,
        "attributes": sorted(f"{each.key}: {_value(each.value)}" for each in span.attributes),
        "status": MessageToDict(span.status),
    }
    if span.parent_span_id:
        out["parent"] = f"span:{span.parent_span_id.hex()}"
    if span.trace_state:
        out["tracestate"] = span.trace_state
    if span.events or span.links:
        out["events"] = [each.name for each in span.events]
    return out
