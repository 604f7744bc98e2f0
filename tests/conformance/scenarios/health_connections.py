"""Connections to a host that fails: what is on them goes on, unless the cluster closes them."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire
from .health_checks import Host, http

SUBJECT = "upstream"
CHECK = (
    "health_checks: [{timeout: 1s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, http_health_check: {path: /healthz}}]"
)
CLUSTERS = {"kept": "", "closed": ", close_connections_on_host_health_failure: true"}


def checked(name: str, fields: str) -> dict[str, object]:
    endpoint = (
        "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}, "
        f"health_check_config: {{port_value: PORT({name})}}}}}}"
    )
    assignment = f"load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}"
    return cluster(name, extra=f"{{{assignment}, {CHECK}{fields}}}")


RETRY = "retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.001s}}"
TUNNEL = "{upgrade_type: CONNECT, connect_config: {}}"


def tunnels(name: str) -> str:
    return f"[{{match: {{connect_matcher: {{}}}}, route: {{cluster: {name}, upgrade_configs: [{TUNNEL}]}}}}]"


CONNECTIONS = Setup(
    "health_connections",
    bootstrap(
        [
            *(listener(name, routes=tunnels(name)) for name in CLUSTERS),
            listener("retried", routes=f"[{{match: {{prefix: /}}, route: {{cluster: retried, {RETRY}}}}}]"),
        ],
        [
            *(checked(name, fields) for name, fields in CLUSTERS.items()),
            cluster("retried", "retried", extra=f"{{{CHECK}}}"),
        ],
    ),
    {"app": "raw", "kept": "h1", "closed": "h1", "retried": "h1"},
)


@scenario(CONNECTIONS)
async def health_failure_and_tunnels(s: Session) -> None:
    """A tunnel outlives the failure of its host, or is closed with it."""

    async def echo(wire: Wire) -> None:
        while data := await wire.some():
            await wire.send(data)

    s.upstream("app").raw_script = echo
    for name in CLUSTERS:
        host = Host(s, name, http())
        await host.until(healthy=True)
        async with s.logging(1, name):
            client = await s.connect(name)
            await client.send(b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n")
            await client.reply(f"{name} reply", has_body=False)
            await client.send(b"first")
            await client.tunnel(5, f"{name} first")
            host.answer = http(500)
            await host.until(healthy=False)
            if name == "kept":
                await client.send(b"later")
                await client.tunnel(5, f"{name} later")
                client.close()
            else:
                await client.closed(f"{name} then")
        stats = await s.counters(rf"^cluster\.{name}\.upstream_cx_(destroy|active)")
        s.see(f"{name} stats", stats)
        s.upstream(name).seen.clear()
    s.upstreams.clear()


@scenario(CONNECTIONS)
async def health_failure_told_by_a_try(s: Session) -> None:
    """An answer that is not handed on tells of its host's health all the same."""
    host = Host(s, "retried", http())
    await host.until(healthy=True)
    tries = [http(503, "x-envoy-immediate-health-check-fail: 1"), http(200)]

    def answer() -> str:
        is_check = s.upstream("retried").seen[-1].path == "/healthz"
        return http()() if is_check else tries.pop(0)()

    host.answer = answer
    await s.get("/some", to="retried")
    passive = "cluster.retried.health_check.passive_failure"
    await s.until_stats(lambda stats: stats[passive] > 0, passive)
    s.see("told", await s.counters(passive))
    host.end()
