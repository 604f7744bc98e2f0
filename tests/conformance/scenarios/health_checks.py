"""Active health checks: what a host is asked, what its answers make of it, and what is told about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call

SUBJECT = "upstream"

#: Without traffic an interval of its own holds; the first check meets a server that does not answer yet.
TIMES = (
    "timeout: 0.3s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, "
    "healthy_threshold: 2, event_log_path: FILE(health.log)"
)
CHECKS = {
    "web": "http_health_check: {path: /healthz, request_headers_to_add: [{header: {key: x-a, value: b}}], "
    "request_headers_to_remove: [user-agent]}",
    "strict": "http_health_check: {path: '/s?x=1', host: check.example, "
    "expected_statuses: [{start: 200, end: 299}], retriable_statuses: [{start: 503, end: 504}], "
    "service_name_matcher: {prefix: loc}, method: HEAD}",
    "body": 'http_health_check: {path: /, method: POST, send: {text: "6869"}, receive: [{text: "6F6B"}, '
    "{binary: eQ==}]}, reuse_connection: false",
    "tcp": 'tcp_health_check: {send: {text: "50494E470D0A0D0A"}, receive: [{text: "504F"}, {text: "4E47"}]}',
    "connect": "tcp_health_check: {}",
    "rpc": "grpc_health_check: {service_name: my.service.v1, authority: rpc.example, "
    "initial_metadata: [{header: {key: x-a, value: b}}]}",
}
HEALTH = Setup(
    "health_checks",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(f"- {{match: {{prefix: /{n}/}}, route: {{cluster: {n}}}}}\n" for n in CHECKS),
            )
        ],
        [
            cluster(name, name, extra=f"health_checks: [{{{TIMES}, {check}}}]", http2=name == "rpc")
            for name, check in CHECKS.items()
        ],
    ),
    {name: "h2" if name == "rpc" else "h1" for name in CHECKS},
)


class Host:
    """A scripted host: how it answers a check may change."""

    def __init__(self, s: Session, name: str, answer: Callable[[], str]) -> None:
        self.s = s
        self.name = name
        self.answer = answer
        s.proxy.is_spent = True
        s.upstream(name).script = self._serve

    async def _serve(self, call: Call) -> None:
        await call.body()
        await call.send(self.answer().encode())

    async def until(self, *, healthy: bool) -> None:
        gauge = f"cluster.{self.name}.health_check.healthy"
        await self.s.until_stats(lambda stats: stats.get(gauge) == int(healthy), re.escape(gauge))

    async def until_flags(self, flags: str) -> None:
        """Until `/clusters` shows these flags."""
        line = f"::health_flags::{flags}\n"
        while True:
            text = (await self.s.proxy.admin("GET", "/clusters")).body.decode()
            if any(f"{self.name}::127" in each and each.endswith(line[:-1]) for each in text.split("\n")):
                return
            await trio.sleep(POLL_S)

    async def look(self, label: str) -> None:
        """Observe flags and membership."""
        text = (await self.s.proxy.admin("GET", "/clusters")).body.decode()
        lines = [each for each in text.split("\n") if each.startswith(f"{self.name}::")]
        membership = await self.s.counters(rf"^cluster\.{self.name}\.membership_(healthy|degraded|excluded)")
        flags = [each.rpartition("::")[2] for each in lines if "health_flags" in each]
        self.s.see(label, {"flags": flags, **membership})

    async def events(self, count: int) -> None:
        """Observe the first events of this cluster, and that nobody else's are needed."""
        path = trio.Path(self.s.proxy.directory / "health.log")
        while True:
            await self.s.proxy.admin("POST", "/reopen_logs")
            lines = [json.loads(line) for line in (await path.read_text()).splitlines()]
            lines = [line for line in lines if line["cluster_name"] == self.name]
            if len(lines) >= count:
                break
            await trio.sleep(POLL_S)
        for line in lines:
            line["timestamp"] = "<time>"
            line["host"]["socket_address"]["port_value"] = "<port>"
        self.s.see("events", [json.dumps(line) for line in lines[:count]])

    def asked(self) -> None:
        """Observe the last question, and no more of them."""
        call = self.s.upstream(self.name).seen[-1]
        shown = call.shown()
        shown.pop("connection", None)
        self.s.see("asked", shown)

    def end(self) -> None:
        """How often they asked is chance."""
        self.s.upstreams.clear()


