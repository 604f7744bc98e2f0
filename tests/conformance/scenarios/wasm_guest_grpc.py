"""The conformance guest: gRPC calls and streams, what is told of them, and what cannot be called."""

from __future__ import annotations

import struct

import trio

from ..guest_log import guest_log
from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario
from ..upstream import H2Call

SUBJECT = "wasm"
HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


async def service(call: H2Call) -> None:
    """Answers by the method's name."""
    if call.path.endswith("/Hang"):
        await trio.sleep_forever()
    if call.path.endswith("/Stream"):
        await call.answer_open([*HEAD, ("x-initial", "1")])
        await call.peer.data(call.stream, frame(b"first"))
        await call.body()
        await call.peer.data(call.stream, frame(b""))
        await call.peer.headers(
            call.stream, [("grpc-status", "0"), ("grpc-message", "fine"), ("x-trailing", "2")], end=True
        )
        return
    await call.body()
    if call.path.endswith("/Fails"):
        await call.answer([*HEAD, ("grpc-status", "5"), ("grpc-message", "not%20here")])
    elif call.path.endswith("/Quiet"):
        await call.answer(HEAD, frame(b"x"), [("grpc-status", "7")])
    elif call.path.endswith("/Odd"):
        await call.answer([(":status", "404")])
    else:
        await call.answer([*HEAD, ("x-initial", "1")], frame(b"answer"), [("grpc-status", "0")])


@scenario(SETUP)
async def wasm_guest_grpc_call(s: Session) -> None:
    """A unary call by the cluster's name and by a service message; its answer lets the request go on."""
    s.upstream("h2app").h2_script = service
    for case in ("call", "service"):
        async with guest_log(s, "grpc", "on_delete", label=f"log {case}"):
            await s.get("/", f"x-case: {case}", to="grpc", label=case)


@scenario(SETUP)
async def wasm_guest_grpc_call_fails(s: Session) -> None:
    """The service says no in several ways, nobody listens, nobody answers in time."""
    s.upstream("h2app").h2_script = service
    for case in ("fails", "quiet", "odd", "dead", "late"):
        async with guest_log(s, "grpc", "on_delete", label=f"log {case}"):
            await s.get("/", f"x-case: {case}", to="grpc", label=case)


@scenario(SETUP)
async def wasm_guest_grpc_refused(s: Session) -> None:
    """Upstreams that there are not."""
    async with guest_log(s, "grpc", "on_delete"):
        await s.get("/", "x-case: bad", to="grpc")


@scenario(SETUP)
async def wasm_guest_grpc_stream(s: Session) -> None:
    """A stream: messages both ways, its metadata, its end, and what can be done with it afterwards."""
    s.upstream("h2app").h2_script = service
    async with guest_log(s, "grpc", "on_delete"):
        await s.get("/", "x-case: stream", to="grpc")


@scenario(SETUP)
async def wasm_guest_grpc_cancel(s: Session) -> None:
    """What was cancelled is not known any more."""
    s.upstream("h2app").h2_script = service
    async with guest_log(s, "grpc", "on_delete"):
        await s.get("/", "x-case: cancel", to="grpc")
