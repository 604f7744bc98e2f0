"""The production example, but for addresses, paths and waits: what its comments promise, on both."""

from __future__ import annotations

import json
import re
from typing import Any

import trio

from tests.support import yaml_text

from ..configuration import FILE_LOG
from ..lab import Session
from ..proxy import ROOT
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, get_tls, server_context
from ..tracing import Collector
from ..upstream import Call, ok

SUBJECT = "lifecycle"
SERVICES = ("payments", "payments_canary", "stock")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
#: Instead of ten seconds, so that hosts are known to be well soon.
WAIT = "0.1s"


def setup() -> Setup:
    text = (ROOT / "examples" / "production" / "sidecar.yaml").read_text()
    folder = "/etc/sidecar-secrets/orders-tls"
    for name, there in (
        ("tls.crt", "client-cert.pem"),
        ("tls.key", "client-key.pem"),
        ("ca.crt", "root.pem"),
    ):
        text = text.replace(f"{folder}/{name}", f"FILE({there})")
    text = text.replace(folder, "FILE(.)")
    config = yaml_text.load(text)
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    # Which traces begin here is chance otherwise; and spans are sent one by one.
    config["layered_runtime"] = {
        "layers": [{"name": "static", "static_layer": {"tracing.opentelemetry.min_flush_spans": 1}}]
    }
    resources = config["static_resources"]
    for listener in resources["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["tracing"]["random_sampling"]["value"] = 100
        manager["delayed_close_timeout"] = "0.1s"
        [log] = manager["access_log"]
        log["name"] = "envoy.access_loggers.file"
        log["typed_config"] |= {"@type": FILE_LOG, "path": "FILE(main.log)"}
    for cluster in resources["clusters"]:
        [locality] = cluster["load_assignment"]["endpoints"]
        address = locality["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        address |= {"address": "127.0.0.1", "port_value": f"PORT({cluster['name']})"}
        for check in cluster.get("health_checks", ()):
            check |= dict.fromkeys(("unhealthy_interval", "no_traffic_interval"), WAIT)
            # A host that is well is left in peace.
            check |= dict.fromkeys(("interval", "no_traffic_healthy_interval"), "600s")
            check["healthy_threshold"] = 1
            check.pop("interval_jitter", None)
        if cluster["name"] == "payments_canary":
            # Two requests are enough to see the circuit breaker.
            [limits] = cluster["circuit_breakers"]["thresholds"]
            cluster["circuit_breakers"] = {"thresholds": [limits | {"max_requests": 1}]}
        elif cluster["name"] == "stock":
            # Half of one host is none.
            cluster["outlier_detection"] |= {"max_ejection_percent": 100}
    upstreams = {"application": "h1", "otel_collector": "h2", **dict.fromkeys(SERVICES, "h1")}
    return Setup("production", config, upstreams, CERTIFICATES)


PRODUCTION = setup()


class Service:
    """A service behind a sidecar of its own: mutual TLS, and a health check that is answered."""

    def __init__(self, s: Session, name: str) -> None:
        self.answers: list[bytes] = []
        self.asked: list[Call] = []
        self.arrived = trio.Event()
        self.let = trio.Event()
        self.let.set()
        upstream = s.upstream(name)
        upstream.tls = server_context("client", is_mutual=True)
        upstream.script = self._serve

    async def _serve(self, call: Call) -> None:
        await call.body()
        if call.path == "/healthz/proxy":
            await call.send(ok(b""))
            return
        self.asked.append(call)
        self.arrived.set()
        await self.let.wait()
        await call.send(self.answers.pop(0) if self.answers else ok(b"served"))

    def shown(self) -> list[dict[str, object]]:
        calls = [call.shown() for call in self.asked]
        for call in calls:
            call.pop("connection", None)  # how many health checks there were is a matter of time
        return calls


def request(host: str, *headers: str) -> str:
    return "\r\n".join(["GET / HTTP/1.1", f"host: {host}", PARENT, *headers, "", ""])


def line(text: str) -> object:
    """A line of the log without what is time."""
    found: dict[str, Any] = json.loads(text)
    found["trace_id"] = f"trace:{found['trace_id']}"
    return {
        name: value for name, value in found.items() if name not in ("time", "duration_ms", "bytes_received")
    }


async def until_well(s: Session) -> None:
    gauges = [f"cluster.{name}.health_check.healthy" for name in SERVICES]
    await s.until_stats(lambda stats: all(stats.get(name) == 1 for name in gauges), r"health_check\.healthy$")


@scenario(PRODUCTION)
async def production_inbound(s: Session) -> None:
    """Clients of the trust domain alone; who asked goes to the application, the log and the span."""
    collector = Collector(s, "otel_collector")
    for name in SERVICES:
        Service(s, name)
    known = client_context("client")
    async with (
        s.counting("http.inbound.downstream_rq_2xx", "http.inbound.downstream_rq_4xx"),
        s.logging(4, shown=line),
    ):
        forged = (
            "x-forwarded-for: 9.9.9.9",
            "x-forwarded-client-cert: URI=spiffe://example.com/service/root",
        )
        await get_tls(s, "/orders?x=1", PARENT, *forged, to="inbound", context=known, label="known")
        await get_tls(s, "/a%2Fb", PARENT, to="inbound", context=known, label="two spellings")
        await get_tls(s, "/", PARENT, "x_user: root", to="inbound", context=known, label="underscore")
        await get_tls(s, "/healthz/proxy", PARENT, to="inbound", context=known, label="health")
    for name in ("", "server", "foreign"):
        await get_tls(s, to="inbound", context=client_context(name), label=name or "nobody")
    await collector.see(1)
    # The certificate is a new one in each run.
    seen = json.dumps([call.shown() for call in s.upstream("application").seen])
    s.see("application", json.loads(re.sub("Hash=[0-9a-f]{64};", "Hash=<sha256>;", seen)))
    s.upstreams.clear()


@scenario(PRODUCTION)
async def production_outbound(s: Session) -> None:
    """By the host's name over mutual TLS; a try that fails is tried again; an unknown name is told so."""
    collector = Collector(s, "otel_collector")
    services = {name: Service(s, name) for name in SERVICES}
    await until_well(s)
    services["stock"].answers = [ok(b"busy").replace(b"200 OK", b"503 Busy")]
    retries = ("cluster.stock.upstream_rq_retry", "cluster.stock.upstream_rq_retry_success")
    async with s.logging(3, shown=line), s.counting(*retries):
        for host, more, label in (
            ("payments", ("x-canary: true",), "canary"),
            ("stock", (), "retried"),
            ("elsewhere", (), "unknown"),
        ):
            await s.http(request(host, *more), "outbound", label=label)
    for name, service in services.items():
        s.see(name, service.shown())
    await collector.see(3)
    s.upstreams.clear()


@scenario(PRODUCTION)
async def production_limits(s: Session) -> None:
    """A circuit breaker answers early; a host that answers with errors is ejected."""
    s.proxy.is_spent = True
    services = {name: Service(s, name) for name in SERVICES}
    await until_well(s)
    canary = services["payments_canary"]
    canary.let = trio.Event()
    ask = request("payments", "x-canary: true")
    async with s.logging(2, shown=line), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: s.http(ask, "outbound", label="first"))
        await canary.arrived.wait()
        await s.http(ask, "outbound", label="second")
        canary.let.set()
    s.see("overflow", await s.counters(r"^cluster\.payments_canary\.upstream_rq_(pending_)?overflow$"))
    services["stock"].answers = [ok(b"busy").replace(b"200 OK", b"503 Busy")] * 3
    async with s.logging(1, shown=line):
        await s.http(request("stock"), "outbound", label="three errors")
    kinds = "(total|consecutive_5xx|consecutive_gateway_failure)$"
    ejected = rf"^cluster\.stock\.outlier_detection\.ejections_enforced_{kinds}"
    s.see("outliers", await s.until_stats(lambda stats: any(stats.values()), ejected))
    s.upstreams.clear()
