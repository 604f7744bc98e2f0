"""`/clusters` in text and JSON, and the dump of endpoints, host by host, after traffic of every outcome."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..endpoints import assign, assignment, eds_cluster, endpoint, locality
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import read_response

SUBJECT = "upstream"

PLACE = "locality: {region: r1, zone: z1, sub_zone: s1},"
CANARY = "metadata: {filter_metadata: {envoy.lb: {canary: true}}},"
CHECKED = "health_check_config: {port_value: 1, hostname: hc.example},"
FIRST = assignment(
    "many",
    locality(
        endpoint("a", f"load_balancing_weight: 7, {CANARY}", of=f"hostname: name.example, {CHECKED}"),
        more=PLACE,
    ),
    locality(endpoint("b", "health_status: DEGRADED,"), more="locality: {region: r2}, priority: 1,"),
    locality(
        endpoint("b", "health_status: DRAINING,", address='"::1"'),
        endpoint("a", "health_status: TIMEOUT,", address='"::1"'),
        more="priority: 1, locality: {zone: z3},",
    ),
    policy="overprovisioning_factor: 150",
)
OUTLIERS = (
    "outlier_detection: {interval: 0.05s, base_ejection_time: 60s, success_rate_minimum_hosts: 2, "
    "success_rate_request_volume: 1, enforcing_success_rate: 0, success_rate_stdev_factor: 500, "
    "split_external_local_origin_errors: true, consecutive_5xx: 1000, consecutive_gateway_failure: 1000}"
)
PAGE = Setup(
    "clusters_page",
    bootstrap(
        [
            listener(
                "main",
                routes="- {match: {prefix: /many/}, route: {cluster: many, timeout: 0.1s}}\n"
                "- {match: {prefix: /out/}, route: {cluster: out}}\n"
                "- {match: {prefix: /st/}, route: {cluster: st}}\n"
                "- {match: {prefix: /lost/}, route: {cluster: lost}}\n",
            )
        ],
        [
            eds_cluster("many", extra="alt_stat_name: other\nlb_policy: ROUND_ROBIN"),
            cluster("out", "a", "b", "c", extra=OUTLIERS),
            cluster("lost", "dead"),
            cluster(
                "st",
                "a",
                extra="circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 2, "
                "max_requests: 3, max_retries: 4}, {priority: HIGH, max_connections: 5}]}",
            ),
        ],
        extra="node: {id: node1, cluster: cluster1}",
    ),
    {"a": "h1", "b": "h1", "c": "h1", "dead": "dead"},
    {"many.yaml": FIRST.encode()},
)


async def text_of(s: Session, label: str) -> None:
    """Observe the text, clusters in the order of their names (Envoy's is chance)."""
    text = (await s.proxy.admin("GET", "/clusters")).body.decode()
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        lines.setdefault(line.split("::")[0], []).append(line)
    s.see(label, {name: lines[name] for name in sorted(lines)})


async def json_of(s: Session, label: str, names: tuple[str, ...] = ()) -> None:
    answer = await s.proxy.admin("GET", "/clusters?format=json")
    s.see(f"{label}: type", answer.values("content-type"))
    statuses = json.loads(answer.body)["cluster_statuses"]
    statuses.sort(key=lambda status: status["name"])
    s.see(label, [_named(s, status) for status in statuses if not names or status["name"] in names])


def _named(s: Session, value: Any) -> Any:
    """The same with names for the ports of this run, in lists that keep the order of keys."""
    if isinstance(value, dict):
        ports = s.proxy.named_ports()
        return [
            f"{key}: {ports.get(item, item) if key == 'port_value' else item}"
            if not isinstance(item, dict | list)
            else {key: _named(s, item)}
            for key, item in value.items()
        ]
    return [_named(s, item) for item in value] if isinstance(value, list) else value


async def traffic(s: Session) -> None:
    """Responses, errors, a timeout, refused connections."""
    statuses = {"a": 200, "b": 200}

    def script(name: str) -> Any:
        async def serve(call: Call) -> None:
            if call.path.endswith("slow"):
                await call.gone()
                return
            status = int(call.path.rpartition("/")[2]) if call.path[-3:].isdigit() else statuses[name]
            await call.send(ok(name.encode()).replace(b"200 OK", f"{status} X".encode()))

        return serve

    for name in statuses:
        s.upstream(name).script = script(name)
    for path in ("/many/200", "/many/404", "/many/500", "/many/slow", "/st/503", "/st/200", "/lost/x"):
        await s.get(path, label=path)


@scenario(PAGE)
async def clusters_page_text(s: Session) -> None:
    """Every line of every host."""
    s.proxy.is_spent = True
    await text_of(s, "before")
    await traffic(s)
    await s.quiet()
    await text_of(s, "after")


@scenario(PAGE)
async def clusters_page_json(s: Session) -> None:
    """The same as JSON."""
    s.proxy.is_spent = True
    await traffic(s)
    await s.quiet()
    await json_of(s, "json")
    for query in ("?format=text", "?format=xml", "?format", "?filter=st"):
        reply = await s.proxy.admin("GET", f"/clusters{query}")
        s.see(query, [reply.start_line, reply.values("content-type"), len(reply.body.splitlines())])
    s.see("POST", (await s.proxy.admin("POST", "/clusters")).start_line)


@scenario(PAGE)
async def clusters_page_success_rates(s: Session) -> None:
    """What outlier detection computed, in both forms: one host of three fails always."""
    s.proxy.is_spent = True
    for name, status in (("a", b"500 X"), ("b", b"200 OK"), ("c", b"200 OK")):
        s.upstream(name).script = answers(ok().replace(b"200 OK", status))
    client = await s.connect()
    seen: list[str] = []
    while not seen or any(line.endswith("::-1") and "local" not in line for line in seen):
        await client.send(b"GET /out/x HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_response(client.wire)
        text = (await s.proxy.admin("GET", "/clusters")).body.decode()
        seen = [line for line in text.splitlines() if line.startswith("out::") and "success_rate" in line]
    s.see("text", seen)
    s.upstreams.clear()


@scenario(PAGE)
async def clusters_page_endpoints_dump(s: Session) -> None:
    """`/config_dump?include_eds`: endpoints of each cluster, by priority and locality."""
    s.proxy.is_spent = True
    for query in (
        "",
        "&name_regex=many",
        "&resource=dynamic_endpoint_configs",
        "&resource=static_endpoint_configs&mask=endpoint_config.cluster_name",
        "&resource=static_endpoint_configs&mask=endpoint_config.nothing",
        "&resource=static_endpoint_configs&name_regex=m.*",
        "&mask=static_endpoint_configs",
    ):
        reply = await s.proxy.admin("GET", f"/config_dump?include_eds{query}")
        body = reply.body.decode()
        if reply.start_line.startswith("HTTP/1.1 200"):
            dumps = json.loads(body).get("configs", [])
            dumps = [each for each in dumps if "ndpoint" in each["@type"]]
            for each in dumps:
                each.get("static_endpoint_configs", []).sort(
                    key=lambda item: item["endpoint_config"].get("cluster_name", "")
                )
            dumps.sort(key=lambda item: item.get("endpoint_config", {}).get("cluster_name", ""))
            s.see(f"dump {query}", _named(s, dumps))
        else:
            s.see(f"dump {query}", reply.start_line)  # Envoy's text has a part that is chance
    more = (
        "additional_addresses: [{address: {socket_address: {address: '::1', port_value: PORT(c)}}}],"
        "health_check_config: {address: {socket_address: {address: 127.0.0.7, port_value: 7}}},"
    )
    place = "metadata: {filter_metadata: {a: {b: c, d: 1}}}, load_balancing_weight: 3, locality: {zone: z},"
    await assign(
        s,
        "many",
        assignment(
            "many",
            locality(endpoint("b", of=more), more=place),
            policy="drop_overloads: [{category: x, drop_percentage: {numerator: 50}}], "
            "weighted_priority_health: true, endpoint_stale_after: 60s",
        ),
        stat_name="other",
    )
    reply = await s.proxy.admin(
        "GET", "/config_dump?include_eds&resource=static_endpoint_configs&name_regex=many"
    )
    s.see("changed", _named(s, json.loads(reply.body)["configs"]))
