# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""tcp_proxy with tunneling_config: bytes over CONNECT and POST, on HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import re

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import Wire, head
from .tcp_proxy import proxy, settled

SUBJECT = "connections"

LOG = (
    "%ACCESS_LOG_TYPE% in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "%PROTOCOL% up=%UPSTREAM_PROTOCOL% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS% "
    "headers=%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers)% "
    "trailers=%FILTER_STATE(envoy.tcp_proxy.propagate_response_trailers)%\n"
)
HOST = "hostname: target:443"
ADDED = """
tunneling_config:
  hostname: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:99"
  propagate_response_headers: true
  propagate_response_trailers: true
  headers_to_add:
  - {header: {key: X-Literal, value: one}}
  - {header: {key: x-literal, value: two}}
  - {header: {key: x-over, value: a}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-once, value: "%PROTOCOL%"}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-absent, value: b}, append_action: OVERWRITE_IF_EXISTS}
  - {header: {key: x-port, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
  - {header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}
  - {header: {key: x-empty, value: ""}}
  - {header: {key: x-kept, value: ""}, keep_empty_value: true}
"""


def tunnel(name: str, to: str, *fields: str, more: str = "", extra: str = ""):  # type: ignore[no-untyped-def]
    """A listener whose TCP proxy tunnels to a cluster."""
    config = f"tunneling_config: {{{HOST}{more}}}"
    return proxy(name, f"cluster: {to}", config, *fields, extra=extra, log=LOG)


