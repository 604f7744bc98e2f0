# ruff: noqa: E501  (a route is a line of a table)
"""Which cluster a route names: by header, by weights; what an entry of the weights does to the request."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% cluster=%UPSTREAM_CLUSTER% host=%REQ(:AUTHORITY)%\n"
ROUTES = """
- {match: {path: /header}, route: {cluster_header: x-cluster}}
- {match: {path: /header-case}, route: {cluster_header: X-Cluster}}
- {match: {path: /header-authority}, route: {cluster_header: ":authority"}}
- {match: {path: /header-host}, route: {cluster_header: host}}
- {match: {path: /header-404}, route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}}
- {match: {path: /header-500}, route: {cluster_header: x-cluster, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}
- {match: {path: /header-added}, route: {cluster_header: x-added}, request_headers_to_add: [{header: {key: x-added, value: one}}]}
- match: {path: /unknown-headers}
  route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}
  response_headers_to_add: [{header: {key: x-added, value: "yes"}}]
- match: {path: /refused}
  name: to-refused
  route: {cluster: refused}
  response_headers_to_add: &local
  - {header: {key: x-added, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESP(content-type)% %ROUTE_NAME% %UPSTREAM_HOST%"}}
  - {header: {key: content-type, value: text/mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- {match: {path: /hostless}, route: {cluster: hostless}, response_headers_to_add: *local}
- {match: {path: /slow}, route: {cluster: one, timeout: 0.02s}, response_headers_to_add: *local}
- match: {path: /entry-refused}
  route:
    weighted_clusters:
      clusters: [{name: refused, weight: 1, response_headers_to_add: [{header: {key: x-entry, value: "yes"}}]}]
  response_headers_to_add: [{header: {key: x-route, value: "yes"}}]
- match: {prefix: /by-value}
  route:
    weighted_clusters:
      header_name: x-value
      clusters: [{name: one, weight: 3}, {name: named, weight: 0}, {name: two, weight: 2}, {name: three, weight: 1}]
- match: {prefix: /entries}
  route:
    weighted_clusters:
      header_name: x-value
      clusters:
      - name: one
        weight: 1
        host_rewrite_literal: entry.example
        request_headers_to_add: [{header: {key: x-order, value: "entry %REQ(:AUTHORITY)%"}}]
        request_headers_to_remove: [x-gone]
        response_headers_to_add: [{header: {key: x-order, value: "entry %UPSTREAM_CLUSTER%"}}]
        response_headers_to_remove: [x-back]
      - {name: two, weight: 1}
  request_headers_to_add: [{header: {key: x-order, value: "route %REQ(:AUTHORITY)%"}}]
  response_headers_to_add: [{header: {key: x-order, value: route}}]
- match: {path: /both-hosts}
  route:
    weighted_clusters:
      clusters: [{name: one, weight: 1, host_rewrite_literal: entry.example}]
    host_rewrite_literal: route.example
- match: {path: /both-hosts-append}
  route:
    weighted_clusters:
      clusters: [{name: one, weight: 1, host_rewrite_literal: entry.example}]
    host_rewrite_header: x-host
    append_x_forwarded_host: true
- match: {path: /entry-host-auto}
  route:
    weighted_clusters:
      clusters: [{name: named, weight: 1, host_rewrite_literal: entry.example}]
    auto_host_rewrite: true
- match: {prefix: /entry-header}
  route:
    weighted_clusters:
      header_name: x-value
      clusters: [{cluster_header: x-cluster, weight: 1}, {name: two, weight: 1}]
- match: {prefix: /total}
  route:
    weighted_clusters: {header_name: x-value, total_weight: 10, clusters: [{name: one, weight: 1}, {name: two, weight: 2}]}
- match: {prefix: /runtime}
  route:
    weighted_clusters: {header_name: x-value, runtime_key_prefix: some.key, clusters: [{name: one, weight: 1}, {name: two, weight: 2}]}
- match: {prefix: /unknown-entry}
  route:
    cluster_not_found_response_code: NOT_FOUND
    weighted_clusters: {clusters: [{cluster_header: x-cluster, weight: 1}]}
"""
NAMED = """
load_assignment:
  cluster_name: named
  endpoints:
  - lb_endpoints:
    - endpoint: {hostname: the.host.name, address: {socket_address: {address: 127.0.0.1, port_value: PORT(one)}}}
"""
MUTED = """
http_filters:
- name: envoy.filters.http.router
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
"""
SUPPRESSED = """
- match: {path: /rewritten}
  route: {cluster: one, host_rewrite_literal: a.example, prefix_rewrite: /new, append_x_forwarded_host: true}
- {match: {prefix: /moved}, redirect: {prefix_rewrite: /new}}
"""
ROUTE_CLUSTERS = Setup(
    "route-clusters",
    bootstrap(
        [listener("main", routes=ROUTES, log=LOG), listener("muted", MUTED, routes=SUPPRESSED)],
        [
            cluster("one", "one"),
            cluster("two", "two"),
            cluster("three", "three"),
            cluster("named", extra=NAMED),
            cluster("refused", "refused"),
            cluster("hostless"),
        ],
    ),
    {"one": "h1", "two": "h1", "three": "h1", "refused": "dead"},
)


@scenario(ROUTE_CLUSTERS)
async def route_cluster_header(s: Session) -> None:
    """The cluster's name from a header: its case, its absence, pseudo headers, what was added too late."""
    async with s.logging(15):
        for path in ("/header", "/header-case", "/header-404", "/header-500", "/unknown-headers"):
            await s.get(path, "x-cluster: one", label=f"{path} one")
            await s.get(path, "x-cluster: nobody", label=f"{path} nobody")
        await s.get("/header", "x-cluster: two", "x-cluster: one", label="two values")
        await s.get("/header", "x-cluster: ", label="empty")
        await s.get("/header-added")
        for path in ("/header-authority", "/header-host"):
            await s.http(f"GET {path} HTTP/1.1\r\nhost: two\r\n\r\n", label=path)


@scenario(ROUTE_CLUSTERS)
async def route_weights_by_value(s: Session) -> None:
    """header_name gives the value that the weights part; what is no number is drawn at random."""
    for value in range(8):
        await s.get("/by-value", f"x-value: {value}")
    for value in ("18446744073709551615", " 4 ", "+4", "0004"):
        await s.get("/by-value", f"x-value: {value}", label=value)
    for path in ("/total", "/runtime"):
        for value in range(4):
            await s.get(path, f"x-value: {value}")


@scenario(ROUTE_CLUSTERS)
async def route_weights_without_a_value(s: Session) -> None:
    """A value that is missing, repeated or no number leaves it to chance: some cluster gets the request."""
    statuses = []
    for headers in ((), ("x-value: 1", "x-value: 1"), ("x-value: -1",), ("x-value: 99999999999999999999",)):
        client = await s.connect()
        await client.send("\r\n".join(["GET /by-value HTTP/1.1", "host: a", *headers, "", ""]).encode())
        statuses.append((await client.wire.line()).decode())
        client.close()
    s.see("statuses", statuses)
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(ROUTE_CLUSTERS)
async def route_weights_entries(s: Session) -> None:
    """Headers and host of one entry, and which wins over the route's."""
    script = answers(ok(b"ok", "x-order: up", "x-back: 1"))
    s.upstream("one").script = s.upstream("two").script = script
    async with s.logging(7):
        for value in (0, 1):
            await s.get("/entries", f"x-value: {value}", "x-gone: 1", label=f"/entries {value}")
        for path in ("/both-hosts", "/both-hosts-append", "/entry-host-auto"):
            await s.get(path, label=path)
        await s.get("/both-hosts-append", "x-host: header.example", label="header")
        await s.get("/entries", "x-value: 0", "x-envoy-original-host: mine", label="original")


@scenario(ROUTE_CLUSTERS)
async def route_weights_cluster_header(s: Session) -> None:
    """An entry whose cluster a header names."""
    async with s.logging(6):
        for value in (0, 1):
            await s.get("/entry-header", f"x-value: {value}", "x-cluster: one", label=str(value))
        await s.get("/entry-header", "x-value: 0", "x-cluster: nobody", label="unknown")
        await s.get("/entry-header", "x-value: 0", label="none")
        await s.get("/unknown-entry", label="none, 404")
        await s.get("/unknown-entry", "x-cluster: three", "x-cluster: one", label="two values")


@scenario(ROUTE_CLUSTERS)
async def route_rewrites_without_envoy_headers(s: Session) -> None:
    """suppress_envoy_headers hides the originals of rewrites and redirects."""
    async with s.logging(2, "muted"):
        await s.get("/rewritten?q", to="muted")
        await s.get("/moved?q", to="muted")


@scenario(ROUTE_CLUSTERS)
async def route_headers_on_local_replies(s: Session) -> None:
    """What the router answers by itself gets the headers of its route, too."""

    async def stall(call: Call) -> None:
        await call.gone()

    s.upstream("one").script = stall
    async with s.logging(4):
        for path in ("/refused", "/hostless", "/slow", "/entry-refused"):
            await s.get(path, label=path)
