"""A scripted external processor: a gRPC server (grpcio), behind a relay on the port of a ``raw`` upstream.

Its scripts run in the server's threads: they get what the proxy sends as an iterator and yield the answers.
All that comes is kept, stream by stream, with how each stream ended.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent import futures
from contextlib import asynccontextmanager
from typing import Any

import grpc
import trio
from envoy.service.ext_proc.v3 import external_processor_pb2 as api
from google.protobuf import json_format

import sidecar.config.messages  # noqa: F401 - before the API's modules: it completes them

from .http2 import ordered
from .lab import Session
from .proxy import POLL_S
from .wire import Ended, Wire, show_bytes, show_headers

__all__ = ["Script", "answering", "body", "headers", "immediate", "mutation", "processing", "said"]

#: What the proxy sends goes in, answers come out.
Script = Callable[[Iterator[api.ProcessingRequest], grpc.ServicerContext], Iterable[api.ProcessingResponse]]
_METHOD = "envoy.service.ext_proc.v3.ExternalProcessor"


def said(answer: dict[str, Any]) -> api.ProcessingResponse:
    """A ProcessingResponse, from its fields as JSON has them."""
    return json_format.ParseDict(answer, api.ProcessingResponse())


def mutation(*sets: str, remove: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """A HeaderMutation that overwrites with lines ``name: value``."""
    return {
        "set_headers": [set_header(line, **more) for line in sets],
        **({"remove_headers": list(remove)} if remove else {}),
    }


def set_header(line: str, **more: Any) -> dict[str, Any]:
    """One of ``set_headers``."""
    name, _, value = line.rpartition(": ") if ": " in line else (line, "", "")
    return {
        "header": {"key": name, "raw_value": _base64(value.encode("latin-1"))},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        **more,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def headers(*sets: str, remove: Iterable[str] = (), **common: Any) -> dict[str, Any]:
    """A HeadersResponse (a BodyResponse looks the same)."""
    if sets or remove:
        common["header_mutation"] = mutation(*sets, remove=remove)
    return {"response": common}


def body(data: bytes, *sets: str, **common: Any) -> dict[str, Any]:
    """A response that replaces the body."""
    return headers(*sets, body_mutation={"body": _base64(data)}, **common)


def streamed(data: bytes = b"", *, end: bool = False) -> dict[str, Any]:
    """A piece of a body for FULL_DUPLEX_STREAMED."""
    return headers(body_mutation={"streamed_response": {"body": _base64(data), "end_of_stream": end}})


def immediate(code: int = 403, text: bytes = b"", **more: Any) -> dict[str, Any]:
    """An ImmediateResponse, as a whole ProcessingResponse."""
    if text:
        more["body"] = _base64(text)
    return {"immediate_response": {"status": {"code": code}, **more}}


def answering(**by_kind: Any) -> Script:
    """Answer each kind of message: with the fields of its own kind of response, or a list of whole responses.

    Kinds that are not named are answered with an empty response of their kind.
    """

    def script(
        requests: Iterator[api.ProcessingRequest], _context: grpc.ServicerContext
    ) -> Iterator[api.ProcessingResponse]:
        for request in requests:
            kind = str(request.WhichOneof("request"))
            answer = by_kind.get(kind, {})
            if isinstance(answer, list):
                yield from map(said, answer)
            else:
                yield said({kind: answer})

    return script


class Seen:
    """One stream of the processor."""

    def __init__(self, metadata: list[str]) -> None:
        self.metadata = metadata
        self.requests: list[api.ProcessingRequest] = []
        self.end = "open"

    def shown(self, *, merges: bool) -> list[object]:
        out: list[Any] = []
        for request in self.requests:
            entry = _shown(request)
            last = out[-1] if out else {}
            if (
                merges
                and "body" in entry
                and last.get("kind") == entry["kind"]
                and not last.get("end_of_stream")
            ):
                last.update({**entry, "body": last["body"] + entry["body"]})
            else:
                out.append(entry)
        return [*out, self.end]


def _shown(request: api.ProcessingRequest) -> dict[str, Any]:
    kind = str(request.WhichOneof("request"))
    part = getattr(request, kind)
    out: dict[str, Any] = {"kind": kind}
    if kind.endswith("_body"):
        out["body"] = show_bytes(part.body)
        out.update(_rest(part, "body"))
    else:
        field = "trailers" if kind.endswith("trailers") else "headers"
        fields = [
            (each.key, (each.raw_value or each.value.encode()).decode("latin-1"))
            for each in getattr(part, field).headers
        ]
        out["fields"] = show_headers(ordered(fields))
        out.update(_rest(part, field))
    out.update(_rest(request, kind))
    return out


def _rest(message: Any, but: str) -> dict[str, Any]:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(but)
    found = dict(json_format.MessageToDict(copy, preserving_proto_field_name=True))
    for key, values in found.get("attributes", {}).items():
        found["attributes"][key] = dict(sorted(values.items()))
    return found


class Processor:
    """The server while it runs."""

    def __init__(self) -> None:
        self.script: Script = answering()
        self.streams: list[Seen] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=api.ProcessingRequest.FromString,
            response_serializer=api.ProcessingResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_METHOD, {"Process": handler}),)
        )
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _process(
        self, requests: Iterator[api.ProcessingRequest], context: grpc.ServicerContext
    ) -> Iterator[api.ProcessingResponse]:
        metadata = [
            (key, value if isinstance(value, str) else value.decode("latin-1"))
            for key, value in context.invocation_metadata()
        ]
        seen = Seen(show_headers(metadata))
        self.streams.append(seen)

        def taken() -> Iterator[api.ProcessingRequest]:
            try:
                for request in requests:
                    seen.requests.append(request)
                    yield request
            except Exception:  # that is how grpcio says that the client has gone
                seen.end = "over"
                return
            seen.end = "over"  # whether by the end or by a reset is a race in Envoy

        it = taken()
        try:
            yield from self.script(it, context)
        finally:
            if seen.end == "open":
                seen.end = "ended by the processor" if context.is_active() else "over"

    async def relay(self, wire: Wire) -> None:
        """Carry one connection to the server."""
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError:
            return

        async def back() -> None:
            try:
                async for data in stream:
                    await wire.send(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, Ended, OSError):
                pass
            nursery.cancel_scope.cancel()

        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(back)
            try:
                while data := await wire.some():
                    await stream.send_all(data)
            except (trio.BrokenResourceError, Ended):
                pass
            nursery.cancel_scope.cancel()

    async def ended(self, count: int) -> None:
        """Wait until that many streams are over."""
        while sum(each.end != "open" for each in self.streams) < count:  # noqa: ASYNC110 - threads do it
            await trio.sleep(POLL_S)

    async def received(self, count: int) -> None:
        """Wait until that many messages have come over the last stream."""
        while not self.streams or len(self.streams[-1].requests) < count:  # noqa: ASYNC110 - threads do it
            await trio.sleep(POLL_S)

    def stop(self) -> None:
        self._server.stop(0)


@asynccontextmanager
async def processing(
    s: Session,
    script: Script | None = None,
    *,
    name: str = "proc",
    streams: int | None = None,
    merges: bool = True,
    metadata: bool = False,
    sees: bool = True,
) -> AsyncIterator[Processor]:
    """Run a processor for the block; then wait for the end of its streams, and observe what it was sent.

    ``streams``: how many are waited for, all that began by default.  ``merges``: show consecutive pieces of a
    body as one.
    """
    processor = Processor()
    if script is not None:
        processor.script = script
    s.upstream(name).raw_script = processor.relay
    try:
        yield processor
        if not sees:
            return
        await processor.ended(len(processor.streams) if streams is None else streams)
        for seen in processor.streams:
            if metadata:
                s.see(f"{name} metadata", seen.metadata)
            s.see(name, seen.shown(merges=merges))
    finally:
        processor.stop()