IDS = (
    "request_id_extension: {typed_config:"
    " {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}"
)
OWN_IDS = "request_id_header: X-Own, request_id_metadata_key: own"
IDS_LOG = (
    "%ACCESS_LOG_TYPE% %DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:tunnel_request_id)% "
    "%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:own)% %STREAM_ID%\n"
)
TWICE = "max_connect_attempts: 2"
SETUP = Setup(
    "tcp-tunnels",
    bootstrap(
        [
            tunnel("one", "h1app"),
            tunnel("two", "h2app"),
            tunnel("postone", "h1app", more=", use_post: true, post_path: /tunnel"),
            tunnel("posttwo", "h2app", more=", use_post: true"),
            proxy("addedone", "cluster: h1app", ADDED, log=LOG),
            proxy("addedtwo", "cluster: h2app", ADDED, log=LOG),
            tunnel("twice", "h1app", TWICE),
            tunnel("twicetwo", "h2app", TWICE),
            tunnel("dead", "dead", TWICE),
            tunnel("deadtwo", "deadtwo"),
            tunnel("empty", "empty"),
            tunnel("nowhere", "nowhere"),
            tunnel("idle", "h1app", "idle_timeout: 0.2s"),
            tunnel("idletwo", "h2app", "idle_timeout: 0.2s"),
            tunnel("aged", "h1app", "max_downstream_connection_duration: 0.2s"),
            tunnel("full", "full"),
            proxy("ids", "cluster: h1app", f"tunneling_config: {{{HOST}, {IDS}}}", log=IDS_LOG),
            proxy("ownids", "cluster: h1app", f"tunneling_config: {{{HOST}, {IDS}, {OWN_IDS}}}", log=IDS_LOG),
        ],
        [
            cluster("h1app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("dead", "dead"),
            cluster("deadtwo", "dead", http2=True),
            cluster("empty"),
            cluster("full", "app", extra="circuit_breakers: {thresholds: [{max_requests: 0}]}"),
        ],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
OPENED = head("HTTP/1.1 200 OK", "x-up: yes")
PAIRS = (("one", "app"), ("two", "h2app"))


def counted(name: str, to: str) -> tuple[str, ...]:
    return (
        *(
            f"tcp.{name}.{each}"
            for each in (
                "downstream_cx_total",
                "downstream_cx_no_route",
                "downstream_cx_rx_bytes_total",
                "downstream_cx_tx_bytes_total",
                "idle_timeout",
                "max_downstream_connection_duration",
            )
        ),
        *(
            f"cluster.{to}.{each}"
            for each in (
                "upstream_cx_total",
                "upstream_cx_http1_total",
                "upstream_cx_http2_total",
                "upstream_cx_connect_fail",
                "upstream_cx_connect_attempts_exceeded",
                "upstream_cx_overflow",
                "upstream_cx_none_healthy",
                "upstream_cx_destroy",
                "upstream_cx_destroy_local",
                "upstream_cx_destroy_remote",
                "upstream_cx_destroy_local_with_active_rq",
                "upstream_cx_destroy_remote_with_active_rq",
                "upstream_cx_close_notify",
                "upstream_cx_protocol_error",
                "upstream_rq_total",
                "upstream_rq_active",
                "upstream_rq_pending_total",
                "upstream_rq_pending_overflow",
                "upstream_rq_pending_failure_eject",
                "upstream_rq_completed",
                "upstream_rq_200",
                "upstream_rq_rx_reset",
                "upstream_rq_tx_reset",
            )
        ),
    )


def accepting(reply: bytes = OPENED):  # type: ignore[no-untyped-def]
    async def script(call: Call) -> None:
        await call.send(reply)
        await call.send(await call.tunnel(5))
        await call.tunnel_end()

    return script


def accepting_h2(*headers: tuple[str, str]):  # type: ignore[no-untyped-def]
    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200"), *headers])
        await call.stream.received(5)
        await call.peer.data(call.stream, bytes(call.stream.body[:5]))
        await call.stream.ended.wait()
        await call.peer.data(call.stream, b"", end=True)

    return script


@scenario(SETUP)
async def tunnel_both_ways(s: Session) -> None:
    """Bytes both ways over CONNECT and POST; the client ends its side."""
    s.upstream().script = accepting()
    s.upstream("h2app").h2_script = accepting_h2(("x-up", "yes"))
    for name, to in (("one", "h1app"), ("two", "h2app"), ("postone", "h1app"), ("posttwo", "h2app")):
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tunnel_client_ends_first(s: Session) -> None:
    """What the upstream sends behind the client's end: lost on HTTP/1.1, there on HTTP/2."""
    ended = trio.Event()

    async def script(call: Call) -> None:
        await call.send(OPENED)
        await call.tunnel_end()
        ended.set()

    async def h2_script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.ended.wait()
        await call.peer.data(call.stream, b"farewell", end=True)

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    for name, _ in PAIRS:
        async with s.logging(2, name):
            client = await s.connect(name)
            await client.send(b"hello")
            client.half_close()
            await client.closed(name)
            await settled(s, name)
    await ended.wait()


@scenario(SETUP)
async def tunnel_upstream_ends_first(s: Session) -> None:
    """The upstream ends its side: all of the tunnel on HTTP/1.1, one half of it on HTTP/2."""
    got = trio.Event()

    async def script(call: Call) -> None:
        await call.send(OPENED)
        await call.send(await call.tunnel(5))
        await call.close()

    async def h2_script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"world", end=True)
        await call.stream.received(9)
        got.set()

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    async with s.logging(2, "one"), s.counting(*counted("one", "h1app")):
        client = await s.connect("one")
        await client.send(b"hello")
        await client.closed("one")
        await settled(s, "one")
    async with s.logging(2, "two"), s.counting(*counted("two", "h2app")):
        client = await s.connect("two")
        await client.send(b"hello")
        await client.closed("two")
        await client.send(b"more")
        await got.wait()
        client.half_close()
        await settled(s, "two")


@scenario(SETUP)
async def tunnel_refused(s: Session) -> None:
    """Answers that are no success, or that end at once: tried again, then given up."""
    for status in ("201", "299", "204", "302", "407", "503", "101"):

        async def script(call: Call, status: str = status) -> None:
            await call.send(head(f"HTTP/1.1 {status} x", "content-length: 0"))
            await call.tunnel_end()

        s.upstream().script = script
        async with s.logging(2, "twice"), s.counting(*counted("twice", "h1app")):
            client = await s.connect("twice")
            await client.send(b"hello")
            if status.startswith("2"):
                client.half_close()
            await client.closed(status)
            await settled(s, "twice")
        s.see(f"{status} seen", len(s.upstream().seen))
    for status in ("201", "204", "302", "407", "503"):

        async def h2_script(call: H2Call, status: str = status) -> None:
            await call.answer_open([(":status", status)])

        s.upstream("h2app").h2_script = h2_script
        async with s.logging(2, "twicetwo"), s.counting(*counted("twicetwo", "h2app")):
            client = await s.connect("twicetwo")
            await client.send(b"hello")
            await client.closed(f"h2 {status}")
            await settled(s, "twicetwo")

    async def ends(call: H2Call) -> None:
        await call.answer([(":status", "200")])

    s.upstream("h2app").h2_script = ends
    async with s.logging(2, "twicetwo"), s.counting(*counted("twicetwo", "h2app")):
        client = await s.connect("twicetwo")
        await client.closed("h2 ends")
        await settled(s, "twicetwo")


@scenario(SETUP)
async def tunnel_without_an_answer(s: Session) -> None:
    """The upstream closes or resets instead of an answer."""

    async def close(call: Call) -> None:
        await call.close()

    async def reset(call: Call) -> None:
        await call.reset()

    async def garbage(call: Call) -> None:
        await call.send(b"SSH-2.0-x\r\n\r\n")
        await call.tunnel_end()

    async def h2_reset(call: H2Call) -> None:
        await call.peer.reset(call.stream)

    for label, script in (("close", close), ("reset", reset), ("garbage", garbage)):
        s.upstream().script = script
        async with s.logging(2, "twice"), s.counting(*counted("twice", "h1app")):
            client = await s.connect("twice")
            await client.send(b"hello")
            await client.closed(label)
            await settled(s, "twice")
    s.upstream("h2app").h2_script = h2_reset
    async with s.logging(2, "twicetwo"), s.counting(*counted("twicetwo", "h2app")):
        client = await s.connect("twicetwo")
        await client.closed("h2")
        await settled(s, "twicetwo")


@scenario(SETUP)
async def tunnel_second_attempt(s: Session) -> None:
    """The first answer refuses, the second one does not."""
    answers = [head("HTTP/1.1 503 x", "content-length: 0"), OPENED]

    async def script(call: Call) -> None:
        answer = answers.pop(0)
        await call.send(answer)
        if answer is OPENED:
            await call.send(await call.tunnel(5))
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(2, "twice"), s.counting(*counted("twice", "h1app")):
        client = await s.connect("twice")
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()
        await settled(s, "twice")


@scenario(SETUP)
async def tunnel_headers(s: Session) -> None:
    """A host and headers by formats; the answer's headers and trailers are kept for the log."""
    s.upstream().script = accepting(head("HTTP/1.1 200 OK", "x-up: yes", "X-Up: no"))

    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200"), ("x-up", "yes"), ("x-up", "no")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"hello")
        await call.stream.ended.wait()
        await call.peer.headers(call.stream, [("x-trailer", "t")], end=True)

    s.upstream("h2app").h2_script = script
    for name in ("addedone", "addedtwo"):
        async with s.logging(2, name):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tunnel_resets(s: Session) -> None:
    """The upstream resets its connection, or its stream; the client does."""
    ready = trio.Event()

    async def script(call: Call) -> None:
        await call.send(OPENED + b"hello")
        await call.tunnel(5)
        await ready.wait()
        await call.reset()

    async def h2_script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.peer.data(call.stream, b"hello")
        await call.stream.received(5)
        await ready.wait()
        await call.peer.reset(call.stream)

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    for name, to in (("one", "h1app"), ("two", "h2app")):
        ready = trio.Event()
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} before")
            ready.set()
            s.see(f"{name} client", (await client.wire.rest())[1])
            await settled(s, name)
    over = trio.Event()

    async def reads(call: Call) -> None:
        await call.send(OPENED + b"hello")
        await call.tunnel(5)
        s.see("one upstream", (await call.wire.rest())[1])
        call.is_over = True
        over.set()

    async def h2_reads(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.peer.data(call.stream, b"hello")
        await call.stream.received(5)
        await call.stream.ended.wait()
        over.set()

    s.upstream().script = reads
    s.upstream("h2app").h2_script = h2_reads
    for name, to in (("one", "h1app"), ("two", "h2app")):
        over = trio.Event()
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} before")
            client.reset()
            await over.wait()
            await settled(s, name)


@scenario(SETUP)
async def tunnel_without_an_upstream(s: Session) -> None:
    """Nobody is there, the cluster has no host, there is no such cluster, its limit is zero."""
    for name, to in (
        ("dead", "dead"),
        ("deadtwo", "deadtwo"),
        ("empty", "empty"),
        ("nowhere", "h1app"),
        ("full", "full"),
    ):
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tunnel_timeouts(s: Session) -> None:
    """Idle while the upstream does not answer, and once it has; the longest that a connection lasts."""

    async def silent(call: Call) -> None:
        await call.tunnel_end()

    async def h2_silent(call: H2Call) -> None:
        await call.stream.ended.wait()

    s.upstream().script = silent
    s.upstream("h2app").h2_script = h2_silent
    for name, to in (("idle", "h1app"), ("idletwo", "h2app"), ("aged", "h1app")):
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.closed(f"{name} before")
            await settled(s, name)
    s.upstream().script = accepting()
    s.upstream("h2app").h2_script = accepting_h2()
    for name, to in (("idle", "h1app"), ("idletwo", "h2app"), ("aged", "h1app")):
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tunnel_much_of_it(s: Session) -> None:
    """Megabytes both ways at once arrive whole."""
    size = 3 * 1024 * 1024
    sent = bytes(range(256)) * (size // 256)

    async def script(call: Call) -> None:
        await call.send(OPENED)
        call.is_over = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.wire.send, sent)
            s.see("one upstream", hashlib.sha256(await call.wire.exactly(size)).hexdigest())
        await call.tunnel_end()

    async def h2_script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.peer.data, call.stream, sent)
            await call.stream.received(size)
            s.see("two upstream", hashlib.sha256(bytes(call.stream.body)).hexdigest())
        await call.stream.ended.wait()
        await call.peer.data(call.stream, b"", end=True)

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    for name, _ in PAIRS:
        async with s.logging(2, name):
            client = await s.connect(name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.wire.send, sent)
                s.see(name, hashlib.sha256(await client.wire.exactly(size)).hexdigest())
            client.half_close()
            await client.closed()
            await settled(s, name)


