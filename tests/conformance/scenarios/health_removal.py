"""Hosts that discovery drops while active health checks find them well."""

from __future__ import annotations

import re

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..names import serving_names
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call, ok

SUBJECT = "upstream"

TO = "- {{match: {{prefix: /{0}/}}, route: {{cluster: {0}}}}}\n"
CHECK = (
    "{timeout: 1s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, http_health_check: {path: /healthz}}"
)
CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"


def named(name: str, fields: str, *, checked: str = "{}") -> dict[str, object]:
    """A cluster of one name, asked for every 20 ms."""
    return cluster(
        name,
        extra=f"""
        type: STRICT_DNS
        dns_lookup_family: V4_ONLY
        wait_for_warm_on_init: false
        dns_refresh_rate: 0.02s
        dns_failure_refresh_rate: {{base_interval: 0.02s, max_interval: 0.02s}}
        typed_dns_resolver_config:
          name: envoy.network.dns_resolver.cares
          typed_config:
            "@type": {CARES}
            resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: PORT(dns)}}}}]
            dns_resolver_options: {{no_default_search_domain: true}}
        health_checks: [{CHECK}]
        load_assignment:
          cluster_name: {name}
          endpoints:
          - lb_endpoints:
            - endpoint:
                address: {{socket_address: {{address: app.example, port_value: PORT(app)}}}}
                health_check_config: {checked}
        {fields}
        """,
    )


CLUSTERS = ("kept", "dropped", "unchecked")
REMOVAL = Setup(
    "health_removal",
    bootstrap(
        [listener("main", routes="".join(TO.format(name) for name in CLUSTERS))],
        [
            named("kept", ""),
            named("dropped", "ignore_health_on_host_removal: true"),
            named("unchecked", "", checked="{disable_active_health_check: true}"),
        ],
    ),
    {"app": "h1", "dns": "dead"},
)


async def until_hosts(s: Session, name: str, wanted: dict[str, str]) -> None:
    """Until the cluster has these hosts (the last number of the address) with these flags; observes them."""
    seen: dict[str, str] = {}
    while seen != wanted:
        await trio.sleep(POLL_S)
        text = (await s.proxy.admin("GET", "/clusters")).body.decode()
        found = re.findall(rf"^{name}::127\.0\.0\.(\d):\d+::health_flags::(.*)$", text, re.MULTILINE)
        seen = dict(found)
    s.see(f"hosts of {name}", [f"{address} {flags}" for address, flags in found])
    s.see("membership", await s.counters(rf"^cluster\.{name}\.membership_(?!change)"))


FAILED = "/failed_active_hc"


@scenario(REMOVAL)
async def health_removal_waits_for_failure(s: Session) -> None:
    """A host without a name stays until it fails, and is back in order when the name is."""
    s.proxy.is_spent = True
    is_well = True

    async def serve(call: Call) -> None:
        await call.send(ok() if is_well else b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")

    s.upstream().script = serve
    async with serving_names(s, "dns", "127.0.0.1") as names:
        await until_hosts(s, "kept", {"1": "healthy"})
        await until_hosts(s, "dropped", {"1": "healthy"})
        await until_hosts(s, "unchecked", {"1": "healthy"})
        names.addresses = ["127.0.0.2"]
        await until_hosts(s, "kept", {"2": FAILED, "1": "/pending_dynamic_removal"})
        await until_hosts(s, "dropped", {"2": FAILED})
        await until_hosts(s, "unchecked", {"2": "healthy"})
        await s.get("/kept/a")
        names.addresses = ["127.0.0.1", "127.0.0.2"]
        await until_hosts(s, "kept", {"1": "healthy", "2": FAILED})
        names.addresses = ["127.0.0.2"]
        await until_hosts(s, "kept", {"2": FAILED, "1": "/pending_dynamic_removal"})
        is_well = False
        await until_hosts(s, "kept", {"2": FAILED})
    s.upstreams.clear()
