"""request-log of filters_rust/: entries of requests on a gRPC stream, in both proxies."""

from __future__ import annotations

import trio
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from ..client import get
from ..lab import Session
from ..scenario import scenario
from ..upstream import H2Call, answers, ok
from ..wire import head
from .wasm_filters import RUST

SUBJECT = "wasm"
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
PREFIX = 5


class LogService:
    """Takes entries down until there are so many, then ends the stream."""

    def __init__(self, count: int, status: str = "0") -> None:
        self._count = count
        self._status = status
        self.names: list[str] = []
        self.entries: list[dict[str, object]] = []
        self.is_done = trio.Event()

    async def serve(self, call: H2Call) -> None:
        await call.answer_open(HEAD)
        at = 0
        while len(self.entries) < self._count and not call.stream.ended.is_set():
            await call.stream.received(at + PREFIX)
            size = int.from_bytes(call.stream.body[at + 1 : at + PREFIX], "big")
            await call.stream.received(at + PREFIX + size)
            self._take(bytes(call.stream.body[at + PREFIX : at + PREFIX + size]))
            at += PREFIX + size
        del call.stream.body[:]  # times stand in it
        await call.peer.headers(call.stream, [("grpc-status", self._status)], end=True)
        self.is_done.set()

    def _take(self, data: bytes) -> None:
        message = StreamAccessLogsMessage.FromString(data)
        if message.HasField("identifier"):
            self.names.append(message.identifier.log_name)
        for entry in message.http_logs.log_entry:
            common, request, response = entry.common_properties, entry.request, entry.response
            assert common.start_time.seconds > 1_700_000_000
            self.entries.append(
                {
                    "cluster": common.upstream_cluster,
                    "protocol": entry.protocol_version,
                    "method": request.request_method,
                    "authority": request.authority,
                    "path": request.path,
                    "agent": request.user_agent,
                    "id": len(request.request_id),
                    "bytes": request.request_body_bytes,
                    "headers": dict(request.request_headers),
                    "status": response.response_code.value,
                    "details": response.response_code_details,
                    "response bytes": response.response_body_bytes,
                    "response headers": dict(response.response_headers),
                }
            )


@scenario(RUST)
async def rust_request_log(s: Session) -> None:
    """Entries come in order on one stream, which says whose they are; a stream that ends is opened anew."""
    s.upstream().script = answers(ok(b"hello", "content-type: text/plain"))
    for number, status in enumerate(("0", "14")):
        service = LogService(3, status)
        s.upstream("logs").h2_script = service.serve
        await s.get("/a?b", "x-tenant: one", "user-agent: me", to="request-log", label=f"first {number}")
        request = head("POST /post HTTP/1.1", "host: a", "content-length: 70000") + b"x" * 70000
        await s.http(request, "request-log", label=f"second {number}")
        client = await s.connect_h2("request-log")
        await client.request(get("/h2"), label=f"third {number}")
        await service.is_done.wait()
        s.see(f"log {number}", {"names": service.names, "entries": service.entries})
