"""Several health checks of one cluster: a host is well when all of them say so."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from .health_checks import Host, http

SUBJECT = "upstream"

TIMES = (
    "timeout: 0.3s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, event_log_path: FILE(health.log)"
)
ONCE = TIMES.replace("interval: 0.03s", "interval: 600s")
SEVERAL = Setup(
    "health_several",
    bootstrap(
        [
            listener(
                "main",
                routes="[{match: {prefix: /named/}, route: {cluster: named}}, "
                "{match: {prefix: /}, route: {cluster: several}}]",
            )
        ],
        [
            cluster(
                "several",
                "several",
                extra=f"""
                health_checks:
                - {{name: first, {TIMES}, http_health_check: {{path: /first}}}}
                - {{name: second, {TIMES}, http_health_check: {{path: /second}}}}
                - {{name: port, {ONCE}, tcp_health_check: {{}}}}
                """,
            ),
            cluster(
                "named", "several", extra=f"health_checks: [{{name: only, {TIMES}, tcp_health_check: {{}}}}]"
            ),
        ],
    ),
    {"several": "h1"},
)


class Answers:
    """What the host says to each question."""

    def __init__(self, s: Session) -> None:
        self.host = Host(s, "several", http())
        self.by_path = {"/first": http(), "/second": http()}
        s.upstream("several").script = self._serve

    async def _serve(self, call: Call) -> None:
        await call.send(self.by_path.get(call.path, http())().encode())


async def until_gauge(s: Session, name: str, value: int) -> None:
    gauge = f"cluster.several.health_check.name.{name}.healthy"
    await s.until_stats(lambda stats: stats[gauge] == value, gauge)


@scenario(SEVERAL)
async def health_several_agree(s: Session) -> None:
    """One that fails is enough."""
    said = Answers(s)
    host = said.host
    await host.until(healthy=True)
    await host.until_flags("healthy")
    await host.look("well")
    said.by_path["/second"] = http(500)
    await host.until(healthy=False)
    await host.look("second fails")
    said.by_path["/first"] = http(500)
    await until_gauge(s, "first", 0)
    said.by_path["/second"] = http()
    await until_gauge(s, "second", 1)
    await host.look("first fails")
    said.by_path["/first"] = http(200, "x-envoy-degraded: 1")
    await host.until_flags("/degraded_active_hc")
    await host.look("degraded")
    said.by_path["/first"] = http()
    await host.until_flags("healthy")
    stats = await s.counters(r"^cluster\.(several|named)\.health_check\.")
    s.see("gauges", {n: v for n, v in stats.items() if n.endswith(("healthy", "degraded"))})
    s.see("names", sorted(stats))
    await host.events(10)
    host.end()


@scenario(SEVERAL)
async def health_several_passive(s: Session) -> None:
    """The data path tells one of them."""
    said = Answers(s)
    host = said.host
    await host.until(healthy=True)
    await host.until_flags("healthy")
    said.by_path["/now"] = http(200, "x-envoy-immediate-health-check-fail: 1")
    await s.get("/now")
    await host.until(healthy=False)
    passed = "cluster.several.health_check.name.first.success"
    count = (await s.counters(passed))[passed]
    await s.until_stats(lambda stats: stats[passed] > count + 2, passed)
    await host.look("failed")
    s.see("passive", await s.counters(r"^cluster\.several\.health_check\..*passive"))
    host.end()
