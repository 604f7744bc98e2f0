"""What the Python of one exchange costs: ``python -m tests.bench.micro [CASE ...]``.

The whole proxy as a configuration makes it, with both sockets and the epoll faked: no kernel, no load
generator, one process, so that two versions can be told apart on a machine that is not quiet.  Each number
is the best of many short rounds, in microseconds per request; over HTTP/2 ten requests come in one read.
``--profile`` shows where the time goes; ``--count`` how many bytecodes of which function run, which no other
process disturbs.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import itertools
import json
import pstats
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import trio
from jh2._hazmat import Encoder

from sidecar.config.load import load_bootstrap
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.net.reactor import Reactor, Transport
from sidecar.server.main import Server
from sidecar.upstream.connector import Connector
from tests.bench import observe
from tests.bench.load import HEADERS
from tests.bench.proxies import Case, write_envoy

__all__ = ["MICRO_CASES", "Lab", "main"]

_BATCH = 10
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
_SETTINGS_ACK = b"\0\0\0\x04\x01\0\0\0\0"
#: The connection's window, opened as wide as it goes.
_WINDOW = b"\0\0\x04\x08\0\0\0\0\0" + (2**31 - 1 - 65535).to_bytes(4, "big")
_DATE = b"Sun, 29 Nov 2026 04:00:00 GMT"
_H1_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: %b\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nok" % _DATE
)
#: The same as nginx sends it over HTTP/2: with every response it adds each field to the table once more.
_NGINX_BLOCK = b"\x88" + b"".join(
    bytes((0x40 | index, len(value))) + value
    for index, value in (
        (54, b"nginx/1.22.1"),
        (33, _DATE),
        (31, b"application/octet-stream"),
        (28, b"2"),
    )
)
_FIELDS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
#: A response of gRPC, without Huffman's code and without the table.
_GRPC_HEAD = b"\x88\x0f\x10\x10application/grpc"
_GRPC_TRAILERS = b"\0\x0bgrpc-status\x010"
_SERVICE_PORT = 2
_fds = itertools.count(1000)
_head = struct.Struct(">HBBBI").pack
_unpack = struct.Struct(">HBBBI").unpack_from


@dataclass(frozen=True, slots=True)
class Micro:
    """One case: which protocol on which side, and what is asked."""

    name: str
    http2_down: bool = False
    http2_up: bool = False
    body: bytes = b""
    #: A traceparent that differs in each request.
    traced: bool = False
    #: A path that differs in each request.
    paths: bool = False
    #: ``application/grpc``: trailers behind the response.
    grpc: bool = False
    access_log: bool = False
    json_log: bool = False
    #: A title of :data:`tests.bench.observe.CASES`: what goes to a service.
    watched: str = ""
    filter: str = ""
    batch: int = 1


MICRO_CASES: tuple[Micro, ...] = (
    Micro("h1-h1"),
    Micro("h1-h1-traced", traced=True),
    Micro("h1-h1-log", access_log=True),
    Micro("h1-h1-json-log", json_log=True),
    Micro("h1-h1-grpc-log", watched="access log, gRPC"),
    Micro("h1-h1-spans", watched="tracing, 100 %"),
    Micro("h1-h1-rbac", filter="rbac"),
    Micro("h1-h1-combined", json_log=True, filter="lua+rbac"),
    Micro("h1-h1-post", body=b"x" * 1024),
    Micro("h1-h1-lua", filter="lua"),
    Micro("h1-h1-lua-edits", filter="lua-edits"),
    Micro("h1-h1-lua-body", filter="lua-body"),
    Micro("h1-h1-wasm", filter="wasm"),
    Micro("h2-h1", http2_down=True, batch=_BATCH),
    Micro("h2-h1-one", http2_down=True),
    Micro("h2-h1-traced", http2_down=True, traced=True, batch=_BATCH),
    Micro("h2-h1-paths", http2_down=True, paths=True, batch=_BATCH),
    Micro("h2-h1-post", http2_down=True, body=b"x" * 1024, batch=_BATCH),
    Micro("h1-h2", http2_up=True),
    Micro("h2-h2", http2_down=True, http2_up=True, batch=_BATCH),
    Micro("h2-h2-grpc", http2_down=True, http2_up=True, body=b"x" * 128, grpc=True, batch=_BATCH),
)


class _Socket:
    """A socket whose peer is a function."""

    family = socket.AF_INET

    def __init__(self, on_send: Callable[[_Socket], None]) -> None:
        self.inbox: list[bytes] = []
        self.outbox: list[bytes] = []
        self._on_send = on_send
        self._fd = next(_fds)
        self.transport: Any = None
        #: Whether it is a service's that logs or spans go to.
        self.is_service = False

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int) -> bytes:
        if not self.inbox:
            raise BlockingIOError
        data = self.inbox.pop()
        if len(data) > size:
            self.inbox.append(data[size:])
            data = data[:size]
        return data

    def send(self, data: bytes) -> int:
        self.outbox.append(data)
        self._on_send(self)
        return len(data)

    def sendmsg(self, pieces: list[bytes]) -> int:
        return self.send(b"".join(pieces))

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 10000)

    def close(self) -> None:
        return


class _Reactor(Reactor):
    """A reactor whose epoll is never asked: the case says what is ready."""

    def register(self, transport: Transport) -> None:
        return

    def unregister(self, transport: Transport) -> None:
        return


class _Connection:
    connection_id = 1
    remote_address = direct_remote_address = "127.0.0.1:5555"
    local_address = direct_local_address = "127.0.0.1:80"
    filter_state = dynamic_metadata = None
    listener_name = "bench"
    filter_chain_name = requested_server_name = ""
    tls = None
    transport_failure_reason = ""
    traffic_direction = "UNSPECIFIED"
    detected_close_type = "Normal"
    local_close_reason = ""
    agent: Any = False
    start_ns = 0


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return _head(len(payload) >> 8, len(payload) & 255, kind, flags, stream_id) + payload


def _service_answers(asked: bytes) -> bytes:
    """A service's: it reads all that comes, and a call that has ended went well."""
    out = []
    if asked.startswith(_PREFACE):
        asked = asked[len(_PREFACE) :]
        wide = _frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff")
        out += [wide, _SETTINGS_ACK, _WINDOW]
    at = 0
    while at < len(asked):
        high, low, kind, flags, stream_id = _unpack(asked, at)
        at += 9 + (high << 8 | low)
        if kind == 0 and flags & 1:
            out.append(_frame(1, 4, stream_id, _GRPC_HEAD))
            out.append(_frame(0, 0, stream_id, bytes(5)))
            out.append(_frame(1, 5, stream_id, _GRPC_TRAILERS))
    return b"".join(out)


