# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_proc: bodies and trailers in every mode, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from ..client import get
from ..configuration import bootstrap, cluster
from ..lab import Session
from ..processor import Script, answering, body, headers, immediate, mutation, processing, said, streamed
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import Wire
from .ext_proc_headers import listening, post, stats

SUBJECT = "filters"

ROUTES = """
- {name: hole, match: {prefix: /hole}, route: {cluster: hole}}
- {name: trailers, match: {prefix: /h2}, route: {cluster: h2app}}
- {name: direct, match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: direct}}}
- {name: rest, match: {prefix: /}, route: {cluster: app}}
"""


def mode(**modes: str) -> str:
    return f"processing_mode: {{{', '.join(f'{name}_mode: {value}' for name, value in modes.items())}}}"


def both(kind: str, **more: str) -> str:
    return mode(request_body=kind, response_body=kind, **more)


TRAILERS = {"request_trailer": "SEND", "response_trailer": "SEND"}
SKIPPED = {"request_header": "SKIP", "response_header": "SKIP"}


def bodied(name: str, fields: str, *, extra: str = "", **more: str) -> dict[str, Any]:
    made = listening(
        name, fields, hcm="http_protocol_options: {enable_trailers: true}", routes=ROUTES, **more
    )
    if extra:
        made["per_connection_buffer_limit_bytes"] = int(extra)
    return made


SETUP = Setup(
    "ext_proc_bodies",
    bootstrap(
        [
            bodied("buffered", both("BUFFERED")),
            bodied("streamed", both("STREAMED")),
            bodied("partial", both("BUFFERED_PARTIAL")),
            bodied("duplex", both("FULL_DUPLEX_STREAMED", **TRAILERS)),
            bodied("grpc", both("GRPC", **TRAILERS)),
            bodied("trailers", mode(**TRAILERS)),
            bodied("buffertrailers", both("BUFFERED", **TRAILERS)),
            bodied("streamtrailers", both("STREAMED", **TRAILERS)),
            bodied("latebuffered", both("BUFFERED", **SKIPPED, **TRAILERS)),
            bodied("latepartial", both("BUFFERED_PARTIAL", **SKIPPED, **TRAILERS)),
            bodied("latestreamed", both("STREAMED", **SKIPPED, **TRAILERS)),
            bodied("nowait", both("STREAMED") + ", send_body_without_waiting_for_header_response: true"),
            bodied(
                "observe",
                both("STREAMED", **TRAILERS) + ", observability_mode: true, deferred_close_timeout: 0.1s",
            ),
            bodied(
                "observebuffered",
                both("BUFFERED") + ", observability_mode: true, deferred_close_timeout: 0.1s",
            ),
            bodied("override", "allow_mode_override: true"),
            bodied(
                "overridesome",
                "allow_mode_override: true, allowed_override_modes: [{response_header_mode: SKIP, request_body_mode: BUFFERED}]",
            ),
            bodied("fixed", "allow_mode_override: false"),
            bodied("small", both("BUFFERED"), extra="1024"),
            bodied("smallpartial", both("BUFFERED_PARTIAL"), extra="1024"),
            bodied("length", both("STREAMED") + ", allow_content_length_header: true"),
            bodied("open", both("STREAMED") + ", failure_mode_allow: true"),
            bodied("openduplex", both("FULL_DUPLEX_STREAMED", **TRAILERS) + ", failure_mode_allow: true"),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("hole", "hole"),
            cluster("proc", "proc", http2=True),
        ],
    ),
    {"app": "h1", "h2app": "h2", "hole": "raw", "proc": "raw"},
)


