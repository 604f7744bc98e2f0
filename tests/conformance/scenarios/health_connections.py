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


TUNNEL = "{upgrade_type: CONNECT, connect_config: {}}"


def tunnels(name: str) -> str:
    return f"[{{match: {{connect_matcher: {{}}}}, route: {{cluster: {name}, upgrade_configs: [{TUNNEL}]}}}}]"


CONNECTIONS = Setup(
    "health_connections",
    bootstrap(
        [listener(name, routes=tunnels(name)) for name in CLUSTERS],
        [checked(name, fields) for name, fields in CLUSTERS.items()],
    ),
    {"app": "raw", "kept": "h1", "closed": "h1"},
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
