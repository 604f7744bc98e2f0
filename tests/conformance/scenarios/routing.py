"""Which route a request takes, and what routes do to requests and responses."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok


def named(name: str) -> str:
    return f"direct_response: {{status: 200, body: {{inline_string: {name}}}}}"


HOSTS = f"""
route_config:
  virtual_hosts:
  - name: exact
    domains: [example.com, "example.com:8080"]
    routes: [{{match: {{prefix: /}}, {named("exact")}}}]
  - {{name: suffix, domains: ["*.example.com"], routes: [{{match: {{prefix: /}}, {named("suffix")}}}]}}
  - {{name: longer, domains: ["*.long.example.com"], routes: [{{match: {{prefix: /}}, {named("longer")}}}]}}
  - {{name: prefix, domains: ["prefix.*"], routes: [{{match: {{prefix: /}}, {named("prefix")}}}]}}
  - {{name: upper, domains: ["UPPER.test"], routes: [{{match: {{prefix: /}}, {named("upper")}}}]}}
"""
CATCH_ALL = f"""
  - {{name: rest, domains: ["*"], routes: [{{match: {{prefix: /}}, {named("rest")}}}]}}
"""
PATHS = f"""
- {{match: {{path: /exact}}, {named("exact")}}}
- {{match: {{path: /caseless, case_sensitive: false}}, {named("caseless")}}}
- {{match: {{safe_regex: {{regex: "/re/[0-9]+"}}}}, {named("regex")}}}
- {{match: {{path_separated_prefix: /sep}}, {named("separated")}}}
- {{match: {{prefix: /first}}, {named("first")}}}
- {{match: {{prefix: /first/second}}, {named("never")}}}
- {{match: {{prefix: /PRE, case_sensitive: false}}, {named("prefix-caseless")}}}
"""
QUERIES = f"""
- match: {{prefix: /query, query_parameters: [{{name: a, string_match: {{exact: b}}}}]}}
  {named("query-exact")}
- match: {{prefix: /query, query_parameters: [{{name: a, present_match: true}}]}}
  {named("query-present")}
"""


def on_header(match: str, name: str) -> str:
    return f"- {{match: {{path: /{name}, headers: [{{name: x-h, {match}}}]}}, {named(name)}}}\n"


HEADER_ROUTES = "".join(
    (
        on_header("string_match: {exact: one}", "exact"),
        on_header("string_match: {prefix: o}", "prefix"),
        on_header("string_match: {suffix: ne}", "suffix"),
        on_header("string_match: {contains: ne}", "contains"),
        on_header("string_match: {exact: ONE, ignore_case: true}", "caseless"),
        on_header('string_match: {safe_regex: {regex: "o.*e"}}', "regex"),
        on_header("range_match: {start: 5, end: 10}", "range"),
        on_header("present_match: true", "present"),
        on_header("present_match: false", "absent"),
        on_header("string_match: {exact: one}, invert_match: true", "inverted"),
        on_header(
            "string_match: {exact: one}, treat_missing_header_as_empty: true, invert_match: true", "empty"
        ),
    )
)
ACTIONS = """
- {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: "short and stout"}}}
- {match: {path: /bare}, direct_response: {status: 204}}
- match: {path: /styled}
  direct_response: {status: 200, body: {inline_string: "<p>hi</p>"}}
  response_headers_to_add:
  - {header: {key: content-type, value: text/html}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- {match: {path: /to-host}, redirect: {host_redirect: other.example}}
- {match: {path: /to-path}, redirect: {path_redirect: "/new?x=y", response_code: FOUND}}
- match: {prefix: /to-prefix}
  redirect: {prefix_rewrite: /new, strip_query: true, response_code: TEMPORARY_REDIRECT}
- {match: {path: /to-https}, redirect: {https_redirect: true}}
- match: {path: /to-port}
  redirect: {port_redirect: 8443, scheme_redirect: https, response_code: PERMANENT_REDIRECT}
- {match: {prefix: /rewrite/}, route: {cluster: app, prefix_rewrite: /}}
- {match: {prefix: /rewrite}, route: {cluster: app, prefix_rewrite: /short}}
- {match: {path: /host}, route: {cluster: app, host_rewrite_literal: rewritten.example}}
- match: {path: /weights}
  route: {weighted_clusters: {clusters: [{name: never, weight: 0}, {name: app, weight: 100}]}}
"""
MORE_ACTIONS = """
- match: {prefix: /to-regex}
  redirect:
    regex_rewrite: {pattern: {regex: "^/to-regex/(.+)$"}, substitution: "/r/\\\\1"}
    response_code: SEE_OTHER
- match: {prefix: /regex}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "/regex/([a-z]+)"}, substitution: "/\\\\1/done"}}
- {match: {path: /host-header}, route: {cluster: app, host_rewrite_header: x-host}}
- {match: {path: /by-header}, route: {cluster_header: x-cluster}}
- match: {path: /unknown-404}
  route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}