def changing(change: Callable[[bytes], bytes], *sets: str) -> Script:
    """Answer bodies with what ``change`` makes of them, in whatever pieces they come."""

    def script(requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        for request in requests:
            kind = str(request.WhichOneof("request"))
            if kind.endswith("_body"):
                yield said({kind: body(change(getattr(request, kind).body), *sets)})
            else:
                yield said({kind: {}})

    return script


async def swallow(wire: Wire) -> None:
    """Read, and never answer."""
    while await wire.some():
        pass


async def h2_app(call: H2Call) -> None:
    """Answer with trailers."""
    await call.body()
    await call.answer([(":status", "200")], b"from h2", [("x-end", "of response"), ("x-other", "1")])


async def with_trailers(s: Session, to: str, path: str = "/h2") -> None:
    """A request with trailers over HTTP/2, answered with trailers."""
    s.upstream("h2app").h2_script = h2_app
    client = await s.connect_h2(to)
    await client.request(get(path, method="POST"), b"to h2", [("x-end", "of request")])


@scenario(SETUP)
async def ext_proc_body_buffered(s: Session) -> None:
    """Whole bodies: seen, replaced, emptied, with headers changed, with a length that is right, wrong, taken off."""
    async with processing(s), s.counting(*stats("buffered")), s.logging(3, "buffered"):
        await s.http(post("/seen", "original"), to="buffered")
        await s.get("/none", to="buffered")
        await s.http(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            to="buffered",
        )
    async with processing(s, changing(bytes.upper, "x-changed: 1")):
        await s.http(post("/same-length", "original"), to="buffered")
    for kind in ("request_body", "response_body"):
        answer = body(b"much longer than before", "content-length: 23")
        async with processing(s, answering(**{kind: answer})), s.logging(1, "buffered"):
            await s.http(post("/longer", "original"), to="buffered", label=f"{kind} longer")
        async with (
            processing(s, answering(**{kind: body(b"much longer than before")})),
            s.logging(1, "buffered"),
        ):
            await s.http(post("/mismatch", "original"), to="buffered", label=f"{kind} mismatch")
        answer = headers(remove=("content-length",), body_mutation={"clear_body": True})
        async with processing(s, answering(**{kind: answer})), s.logging(1, "buffered"):
            await s.http(post("/cleared", "original"), to="buffered", label=f"{kind} cleared")
        answer = headers("x-only: 1", remove=("content-length",))
        async with processing(s, answering(**{kind: answer})):
            await s.http(post("/headers", "original"), to="buffered", label=f"{kind} headers")


@scenario(SETUP)
async def ext_proc_body_buffered_too_much(s: Session) -> None:
    """Bodies that are longer than may be kept: whole ones, and a first part of them."""
    long = "x" * 3000
    counted = ("http.small.downstream_rq_too_large", "http.small.rs_too_large")
    async with processing(s), s.counting(*counted, *stats("small")), s.logging(1, "small"):
        await s.http(post("/request", long), to="small")
    # Whether the head of a response is answered for before its body is too long is a race.
    async with processing(s, sees=False), s.counting(*counted), s.logging(1, "small"):
        s.upstream().script = answers(ok(long.encode()))
        await s.get("/response", to="small")


@scenario(SETUP)
async def ext_proc_body_buffered_partial(s: Session) -> None:
    """Bodies of which the first part is seen, and all of it where it is short."""
    async with processing(s), s.counting(*stats("partial")), s.logging(2, "partial"):
        await s.http(post("/seen", "original"), to="partial")
        await s.get("/none", to="partial")
    async with processing(s, changing(bytes.upper, "x-changed: 1")):
        await s.http(post("/changed", "original"), to="partial")
    first = changing(lambda data: b"[%s]" % data[:1], "x-changed: 1")
    async with processing(s, first, sees=False):
        await s.http(post("/short", "x" * 900), to="smallpartial")


@scenario(SETUP)
async def ext_proc_body_streamed(s: Session) -> None:
    """Bodies in pieces: those that are here with their head, and those that come by and by."""
    async with processing(s), s.counting(*stats("streamed")), s.logging(2, "streamed"):
        await s.http(post("/seen", "original"), to="streamed")
        await s.get("/none", to="streamed")
    async with processing(s, changing(bytes.upper, "x-changed: 1")):
        await s.http(post("/changed", "original"), to="streamed")
    async with processing(
        s, changing(lambda data: b"<%s>" % data if data else b"", "x-late: 1")
    ) as processor:
        client = await s.connect("streamed")
        await client.send(b"POST /pieces HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
        await processor.received(1)
        await s.upstream().arrivals(4)
        await client.send(b"one")
        await processor.received(2)
        await client.send(b"two")
        await processor.received(3)
        await client.send(b"six")
        await client.reply()
    big = b"b" * 3_000_000

    async def large(call: Call) -> None:
        got = await call.body()
        await call.send(ok(b"%d" % len(got) + big))

    s.upstream().script = large
    async with processing(s, changing(bytes.upper), sees=False):
        await s.http(post("/large", "a" * 2_500_000), to="streamed")


@scenario(SETUP)
async def ext_proc_body_streamed_spurious(s: Session) -> None:
    """Pieces answered as if they were of the other kind, and answers that change or end the stream inside a body."""
    s.upstream("hole").raw_script = swallow  # whether it hears of a request at all is a race
    for to, answer in (
        ("duplex", {"request_body": body(b"x")}),
        ("buffered", {"request_body": streamed(b"x", end=True)}),
        ("streamed", {"request_body": [immediate(403, b"no")]}),
        ("duplex", {"request_body": [immediate(403, b"no")]}),
        ("buffered", {"request_body": [immediate(403, b"no")]}),
    ):
        # Whether the end of the body is told before the answer to a piece of it is a race.
        saw = to == "buffered"
        async with processing(s, answering(**answer), sees=saw), s.counting(*stats(to)), s.logging(1, to):
            await s.http(post("/hole", "original"), to=to)


@scenario(SETUP)
async def ext_proc_body_late_ends(s: Session) -> None:
    """What ends a response whose head has gone out: an immediate response, an error, nothing."""

    def ending(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            kind = str(request.WhichOneof("request"))
            if kind == "response_body":
                return
            yield said({kind: {}})

    for to, script in (
        ("latebuffered", answering(response_body=[immediate(403, b"no", details="mine")])),
        ("latestreamed", answering(response_body={"response": {"body_mutation": {"streamed_response": {}}}})),
        ("latestreamed", ending),
        ("open", ending),
    ):
        # Whether it sees more before the stream ends is a race.
        async with processing(s, script, sees=False), s.counting(*stats(to)), s.logging(1, to):
            await s.get("/response", to=to)


@scenario(SETUP)
async def ext_proc_body_duplex(s: Session) -> None:
    """FULL_DUPLEX_STREAMED: pieces come back when and as the processor likes."""

    def gathering(requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        held: dict[str, bytes] = {}
        for request in requests:
            kind = str(request.WhichOneof("request"))
            if kind.endswith("_headers"):
                yield said({kind: headers(f"x-{kind[:3]}: 1")})
                if request.HasField(kind) and getattr(request, kind).end_of_stream:
                    continue
            elif kind.endswith("_body"):
                part = getattr(request, kind)
                held[kind] = held.get(kind, b"") + part.body
                if part.end_of_stream:
                    for letter in held[kind].upper():
                        yield said({kind: streamed(bytes([letter]))})
                    yield said({kind: streamed(b"!", end=True)})
            else:
                before = kind.replace("trailers", "body")
                yield said({before: streamed(held.get(before, b"")[::-1])})
                yield said({kind: {"header_mutation": mutation("x-made: 1")}})

    async with processing(s, gathering), s.counting(*stats("duplex")), s.logging(2, "duplex"):
        await s.http(post("/body", "original"), to="duplex")
        await s.get("/none", to="duplex")
    async with processing(s, gathering), s.logging(1, "duplex"):
        await with_trailers(s, "duplex")

    def at_the_end(requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        for request in requests:
            kind = str(request.WhichOneof("request"))
            if kind.endswith("_body") and getattr(request, kind).end_of_stream:
                yield said({kind.replace("body", "headers"): headers("x-late: 1")})
                yield said({kind: streamed(b"all of it", end=True)})

    async with processing(s, at_the_end):
        await s.http(post("/held", "original"), to="duplex")


@scenario(SETUP)
async def ext_proc_body_grpc_bodies(s: Session) -> None:
    """The body mode GRPC."""
    async with processing(s), s.logging(1, "grpc"):
        await s.http(post("/body", "original"), to="grpc")


@scenario(SETUP)
async def ext_proc_body_trailers(s: Session) -> None:
    """Trailers seen and changed, with bodies unseen, whole and in pieces."""
    change = {"header_mutation": mutation("x-end: changed", "x-new: 1", remove=["x-other"])}
    script = answering(request_trailers=change, response_trailers=change)
    for to in ("trailers", "buffertrailers", "streamtrailers", "latebuffered", "latestreamed", "latepartial"):
        async with processing(s, script), s.counting(*stats(to)), s.logging(1, to):
            await with_trailers(s, to)
    bad = {"header_mutation": mutation("x-bad: a\r\nb")}
    async with processing(s, answering(request_trailers=bad)), s.logging(1, "buffertrailers"):
        await with_trailers(s, "buffertrailers")
    async with (
        processing(s, answering(request_trailers=[immediate(403, b"no")])),
        s.logging(1, "buffertrailers"),
    ):
        await with_trailers(s, "buffertrailers")


@scenario(SETUP)
async def ext_proc_body_late_bodies(s: Session) -> None:
    """Bodies whose heads are not seen: they go on before."""
    for to in ("latebuffered", "latepartial", "latestreamed"):
        async with (
            processing(s, changing(lambda data: b"<%s>" % data if data else b"", "x-late: 1")),
            s.counting(*stats(to)),
            s.logging(1, to),
        ):
            await s.http(post("/body", "original"), to=to)


@scenario(SETUP)
async def ext_proc_body_at_once(s: Session) -> None:
    """Bodies that are sent before the head is answered for."""

    def late(requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        waiting = []
        for request in requests:
            kind = str(request.WhichOneof("request"))
            waiting.append(kind)
            part = getattr(request, kind)
            if part.end_of_stream:
                for each in waiting:
                    yield said({each: headers("x-a: 1") if each.endswith("headers") else {}})
                waiting = []

    async with processing(s, late), s.logging(1, "nowait"):
        await s.http(post("/body", "original"), to="nowait")


@scenario(SETUP)
async def ext_proc_body_observability(s: Session) -> None:
    """Everything goes on without an answer, and the processor sees it."""

    def silent(requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        for _ in requests:
            pass
        return
        yield

    async with processing(s, silent), s.counting(*stats("observe")), s.logging(2, "observe"):
        await s.http(post("/body", "original"), to="observe")
        await with_trailers(s, "observe")
    async with processing(s, answering(request_headers=[immediate(403)])), s.logging(1, "observe"):
        await s.http(post("/body", "original"), to="observe")
    async with processing(s, silent), s.logging(1, "observebuffered"):
        await s.http(post("/body", "original"), to="observebuffered")


@scenario(SETUP)
async def ext_proc_body_mode_override(s: Session) -> None:
    """Modes that the processor chooses for one request."""
    modes: tuple[dict[str, str], ...] = (
        {"request_body_mode": "BUFFERED", "response_header_mode": "SKIP"},
        {"request_body_mode": "BUFFERED"},
        {"response_body_mode": "BUFFERED", "request_header_mode": "SKIP"},
        {"request_body_mode": "STREAMED", "response_body_mode": "STREAMED"},
    )
    for to in ("override", "overridesome", "fixed", "streamed"):
        for each in modes:
            answer = [{"request_headers": {}, "mode_override": each}]
            async with processing(s, answering(request_headers=answer)):
                await s.http(post("/request", "original"), to=to)
    answer = [{"response_headers": {}, "mode_override": {"response_body_mode": "BUFFERED"}}]
    async with processing(s, answering(response_headers=answer)):
        await s.http(post("/response", "original"), to="override")


@scenario(SETUP)
async def ext_proc_body_content_length(s: Session) -> None:
    """A length that may stay: the processor says what it is."""
    async with processing(s):
        await s.http(post("/kept", "original"), to="length")
    async with processing(s, changing(bytes.upper)):
        await s.http(post("/same", "original"), to="length")


@scenario(SETUP)
async def ext_proc_body_failures(s: Session) -> None:
    """A processor that ends or fails inside a body."""

    def ending(kind: str, *, code: Any = None) -> Script:
        def script(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for request in requests:
                now = str(request.WhichOneof("request"))
                if now == kind:
                    if code is not None:
                        context.abort(code, "inside")
                    return
                yield said({now: {}})

        return script

    s.upstream("hole").raw_script = swallow
    for to in ("buffered", "open", "openduplex"):
        for code in (None, grpc.StatusCode.INTERNAL):
            path = "/hole" if code is not None and "duplex" in to else "/request"
            async with (
                processing(s, ending("request_body", code=code)),
                s.counting(*stats(to)),
                s.logging(1, to),
            ):
                await s.http(post(path, "original"), to=to)
