"""Active health checks in detail: where they go, what they say, how their connections live."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from struct import pack

import trio

from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import H2Call
from ..wire import Wire
from .health_checks import Host, http

SUBJECT = "upstream"

Answer = Callable[[H2Call], Awaitable[None]]
TIMES = (
    "timeout: 0.25s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, event_log_path: FILE(health.log)"
)
SINK = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"


def sink(name: str) -> str:
    return f"{{name: {name}, typed_config: {{'@type': {SINK}, event_log_path: FILE({name}.log)}}}}"


def endpoint(port: str, fields: str = "") -> str:
    address = f"address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({port})}}}}"
    return (
        f"{{endpoint: {{{address}, {fields}}}, metadata: {{filter_metadata: {{envoy.lb: {{stage: blue}}}}}}}}"
    )


def checked(
    name: str, check: str, *endpoints: str, fields: str = "", http2: bool = False
) -> dict[str, object]:
    assignment = (
        f"load_assignment: {{cluster_name: {name}, endpoints: [{{"
        "locality: {region: r, zone: z, sub_zone: s}, "
        f"lb_endpoints: [{', '.join(endpoints or (endpoint(name),))}]}}]}}"
    )
    return cluster(
        name, extra=f"{{{assignment}, {fields} health_checks: [{{{TIMES}, {check}}}]}}", http2=http2
    )


ELSEWHERE = "health_check_config: {port_value: PORT(elsewhere), hostname: health.example}"
ADDRESSED = (
    "hostname: not.used, health_check_config: {port_value: PORT(addressed), address: "
    "{socket_address: {address: 127.0.0.1, port_value: 1}}}"
)
HEADERS = ", ".join(
    f"{{header: {{key: {key}, value: '{value}'}}{more}}}"
    for key, value, more in (
        ("x-upstream", "%UPSTREAM_CLUSTER%", ""),
        ("x-host", "%UPSTREAM_HOST%|%UPSTREAM_HOST_NAME%|%UPSTREAM_LOCAL_ADDRESS%", ""),
        ("x-requested", "%REQUESTED_SERVER_NAME%|%ROUTE_NAME%|%BYTES_SENT%|%STREAM_ID%", ""),
        ("x-metadata", '%UPSTREAM_METADATA(["envoy.lb", "stage"])%', ""),
        ("x-down", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%", ""),
        ("x-protocol", "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%", ""),
        ("x-path", "%REQ(:PATH)% %REQ(x-protocol)%", ""),
        ("user-agent", "mine", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"),
        ("x-empty", "%REQ(nothing)%", ", keep_empty_value: true"),
    )
)
DETAILS = Setup(
    "health_details",
    bootstrap(
        [listener("main", routes="[{match: {prefix: /}, route: {cluster: elsewhere}}]")],
        [
            checked("sinks", f"http_health_check: {{path: /}}, event_logger: [{sink('one')}, {sink('two')}], "
                    "always_log_health_check_success: true, always_log_health_check_failures: true"),
            checked("elsewhere", "http_health_check: {path: /, host: not.this}", endpoint("app", ELSEWHERE)),
            checked("addressed", "http_health_check: {path: /}", endpoint("app", ADDRESSED)),
            checked("unchecked", "http_health_check: {path: /}",
                    endpoint("app", "health_check_config: {disable_active_health_check: true}")),
            checked("format", f"http_health_check: {{path: /p, request_headers_to_add: [{HEADERS}]}}"),
            checked("modern", "http_health_check: {path: /h2, codec_client_type: HTTP2}"),
            checked("rpc", "grpc_health_check: {}", http2=True),
            checked("chatty", 'tcp_health_check: {send: {text: "6869"}, receive: [{text: "6F6B"}]}'),
            checked("binary", "tcp_health_check: {send: {binary: aGk=}, receive: [{text: '6F6B'}]}"),
            checked("proxied1", 'tcp_health_check: {send: {text: "6869"}, receive: [{text: "6F6B"}], '
                    "proxy_protocol_config: {version: V1}}"),
            checked("proxied2", 'tcp_health_check: {receive: [{text: "6F6B"}], '
                    "proxy_protocol_config: {version: V2}}"),
        ],
    ),
    {"sinks": "h1", "app": "h1", "elsewhere": "h1", "addressed": "h1", "format": "h1", "modern": "h2",
     "rpc": "h2", "chatty": "raw", "binary": "raw", "proxied1": "raw", "proxied2": "raw"},
)  # fmt: skip


@scenario(DETAILS)
async def health_event_sinks(s: Session) -> None:
    """Every event goes to all sinks, with the host's locality."""
    host = Host(s, "sinks", http())
    await host.until(healthy=True)
    host.answer = http(200, "x-envoy-degraded: 1")
    await host.until_flags("/degraded_active_hc")
    host.answer = http(503)
    await host.until(healthy=False)
    host.answer = http()
    await host.until_flags("healthy")
    for name in ("one", "two"):
        path = trio.Path(s.proxy.directory / f"{name}.log")
        lines: dict[str, object] = {}
        while len(lines) < 6:
            await s.proxy.admin("POST", "/reopen_logs")
            for line in (await path.read_text()).splitlines():
                event = json.loads(line)
                event["timestamp"] = "<time>"
                event["host"] = "<host>"
                (kind,) = [key for key in event if key.endswith(("_event", "_host"))]
                lines.setdefault(kind, json.dumps(event))
            await trio.sleep(POLL_S)
        s.see(f"sink {name}", [lines[kind] for kind in sorted(lines)])
    host.end()