@scenario(SETUP)
async def tunnel_answers(s: Session) -> None:
    """Answers with bytes behind them, a length, a coding, an interim one in front, of HTTP/1.0."""
    for label, reply in (
        ("bytes", OPENED + b"bytes"),
        ("length", head("HTTP/1.1 200 OK", "content-length: 5") + b"bytes"),
        ("chunked", head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"bytes"),
        ("interim", head("HTTP/1.1 103 x", "x-i: 1") + OPENED + b"bytes"),
        ("old", head("HTTP/1.0 200 OK") + b"bytes"),
        ("close", head("HTTP/1.1 200 OK", "connection: close") + b"bytes"),
    ):
        for name in ("one", "postone"):
            if name == "postone" and label in ("length", "chunked"):
                continue  # the end of such an answer ends Envoy
            s.upstream().script = accepting(reply)
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(10, f"{name} {label}")
            client.half_close()
            await client.closed(f"{name} {label} end")
            await settled(s, name)


@scenario(SETUP)
async def tunnel_post_is_answered_to_its_end(s: Session) -> None:
    """The upstream of a POST ends its answer; over HTTP/1.1 that ends Envoy, too."""

    async def h2_script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"hello", end=True)
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = h2_script
    async with s.logging(2, "posttwo"), s.counting(*counted("posttwo", "h2app")):
        client = await s.connect("posttwo")
        await client.send(b"hello")
        await client.closed()
        client.half_close()
        await settled(s, "posttwo")