"""
LATER_ACTIONS = """
- match: {path: /host-append}
  route: {cluster: app, host_rewrite_literal: rewritten.example, append_x_forwarded_host: true}
- match: {path: /host-regex}
  route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "^/(.+)$"}, substitution: "\\\\1.example"}}
"""
EDITS = """
request_headers_to_add:
- {header: {key: x-order, value: config}}
request_headers_to_remove: [x-gone-config]
response_headers_to_add:
- {header: {key: x-order, value: config}}
response_headers_to_remove: [x-back-config]
virtual_hosts:
- name: all
  domains: ["*"]
  request_headers_to_add:
  - {header: {key: x-order, value: host}}
  request_headers_to_remove: [x-gone-host]
  response_headers_to_add:
  - {header: {key: x-order, value: host}}
  response_headers_to_remove: [x-back-host]
  routes:
  - match: {path: /order}
    route: {cluster: app}
    request_headers_to_add: [{header: {key: x-order, value: route}}]
    request_headers_to_remove: [x-gone-route]
    response_headers_to_add: [{header: {key: x-order, value: route}}]
    response_headers_to_remove: [x-back-route]
  - match: {path: /append}
    route: {cluster: app}
    request_headers_to_add: &append
    - {header: {key: x-default, value: new}}
    - {header: {key: x-append, value: new}, append_action: APPEND_IF_EXISTS_OR_ADD}
    - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    - {header: {key: x-exists, value: new}, append_action: OVERWRITE_IF_EXISTS}
    - {header: {key: x-empty, value: ""}}
    - {header: {key: x-kept-empty, value: ""}, keep_empty_value: true}
    response_headers_to_add: *append
  - match: {path: /format}
    route: {cluster: app}
    name: the-route
    request_headers_to_add: &format
    - {header: {key: x-req, value: "%REQ(x-in)%"}}
    - {header: {key: x-alt, value: "%REQ(x-none?x-in)%"}}
    - {header: {key: x-cut, value: "%REQ(x-in):3%"}}
    - {header: {key: x-none, value: "%REQ(x-missing)%"}}
    - {header: {key: x-mixed, value: "a %REQ(:METHOD)% b %PROTOCOL% 100%%"}}
    - {header: {key: x-address, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
    - {header: {key: x-cluster, value: "%UPSTREAM_CLUSTER%"}}
    - {header: {key: x-route, value: "%ROUTE_NAME%"}}
    response_headers_to_add:
    - {header: {key: x-req, value: "%REQ(x-in)%"}}
    - {header: {key: x-resp, value: "%RESP(x-up)%"}}
    - {header: {key: x-code, value: "%RESPONSE_CODE% %RESPONSE_FLAGS%"}}
    - {header: {key: x-host, value: "%UPSTREAM_HOST%"}}
  - match: {path: /local}
    direct_response: {status: 200, body: {inline_string: here}}
    response_headers_to_add: [{header: {key: x-order, value: route}}]
"""
ROUTING = Setup(
    "routing",
    bootstrap(
        [
            listener("main", routes=ACTIONS),
            listener("hosts", HOSTS + CATCH_ALL),
            listener("strict-hosts", HOSTS),
            listener("paths", routes=PATHS),
            listener("on-headers", routes=HEADER_ROUTES),
            listener("edits", "route_config:\n" + EDITS.replace("\n", "\n  ")),
            listener(
                "specific",
                "route_config:\n  most_specific_header_mutations_wins: true\n" + EDITS.replace("\n", "\n  "),
            ),
        ],
        [cluster("app", "app"), cluster("never", "never")],
    ),
    {"app": "h1", "never": "h1"},
)

ATTEMPTS = """
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    include_request_attempt_count: true
    include_attempt_count_in_response: true
    routes: [{match: {prefix: /}, route: {cluster: app}}]
"""
MORE_ROUTING = Setup(
    "routing-more",
    bootstrap(
        [
            listener("main", routes=MORE_ACTIONS),
            listener("attempts", ATTEMPTS),
            listener(
                "anyport",
                HOSTS.replace("route_config:", "route_config:\n  ignore_port_in_host_matching: true"),
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
LATER_ROUTING = Setup(
    "routing-later",
    bootstrap(
        [listener("main", routes=LATER_ACTIONS), listener("queries", routes=QUERIES)], [cluster("app", "app")]
    ),
    {"app": "h1"},
)
HOST_NAMES = (
    "example.com",
    "EXAMPLE.com",
    "example.com:8080",
    "example.com:9090",
    "www.example.com",
    "a.long.example.com",
    "long.example.com",
    ".example.com",
    "prefix.anything",
    "prefix.",
    "prefix.example.com",
    "upper.test",
    "elsewhere.test",
)


async def choose_hosts(s: Session, to: str) -> None:
    for host in HOST_NAMES:
        await s.http(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n", to, label=f"{to} {host}")


@scenario(ROUTING)
async def routing_virtual_hosts(s: Session) -> None:
    """Exact before longest suffix before longest prefix before the catch-all; case does not matter."""
    await choose_hosts(s, "hosts")
    await choose_hosts(s, "strict-hosts")


@scenario(MORE_ROUTING)
async def routing_virtual_hosts_ignoring_ports(s: Session) -> None:
    """ignore_port_in_host_matching."""
    await choose_hosts(s, "anyport")


@scenario(LATER_ROUTING)
async def routing_query_parameters(s: Session) -> None:
    """Query parameter matchers."""
    for path in ("/query?a=b", "/query?a=c", "/query?b=a", "/query?x=y&a=b", "/query?a", "/query"):
        await s.get(path, to="queries", label=path)


@scenario(MORE_ROUTING)
async def routing_attempt_counts(s: Session) -> None:
    """The attempt count in requests and responses."""
    await s.get("/", to="attempts")


@scenario(ROUTING)
async def routing_paths(s: Session) -> None:
    """Path, prefix, regular expression and separated prefix; the first that matches wins."""
    paths = (
        "/exact",
        "/exact?q=1",
        "/exact/",
        "/Exact",
        "/CASEless",
        "/re/12",
        "/re/12?x",
        "/re/12/",
        "/re/a",
        "/sep",
        "/sep/x",
        "/separate",
        "/sep?x",
        "/first",
        "/firstly",
        "/first/second",
        "/prefix",
        "/",
    )
    for path in paths:
        await s.get(path, to="paths", label=path)


@scenario(ROUTING)
async def routing_header_matchers(s: Session) -> None:
    """Every kind of header matcher against several values and against none."""
    names = [
        "exact",
        "prefix",
        "suffix",
        "contains",
        "caseless",
        "regex",
        "range",
        "present",
        "absent",
        "inverted",
        "empty",
    ]
    for headers in ((), ("x-h: one",), ("x-h: 7",), ("x-h: 10",), ("x-h: ",), ("x-h: one", "x-h: two")):
        shown = " ".join(headers) or "none"
        for name in names:
            await s.get(f"/{name}", *headers, to="on-headers", label=f"{name} of {shown}")


@scenario(ROUTING)
async def routing_direct_responses(s: Session) -> None:
    """direct_response with and without a body, and with its content-type set by the route."""
    for path in ("/direct", "/bare", "/styled"):
        await s.get(path, label=path)
    await s.http(b"HEAD /direct HTTP/1.1\r\nhost: a\r\n\r\n", has_body=False, label="HEAD")
    await s.http(b"POST /direct HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", label="POST")


@scenario(ROUTING)
async def routing_redirects(s: Session) -> None:
    """Redirects of host, path, prefix, scheme and port, with their codes and Location."""
    for path in (
        "/to-host?a=b",
        "/to-path?a=b",
        "/to-prefix/rest?a=b",
        "/to-https?a=b",
        "/to-port",
    ):
        await s.get(path, label=path)
    await s.http(b"GET /to-https HTTP/1.1\r\nhost: a:80\r\n\r\n", label="port 80")
    await s.http(b"GET /to-https HTTP/1.1\r\nhost: a:8080\r\n\r\n", label="port 8080")
    await s.http(b"GET /to-host HTTP/1.1\r\nhost: a:8080\r\n\r\n", label="host with port")


@scenario(ROUTING)
async def routing_path_rewrites(s: Session) -> None:
    """prefix_rewrite keeps the query and notes the original path."""
    async with s.logging(3):
        for path in ("/rewrite/a/b?c=d", "/rewrite", "/rewriteten"):
            await s.get(path)


@scenario(MORE_ROUTING)
async def routing_regex_rewrites(s: Session) -> None:
    """regex_rewrite of paths, of requests and of redirects."""
    for path in ("/regex/abc?x=y", "/regex/123", "/to-regex/thing?a=b"):
        await s.get(path)


@scenario(ROUTING)
async def routing_host_rewrite(s: Session) -> None:
    """host_rewrite_literal."""
    await s.get("/host")


@scenario(MORE_ROUTING)
async def routing_host_rewrite_by_header(s: Session) -> None:
    """host_rewrite_header."""
    await s.get("/host-header", "x-host: from-header.example")
    await s.get("/host-header")


@scenario(LATER_ROUTING)
async def routing_host_rewrite_appended(s: Session) -> None:
    """append_x_forwarded_host."""
    await s.get("/host-append", "x-forwarded-host: before")


@scenario(LATER_ROUTING)
async def routing_host_rewrite_by_path(s: Session) -> None:
    """host_rewrite_path_regex."""
    await s.get("/host-regex?q")


@scenario(ROUTING)
async def routing_weights(s: Session) -> None:
    """A cluster of weight 0 is never chosen."""
    for _ in range(8):
        await s.get("/weights")


@scenario(MORE_ROUTING)
async def routing_cluster_header(s: Session) -> None:
    """cluster_header names the cluster; an unknown one or none is a 503, or the configured code."""
    async with s.logging(4):
        await s.get("/by-header", "x-cluster: app")
        await s.get("/by-header", "x-cluster: nobody", label="unknown")
        await s.get("/by-header", label="none")
        await s.get("/unknown-404", "x-cluster: nobody", label="unknown, 404")


@scenario(ROUTING)
async def routing_no_route(s: Session) -> None:
    """No route, and no virtual host: 404 with NR."""
    async with s.logging(1), s.logging(1, "strict-hosts"):
        await s.get("/nowhere")
        await s.http(b"GET / HTTP/1.1\r\nhost: unknown.test\r\n\r\n", "strict-hosts")


@scenario(ROUTING)
async def routing_header_mutation_order(s: Session) -> None:
    """Route, virtual host, configuration: in this order, and the other way round."""
    s.upstream().script = answers(
        ok(b"ok", "x-order: up", "x-back-route: 1", "x-back-host: 1", "x-back-config: 1")
    )
    for to in ("edits", "specific"):
        await s.get(
            "/order", "x-order: client", "x-gone-route: 1", "x-gone-host: 1", "x-gone-config: 1", to=to
        )
        await s.get("/local", to=to, label=f"{to} local")


@scenario(ROUTING)
async def routing_header_append_actions(s: Session) -> None:
    """The four append actions where the header exists, and where it does not."""
    names = ("x-default", "x-append", "x-absent", "x-over", "x-exists")
    existing = [f"{name}: old" for name in names]
    s.upstream().script = answers(ok(b"ok", *existing), ok(b"ok"))
    await s.get("/append", *existing, to="edits", label="existing")
    await s.get("/append", to="edits", label="missing")


@scenario(ROUTING)
async def routing_header_formatters(s: Session) -> None:
    """Formatters in header values; one without a value leaves the header out."""
    s.upstream().script = answers(ok(b"ok", "x-up: from upstream"))
    await s.get("/format", "x-in: something", to="edits")
    await s.get("/format", to="edits")