@scenario(DETAILS)
async def health_addresses(s: Session) -> None:
    """Hosts are checked where their endpoint says, by its name."""
    host = Host(s, "elsewhere", http())
    await host.until(healthy=True)
    host.asked()
    addressed = Host(s, "addressed", http())
    await addressed.until(healthy=True)
    addressed.asked()
    host.name = "unchecked"
    await host.look("unchecked")
    s.see("asked at the host itself", len(s.upstream("app").seen))
    stats = await s.counters(r"^cluster\.unchecked\.health_check\.(attempt|healthy|success)")
    s.see("not asked", stats)
    host.end()


@scenario(DETAILS)
async def health_headers(s: Session) -> None:
    """Values of headers may tell of the host that is asked."""
    host = Host(s, "format", http())
    await host.until(healthy=True)
    host.asked()
    host.end()


async def more_of(s: Session, stat: str, count: int) -> None:
    """Until the counter has grown by so much."""
    wanted = (await s.counters(stat))[stat] + count
    await s.until_stats(lambda stats: stats[stat] >= wanted, stat)


class H2Host(Host):
    """A host that speaks HTTP/2; `behaviour` says what it does with the next checks."""

    def __init__(self, s: Session, name: str, answer: Callable[[H2Call], Awaitable[None]]) -> None:
        super().__init__(s, name, http())
        self.behaviour = "well"
        self.connections: list[int] = []
        self.failures_at_start = 0
        self._well = answer
        s.upstream(name).h2_script = self._serve_h2

    async def _serve_h2(self, call: H2Call) -> None:
        await call.body()
        self.connections.append(call.connection)
        behaviour = self.behaviour
        if behaviour == "reset":
            await call.peer.reset(call.stream)
        elif behaviour == "silent":
            await call.stream.ended.wait()
        elif behaviour.startswith("goaway"):
            error = 11 if behaviour == "goaway with an error" else 0
            if not error:
                self.behaviour = "well"
            last = call.stream.id
            await call.peer.raw(bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)) + pack(">II", last, error))
            await self._well(call)
        else:
            await self._well(call)

    async def next_ones(self, count: int) -> list[int]:
        """The connections of the next checks, counted from the first of them."""
        start = len(self.connections)
        await self.s.upstream(self.name).arrivals(len(self.s.upstream(self.name).seen) + count)
        while len(self.connections) < start + count:  # noqa: ASYNC110 - the script counts
            await trio.sleep(POLL_S)
        found = self.connections[start : start + count]
        return [number - found[0] for number in found]

    async def live(self) -> None:
        """How the connection fares in all of this."""
        s = self.s
        await self.until(healthy=True)
        self.asked()
        s.see("well", await self.next_ones(3))
        self.behaviour = "goaway"
        s.see("going away", await self.next_ones(3))
        failures = f"cluster.{self.name}.health_check.network_failure"
        s.see("failures", (await s.counters(failures))[failures] - self.failures_at_start)
        for behaviour in ("reset", "silent", "goaway with an error"):
            self.behaviour = behaviour
            await self.until(healthy=False)
            self.behaviour = "well"
            await self.until(healthy=True)

    async def begin(self) -> None:
        """Wait for the first success, and count failures from there."""
        await self.until(healthy=True)
        failures = f"cluster.{self.name}.health_check.network_failure"
        self.failures_at_start = (await self.s.counters(failures))[failures]