@scenario(SETUP)
async def tunnel_upstream_ends_and_resets(s: Session) -> None:
    """The upstream ends its side of a stream, and resets the rest of it: without an error, and with one."""
    for code in ("NO_ERROR", "CANCEL"):

        async def h2_script(call: H2Call, code: str = code) -> None:
            await call.answer_open([(":status", "200")])
            await call.stream.received(5)
            await call.peer.data(call.stream, b"world", end=True)
            await call.peer.reset(call.stream, code)

        s.upstream("h2app").h2_script = h2_script
        async with s.logging(2, "two"), s.counting(*counted("two", "h2app")):
            client = await s.connect("two")
            await client.send(b"hello")
            data, how = await client.wire.rest()
            s.see(code, (data.decode(), how))
            await settled(s, "two")


@scenario(SETUP)
async def tunnel_connection_of_streams_ends(s: Session) -> None:
    """The upstream's HTTP/2 connection ends below the tunnel: before the answer, and behind it."""

    async def h2_script(call: H2Call) -> None:
        if len(s.upstream("h2app").seen) > 2:  # the first client's two attempts
            await call.answer_open([(":status", "200")])
            await call.stream.received(5)
        call.peer.half_close()

    s.upstream("h2app").h2_script = h2_script
    for _ in range(2):
        async with s.logging(2, "twicetwo"), s.counting(*counted("twicetwo", "h2app")):
            client = await s.connect("twicetwo")
            await client.send(b"hello")
            s.see("client", (await client.wire.rest())[1])
            await settled(s, "twicetwo")