def http(status: int = 200, *headers: str, body: str = "") -> Callable[[], str]:
    lines = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}", "", ""]
    return lambda: "\r\n".join(lines) + body


@scenario(HEALTH)
async def health_http(s: Session) -> None:
    """Healthy after two good answers, degraded where it says so, failed after one bad answer."""
    host = Host(s, "web", http())
    await host.until(healthy=True)
    await host.look("well")
    host.asked()
    host.answer = http(200, "x-envoy-degraded: 1")
    await host.until_flags("/degraded_active_hc")
    await host.look("degraded")
    host.answer = http(500)
    await host.until(healthy=False)
    await host.look("failed")
    host.answer = http()
    await host.until_flags("healthy")
    await host.events(6)
    host.end()


@scenario(HEALTH)
async def health_http_statuses(s: Session) -> None:
    """The end of a range is not in it; retriable ones count; the service's name must match."""
    name = "x-envoy-upstream-healthchecked-cluster: "
    host = Host(s, "strict", http(298, name + "local"))
    await host.until(healthy=True)
    host.asked()
    host.answer = http(503, name + "local")
    await host.until(healthy=False)
    host.answer = http(200, name + "local")
    await host.until(healthy=True)
    host.answer = http(200, name + "other")
    await host.until(healthy=False)
    host.answer = http(298, name + "local")
    await host.until(healthy=True)
    host.answer = http(299, name + "local")
    await host.until(healthy=False)
    await host.events(7)
    host.end()


@scenario(HEALTH)
async def health_http_payload(s: Session) -> None:
    """A body is sent, and pieces of the answer are looked for in their order."""
    host = Host(s, "body", http(body="..ok..y"))
    await host.until(healthy=True)
    host.asked()
    host.answer = http(body="y.ok")
    await host.until(healthy=False)
    await host.look("wrong order")
    await host.events(3)
    host.end()


@scenario(HEALTH)
async def health_immediate_failure(s: Session) -> None:
    """A response of the data path can say that its host fails; with a bad answer it is left out."""
    host = Host(s, "web", http())
    await host.until(healthy=True)
    answers = [http(200, "x-envoy-immediate-health-check-fail: 1"), http(500)]

    def answer() -> str:
        last = host.s.upstream("web").seen[-1]
        return answers[0]() if "/web/" in last.path else answers[1]()

    host.answer = answer
    await s.get("/web/now")
    await host.until(healthy=False)
    await host.look("failed")
    answers[1] = http()
    await host.until(healthy=True)
    await host.look("well")
    s.see("passive", (await s.counters(r"^cluster\.web\.health_check\.passive_failure")))
    host.end()


@scenario(HEALTH)
async def health_tcp(s: Session) -> None:
    """What is sent, and what is looked for."""
    host = Host(s, "tcp", lambda: "xPO..NGx")
    await host.until(healthy=True)
    host.asked()
    host.answer = lambda: "NGPO"
    await host.until(healthy=False)
    await host.look("failed")
    await host.events(3)
    host.end()


@scenario(HEALTH)
async def health_tcp_connects(s: Session) -> None:
    """Without anything to receive a connection is enough."""
    host = Host(s, "connect", http())
    await host.until(healthy=True)
    await host.look("well")
    await host.events(1)
    host.end()


@scenario(HEALTH)
async def health_grpc(s: Session) -> None:
    """SERVING is well; NOT_SERVING and an error of the call are not."""
    host = Host(s, "rpc", http())
    message = [b"\0\0\0\0\2\x08\1"]
    status = ["0"]

    async def serve(call: H2Call) -> None:
        await call.body()
        head = [(":status", "200"), ("content-type", "application/grpc")]
        await call.answer(head, message[0], [("grpc-status", status[0])])

    s.upstream("rpc").h2_script = serve
    await host.until(healthy=True)
    host.asked()
    message[0] = b"\0\0\0\0\2\x08\2"
    await host.until(healthy=False)
    message[0] = b"\0\0\0\0\2\x08\1"
    await host.until(healthy=True)
    status[0] = "12"
    await host.until(healthy=False)
    await host.look("failed")
    await host.events(4)
    host.end()