@scenario(DETAILS)
async def health_over_http2(s: Session) -> None:
    """A connection that is going away finishes its check and is replaced; a reset is a failure."""

    async def well(call: H2Call) -> None:
        await call.answer([(":status", "200")])

    host = H2Host(s, "modern", well)
    await host.begin()
    await host.live()
    await host.events(8)
    host.end()


SERVING = b"\0\0\0\0\2\x08\1"
GRPC = [(":status", "200"), ("content-type", "application/grpc")]


@scenario(DETAILS)
async def health_grpc_connections(s: Session) -> None:
    """The same of gRPC."""

    async def well(call: H2Call) -> None:
        await call.answer(GRPC, SERVING, [("grpc-status", "0")])

    host = H2Host(s, "rpc", well)
    await host.begin()
    await host.live()
    await host.events(8)
    host.end()


@scenario(DETAILS)
async def health_grpc_answers(s: Session) -> None:
    """What is not one message that says SERVING, and a status of 0, is a failure, at once."""
    host = H2Host(s, "rpc", lambda call: answers[0](call))

    def saying(head: Fields, body: bytes = b"", trailers: Fields | None = None) -> Answer:
        return lambda call: call.answer(head, body, trailers)

    async def open_head(call: H2Call, head: Fields, body: bytes = b"") -> None:
        await call.answer_open(head)
        if body:
            await call.peer.data(call.stream, body)
        await call.stream.ended.wait()

    ok = [("grpc-status", "0")]
    well = saying(GRPC, SERVING, ok)
    answers = [well]
    long = b"\x08\1" + b"\x12\3abc" + b"\x18\x96\1"
    cases: dict[str, Answer] = {
        "unknown": saying(GRPC, b"\0\0\0\0\0", ok),
        "service unknown": saying(GRPC, b"\0\0\0\0\2\x08\3", ok),
        "not serving": saying(GRPC, b"\0\0\0\0\2\x08\2", ok),
        "no message": saying(GRPC, b"", ok),
        "two messages": saying(GRPC, SERVING + SERVING, ok),
        "compressed": saying(GRPC, b"\1" + SERVING[1:], ok),
        "nonsense": saying(GRPC, b"\0\0\0\0\2\xff\xff", ok),
        "no status": saying(GRPC, SERVING, [("x", "y")]),
        "bad status": saying(GRPC, SERVING, [("grpc-status", "12")]),
        "no trailers": saying(GRPC, SERVING),
        "trailers alone": saying([*GRPC, ("grpc-status", "5")]),
        "http error": saying([(":status", "503")]),
        "http error that goes on": lambda call: open_head(call, [(":status", "503")]),
        "no grpc": lambda call: open_head(call, [(":status", "200"), ("content-type", "text/plain")]),
        "two messages that go on": lambda call: open_head(call, GRPC, SERVING + SERVING),
        "nonsense that goes on": lambda call: open_head(call, GRPC, b"\0\0\0\0\2\xff\xff"),
        "a message that goes on": lambda call: open_head(call, GRPC, SERVING),
    }
    good = {
        "longer": saying(GRPC, b"\0\0\0\0" + bytes((len(long),)) + long, ok),
        "grpc+proto": saying([(":status", "200"), ("content-type", "application/grpc+proto")], SERVING, ok),
        "twice the field": saying(GRPC, b"\0\0\0\0\4\x08\2\x08\1", ok),
        "an empty frame first": saying(GRPC, b"\0\0\0\0\0" + SERVING, ok),
    }
    await host.until(healthy=True)
    for name, case in cases.items():
        answers[0] = case
        await host.until(healthy=False)
        flags = (await s.proxy.admin("GET", "/clusters")).body.decode()
        (line,) = [each for each in flags.split("\n") if "rpc::127" in each and "health_flags" in each]
        s.see(name, line.rpartition("::")[2])
        answers[0] = well
        await host.until(healthy=True)
    for name, case in good.items():
        answers[0] = case
        await more_of(s, "cluster.rpc.health_check.success", 3)
        s.see(name, await s.counters(r"cluster\.rpc\.health_check\.healthy"))
    host.end()