@scenario(SETUP)
async def tunnel_client_leaves_before_the_answer(s: Session) -> None:
    """The client ends its side, or resets, while the upstream has not answered."""
    go = trio.Event()

    async def script(call: Call) -> None:
        await go.wait()
        await call.send(OPENED)
        await call.tunnel_end()

    async def h2_script(call: H2Call) -> None:
        await go.wait()
        await call.answer_open([(":status", "200")])
        await call.stream.ended.wait()
        if not call.stream.reset:
            await call.peer.data(call.stream, b"bye", end=True)

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    for name, up in PAIRS:
        go = trio.Event()
        count = len(s.upstream(up).seen)
        async with s.logging(2, name):
            client = await s.connect(name)
            await client.send(b"hello")
            client.half_close()
            await s.upstream(up).arrivals(count + 1)
            go.set()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tunnel_request_id(s: Session) -> None:
    """An id of the tunnel's own: in its request, and in the metadata of the connection."""
    s.upstream().script = accepting()
    for name in ("ids", "ownids"):
        path = s.proxy.directory / f"{name}.log"
        client = await s.connect(name)
        await client.send(b"hello")
        await client.tunnel(5, name)
        client.half_close()
        await client.closed(name)
        await settled(s, name)
        await s.quiet()
        call = s.upstream().seen.pop()
        assert isinstance(call, Call)
        fields = dict(call.request.headers)
        value = fields.get("x-request-id") or fields.get("x-own", "")
        s.see(f"{name} names", [key for key, _ in call.request.headers])
        s.see(f"{name} length", len(value))
        logged = path.read_text().splitlines()[-1]
        s.see(f"{name} logged", logged.replace(value, "<id>") if value else logged)


ENDS = """
- {match: {connect_matcher: {}}, route: {cluster: raw, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
- {match: {prefix: /}, route: {cluster: raw, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}
"""
PIPE = "load_assignment: {cluster_name: NAME, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: FILE(ends)}}}}]}]}"


def ending(name: str):  # type: ignore[no-untyped-def]
    """A listener on a Unix socket at which tunnels end."""
    out = listener(
        name,
        "http2_protocol_options: {allow_connect: true}\ncommon_http_protocol_options: {idle_timeout: 0.1s}",
        routes=ENDS,
        extra=f"address: {{pipe: {{path: FILE({name})}}}}",
        log="%REQ(:METHOD)% %REQ(:AUTHORITY)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT%\n",
    )
    return out


CHAIN = Setup(
    "chain",
    bootstrap(
        [
            tunnel("one", "one"),
            tunnel("two", "two"),
            tunnel("postone", "one", more=", use_post: true"),
            tunnel("posttwo", "two", more=", use_post: true"),
            ending("ends"),
        ],
        [
            cluster("one", extra=PIPE.replace("NAME", "one")),
            cluster("two", extra=PIPE.replace("NAME", "two"), http2=True),
            cluster("raw", "app"),
        ],
    ),
    {"app": "raw"},
)


def unhosted(line: str) -> str:
    """A log line without the path of the socket."""
    return re.sub(r"host=\S+", "host=<socket>", line)


@scenario(CHAIN)
async def tunnel_chain(s: Session) -> None:
    """A tunnel that begins at one listener and ends at another, to a host that hears plain bytes."""
    for name in ("one", "two", "postone", "posttwo"):

        async def answer(wire: Wire, name: str = name) -> None:
            s.see(f"{name} upstream", (await wire.exactly(5)).decode())
            await wire.send(b"world")
            s.see(f"{name} upstream, then", (await wire.rest())[1])

        s.upstream().raw_script = answer
        # Over HTTP/1.1 the end of a POST and of its connection come at once.
        shown = (lambda line: line.replace(" DC ", " - ")) if name == "postone" else str
        async with s.logging(2, name, shown=unhosted), s.logging(1, "ends", shown=shown):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, name)
            client.half_close()
            await client.closed(f"{name}, then")
            await settled(s, name)


@scenario(CHAIN)
async def tunnel_chain_ends_at_the_far_side(s: Session) -> None:
    """The host at the far end speaks first and ends its side; much goes through."""
    size = 2 * 1024 * 1024
    sent = bytes(range(256)) * (size // 256)
    for name in ("one", "two"):

        async def answer(wire: Wire, name: str = name) -> None:
            await wire.send(sent)
            s.see(f"{name} upstream", hashlib.sha256(await wire.exactly(size)).hexdigest())
            wire.half_close()
            await wire.rest()

        s.upstream().raw_script = answer
        async with s.logging(2, name, shown=unhosted):
            client = await s.connect(name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.wire.send, sent)
                s.see(name, hashlib.sha256(await client.wire.exactly(size)).hexdigest())
            await client.closed(f"{name}, then")
            client.half_close()
            await settled(s, name)
