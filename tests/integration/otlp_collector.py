"""A collector of OTLP over gRPC, for traces and logs."""

from __future__ import annotations

import queue
from concurrent import futures
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

__all__ = ["Collector"]

_PACKAGE = "opentelemetry.proto.collector"
_WAIT_S = 20.0


class Collector:
    """Serves on ``port`` while the block runs."""

    def __init__(self) -> None:
        self.logs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.spans: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        for service, take in (("trace.v1.TraceService", self._traces), ("logs.v1.LogsService", self._logs)):
            handler = grpc.unary_unary_rpc_method_handler(take)
            methods = {"Export": handler}
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(f"{_PACKAGE}.{service}", methods)]
            )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop(None).wait()

    def until_log(self) -> str:
        """The next line."""
        return self.logs.get(timeout=_WAIT_S)

    def until_span(self) -> bytes:
        """The trace of the next span."""
        return self.spans.get(timeout=_WAIT_S)

    def _traces(self, data: bytes, _context: Any) -> bytes:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(data)
        for resource in request.resource_spans:
            for scope in resource.instrumentation_library_spans:
                for span in scope.spans:
                    self.spans.put(span.trace_id)
        return b""

    def _logs(self, data: bytes, _context: Any) -> bytes:
        request = logs_service_pb2.ExportLogsServiceRequest.FromString(data)
        for resource in request.resource_logs:
            for field, scopes in resource.ListFields():
                if field.name in ("scope_logs", "instrumentation_library_logs"):
                    for scope in scopes:
                        for record in scope.log_records if hasattr(scope, "log_records") else scope.logs:
                            self.logs.put(record.body.string_value)
        return b""