def _watch(title: str, path: Path) -> None:
    """Add to a file what ``just bench-observe`` adds for ``title``."""
    config = json.loads(path.read_text())
    config["node"] = {"id": "bench", "cluster": "bench"}
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    change, _ = observe.CASES[title]
    change(config, chain["filters"][0]["typed_config"], _SERVICE_PORT, path)
    path.write_text(json.dumps(config))


class Lab:
    """The proxy of one case, and its two peers."""

    def __init__(self, case: Micro, directory: Path) -> None:
        self.case = case
        shape = Case(
            case.name,
            case.name,
            http2=case.http2_down,
            http2_up=case.http2_up,
            access_log=case.access_log or case.json_log,
            json_log=case.json_log,
            filter=case.filter,
        )
        path = write_envoy(shape, 0, 1, directory, "micro")
        if case.watched:
            _watch(case.watched, path)
        self._server = Server(Options(), load_bootstrap(str(path), registry=make_registry()))
        reactor = self.reactor = self._server.reactor
        reactor.__class__ = _Reactor
        reactor._in_pass = True
        trio.run(self._resolve)
        #: Upstream sockets that were sent a request and did not answer yet.
        self._asked: list[_Socket] = []
        self._encoder = Encoder()
        self._response_encoder = Encoder()
        self._next_id = 1
        self._count = 0
        self._tail = self._make_tail()
        #: Bytes that the client got.
        self.received = 0
        self.down = _Socket(self._on_response)
        self.down.transport = Transport(self.down, reactor)  # type: ignore[arg-type]
        serve: Any = self._server.assembly.listeners[0].chains.all[0].serve
        connection = _Connection()
        self.strand = reactor.spawn("client", lambda strand: serve(connection, self.down.transport, strand))
        if case.http2_down:
            self._pass([(self.down, _PREFACE + _SETTINGS + _SETTINGS_ACK + _WINDOW)])

    async def _resolve(self) -> None:
        clusters = self._server.assembly.clusters
        async with trio.open_nursery() as nursery:
            await nursery.start(clusters.run)
            await clusters.initial_resolution()
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Release what the server holds."""
        self._server.close()

    # -- the peers --------------------------------------------------------------------------------
    def _make_tail(self) -> list[tuple[bytes, bytes]]:
        case = self.case
        fields = list(_FIELDS)
        if case.grpc:
            fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        elif case.body:
            fields.append((b"content-length", b"%d" % len(case.body)))
        return fields

    def connect(self, *, is_service: bool) -> Transport:
        """A connection to the upstream, or to the service."""
        up = _Socket(self._on_request)
        up.is_service = is_service
        up.transport = Transport(up, self.reactor)  # type: ignore[arg-type]
        return up.transport  # type: ignore[no-any-return]

    def _on_request(self, up: _Socket) -> None:
        if up not in self._asked:
            self._asked.append(up)

    def _on_response(self, down: _Socket) -> None:
        self.received += len(down.outbox.pop())

    def _requests(self) -> bytes:
        case = self.case
        tail = self._tail
        self._count += 1
        if not case.http2_down:
            path = b"/%d" % self._count if case.paths else b"/"
            lines = b"".join(b"%b: %b\r\n" % field for field in tail)
            if case.traced:
                lines += b"traceparent: 00-%032x-%016x-01\r\n" % (self._count, self._count)
            method = b"POST" if case.body else b"GET"
            return b"%b %b HTTP/1.1\r\nHost: bench\r\n%b\r\n%b" % (method, path, lines, case.body)
        out = []
        for _ in range(case.batch):
            self._count += 1
            path = b"/%d" % self._count if case.paths else b"/"
            fields = [
                (b":method", b"POST" if case.body else b"GET", False),
                (b":path", path, case.paths),
                (b":scheme", b"http", False),
                (b":authority", b"bench", False),
                *((name, value, False) for name, value in tail),
            ]
            if case.traced:
                fields.append((b"traceparent", b"00-%032x-%016x-01" % (self._count, self._count), False))
            out.append(_frame(1, 4 if case.body else 5, self._next_id, self._encoder.encode(fields)))
            if case.body:
                out.append(_frame(0, 1, self._next_id, case.body))
            self._next_id += 2
        return b"".join(out)

    def _answers(self, up: _Socket) -> bytes:
        asked = b"".join(up.outbox)
        up.outbox.clear()
        if up.is_service:
            return _service_answers(asked)
        if not self.case.http2_up:
            return _H1_RESPONSE
        out = []
        if asked.startswith(_PREFACE):
            asked = asked[len(_PREFACE) :]
            out += [_SETTINGS, _SETTINGS_ACK, _WINDOW]
            self._response_encoder = Encoder()
        encode = self._response_encoder.encode
        at = 0
        while at < len(asked):
            high, low, kind, _, stream_id = _unpack(asked, at)
            at += 9 + (high << 8 | low)
            if kind != 1:
                continue
            if not self.case.grpc:
                out.append(_frame(1, 4, stream_id, _NGINX_BLOCK))
                out.append(_frame(0, 1, stream_id, b"ok"))
            else:
                head = [(b":status", b"200", False), (b"content-type", b"application/grpc", False)]
                out.append(_frame(1, 4, stream_id, encode(head)))
                out.append(_frame(0, 0, stream_id, b"x" * 64))
                trailers = [(b"grpc-status", b"0", False), (b"grpc-message", b"", False)]
                out.append(_frame(1, 5, stream_id, encode(trailers)))
        return b"".join(out)

    # -- one pass of the reactor ------------------------------------------------------------------
    def _read(self, sock: _Socket, data: bytes) -> None:
        sock.inbox.append(data)
        transport = sock.transport
        strand = transport.reader
        transport.reader = None
        strand.parked = None
        strand.step()

    def _pass(self, pairs: list[tuple[_Socket, bytes]]) -> None:
        for sock, data in pairs:
            self._read(sock, data)
        self.reactor._run_ready()

    def round(self, call: Callable[..., Any] | None = None) -> float:
        """One batch of requests and their answers; the seconds that the proxy took."""
        pairs = [(self.down, self._requests())]
        clock = time.perf_counter
        run = self._pass if call is None else lambda pairs: call(self._pass, pairs)
        began = clock()
        run(pairs)
        took = clock() - began
        while self._asked:
            asked, self._asked = self._asked, []
            pairs = [(up, answers) for up in asked if (answers := self._answers(up))]
            began = clock()
            run(pairs)
            took += clock() - began
        return took


def _warm(case: Micro, directory: Path) -> Lab:
    """A lab whose connections, tables and specialised bytecodes are there."""
    lab = Lab(case, directory)

    async def connected(_connector: Any, _reactor: Any, host: Any, *_rest: Any, **_options: Any) -> Transport:
        return lab.connect(is_service=host.address.endswith(f":{_SERVICE_PORT}"))

    Connector.connect = connected  # type: ignore[assignment, method-assign]
    for _ in range(300):
        lab.round()
    before = lab.received
    lab.round()
    if lab.received == before or lab.strand.done:
        raise RuntimeError(f"{case.name}: the client got no answer")
    return lab


def measure(case: Micro, seconds: float, *, profile: bool = False) -> tuple[float, float]:
    """Microseconds per request, the best of many rounds; and objects left in cycles per request."""
    with tempfile.TemporaryDirectory(prefix="sidecar-micro-") as name:
        lab = _warm(case, Path(name))
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            if profile:
                _profile(lab)
            gc.collect()
            for _ in range(100):
                lab.round()
            garbage = gc.collect()
            best = float("inf")
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                took = [lab.round() for _ in range(max(1, 20 // case.batch))]
                best = min(best, sum(took) / len(took))
                gc.collect(0)
        finally:
            gc.enable()
            gc.unfreeze()
        lab.close()
        return best * 1e6 / case.batch, garbage / 100 / case.batch


def count(case: Micro) -> None:
    """Print the bytecodes and calls of each function, per request."""
    codes: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        name = f"{path.parent.name}/{path.stem}.{frame.f_code.co_name}"
        frame.f_trace_opcodes = True
        if event == "opcode":
            codes[name] += 1
        elif event == "call":
            calls[name] += 1
        return None if path == Path(__file__) else trace

    with tempfile.TemporaryDirectory(prefix="sidecar-micro-") as name:
        lab = _warm(case, Path(name))
        for _ in range(20):
            sys.settrace(trace)
            lab.round()
            sys.settrace(None)
        lab.close()
    requests = 20 * case.batch
    for each, number in codes.most_common(60):
        print(f"{number / requests:8.1f} {calls[each] / requests:6.2f}  {each}")
    print(f"{case.name}: {codes.total() / requests:.0f} bytecodes, {calls.total() / requests:.1f} calls")


def _profile(lab: Lab) -> None:
    profiler = cProfile.Profile()
    for _ in range(3000 // lab.case.batch):
        lab.round(profiler.runcall)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main(arguments: list[str]) -> int:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.micro", description=__doc__)
    parser.add_argument("case", nargs="*", metavar="CASE", help=", ".join(case.name for case in MICRO_CASES))
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one case")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    found = {}
    for case in MICRO_CASES:
        if options.case and case.name not in options.case:
            continue
        if options.count:
            count(case)
            continue
        microseconds, garbage = measure(case, options.seconds, profile=options.profile)
        found[case.name] = {"microseconds": round(microseconds, 2), "cyclic_objects": round(garbage, 2)}
        if not options.json:
            print(f"{case.name:16s} {microseconds:7.2f} us {garbage:6.2f} objects in cycles", flush=True)
    if options.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