class RawHost(Host):
    """A host of bytes: it answers each question as it is told."""

    def __init__(self, s: Session, name: str) -> None:
        super().__init__(s, name, http())
        self.said = b"ok"
        self.then = "wait"
        self.heard: list[str] = []
        s.upstream(name).raw_script = self._serve_raw

    async def _serve_raw(self, wire: Wire) -> None:
        while data := await wire.some():
            self.heard.append(data.decode("latin-1"))
            if self.said:
                await wire.send(self.said)
            if self.then == "close":
                await wire.finish()
                return
            if self.then == "again":
                await trio.sleep(0.01)
                await wire.send(self.said)


@scenario(DETAILS)
async def health_tcp_connections(s: Session) -> None:
    """A connection that the host closes between checks is a failure; what it says unasked counts, too."""
    host = RawHost(s, "chatty")
    await host.until(healthy=True)
    s.see("heard", host.heard[-1])
    host.then = "close"
    await host.until(healthy=False)
    host.then = "wait"
    await host.until(healthy=True)
    host.said = b""
    await host.until_flags("/failed_active_hc/active_hc_timeout")
    host.said = b"ok"
    await host.until(healthy=True)
    await host.events(6)
    host.end()


@scenario(DETAILS)
async def health_tcp_unasked(s: Session) -> None:
    """What a host says between checks is a check that went well."""
    host = RawHost(s, "chatty")
    host.then = "again"
    await host.until(healthy=True)

    def ratio(stats: Mapping[str, int]) -> float:
        return stats["cluster.chatty.health_check.success"] / stats["cluster.chatty.health_check.attempt"]

    await s.until_stats(lambda stats: ratio(stats) > 1.5, "chatty")
    s.see("more than were asked", True)
    host.end()


@scenario(DETAILS)
async def health_tcp_payloads(s: Session) -> None:
    """Binary to send is not sent; the PROXY protocol's head stands before every question."""
    for name in ("proxied1", "proxied2"):
        host = RawHost(s, name)
        await host.until(healthy=True)
        while len(host.heard) < 3:  # noqa: ASYNC110 - the script hears
            await trio.sleep(POLL_S)
        s.see(name, [re.sub(r"\d{4,5}", "<port>", each) for each in host.heard[:2]])
    silent = RawHost(s, "binary")
    await more_of(s, "cluster.binary.health_check.network_failure", 2)
    s.see("binary", silent.heard)
    host.end()
