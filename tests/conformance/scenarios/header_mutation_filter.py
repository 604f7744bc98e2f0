# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.header_mutation: in the chain and at each level of a route configuration."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

FILTER = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
ROUTE = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
APP = "route: {cluster: app}"


def level(name: str) -> str:
    """A header that each level overwrites, one that each appends to, one that each takes away."""
    mutations = (
        f"[{{append: {{header: {{key: x-last, value: '{name} after %REQ(x-last)%'}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}, "
        f"{{append: {{header: {{key: x-all, value: '{name} %RESP(x-app)% %RESPONSE_CODE%'}}}}}}, {{remove: x-{name}}}]"
    )
    return f"mutations: {{request_mutations: {mutations}, response_mutations: {mutations}}}"


def per_route(name: str) -> str:
    return f'typed_per_filter_config: {{mutate: {{"@type": {ROUTE}, {level(name)}}}}}'


LEVELS = f"""
route_config:
  {per_route("config")}
  virtual_hosts:
  - name: all
    domains: ["*"]
    {per_route("host")}
    routes:
    - {{match: {{path: /host}}, {APP}}}
    - {{match: {{path: /route}}, {APP}, {per_route("route")}}}
    - match: {{path: /weighted}}
      {per_route("route")}
      route: {{weighted_clusters: {{clusters: [{{name: app, weight: 1, {per_route("weighted")}}}]}}}}
    - {{match: {{path: /direct}}, direct_response: {{status: 200}}, {per_route("route")}}}
"""


def chain(config: str) -> str:
    return f'- {{name: mutate, typed_config: {{"@type": {FILTER}, {config}}}}}'


KINDS = """mutations:
      request_mutations:
      - {append: {header: {key: x-add, value: "%REQ(:path)%"}}}
      - {append: {header: {key: x-add, value: "%REQ(x-add)%"}}}
      - {append: {header: {key: x-absent, value: a}, append_action: ADD_IF_ABSENT}}
      - {append: {header: {key: x-absent, value: b}, append_action: ADD_IF_ABSENT}}
      - {append: {header: {key: x-exists, value: d}, append_action: OVERWRITE_IF_EXISTS}}
      - {append: {header: {key: x-empty, value: "%REQ(x-none)%"}}}
      - {append: {header: {key: x-kept, value: "%REQ(x-none)%"}, keep_empty_value: true}}
      - {remove_on_match: {key_matcher: {prefix: x-drop}}}
      response_mutations:
      - {append: {header: {key: x-code, value: "%RESPONSE_CODE% %RESP(:status)% %UPSTREAM_CLUSTER% %REQ(x-add)%"}}}
      - {append: {header: {key: server, value: own}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
      - {remove: content-type}
      response_trailers_mutations:
      - {append: {header: {key: x-trailer, value: "%RESP(x-code)%"}}}
      - {remove: x-away}
      request_trailers_mutations:
      - {append: {header: {key: x-trailer, value: "%REQ(x-add)%"}}}
      - {remove: x-away}
"""
QUERY = """mutations:
      query_parameter_mutations:
      - {append: {record: {key: a, value: "new"}}}
      - {append: {record: {key: b, value: "x y&z=%REQ(x-value)%"}, action: ADD_IF_ABSENT}}
      - {append: {record: {key: c, value: "over"}, action: OVERWRITE_IF_EXISTS}}
      - {append: {record: {key: "d d", value: ""}, action: OVERWRITE_IF_EXISTS_OR_ADD}}
      - {remove: gone}
"""
ROUTES = "- {match: {path: /local}, direct_response: {status: 201, body: {inline_string: l}}}\n- {match: {prefix: /}, route: {cluster: app}}"
TRAILERS = "http_protocol_options: {enable_trailers: true}\n"
UPSTREAM_TRAILERS = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}
"""
SETUP = Setup(
    "header-mutation-filter",
    bootstrap(
        [
            listener("levels", LEVELS, filters=chain(level("chain"))),
            listener(
                "specific",
                LEVELS,
                filters=chain(level("chain") + ", most_specific_header_mutations_wins: true"),
            ),
            listener(
                "kinds",
                TRAILERS,
                routes=ROUTES,
                filters=f'- name: mutate\n  typed_config:\n    "@type": {FILTER}\n    {KINDS}',
            ),
            listener(
                "query",
                routes=ROUTES,
                filters=f'- name: mutate\n  typed_config:\n    "@type": {FILTER}\n    {QUERY}',
            ),
        ],
        [cluster("app", "app", extra=UPSTREAM_TRAILERS)],
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def mutation_filter_levels(s: Session) -> None:
    """The chain's own first, then route, virtual host, route configuration, or the other way round."""
    sent = (
        "x-all: sent",
        "x-last: sent",
        *(f"x-{name}: 1" for name in ("chain", "config", "host", "route", "weighted")),
    )
    s.upstream().script = answers(ok(b"", *sent, "x-app: up"))
    for to in ("levels", "specific"):
        for path in ("/host", "/route", "/weighted", "/direct", "/none"):
            await s.get(path, *sent, to=to, label=f"{to} {path}")


@scenario(SETUP)
async def mutation_filter_kinds(s: Session) -> None:
    """Each kind of mutation; local answers too."""
    s.upstream().script = answers(ok(b"x", "content-type: text/app", "x-code: sent"))
    for path in ("/app?q", "/local"):
        await s.get(path, to="kinds", label=path)
        await s.get(
            path,
            "x-add: 1",
            "x-absent: 2",
            "x-exists: 3",
            "x-drop-a: 4",
            "x-dropped: 5",
            to="kinds",
            label=f"{path} sent",
        )
    await s.http("GET / HTTP/1.1\r\n\r\n", "kinds", label="no host")


@scenario(SETUP)
async def mutation_filter_trailers(s: Session) -> None:
    """Trailers of both directions, where there are any."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1\r\nx\r\n0\r\nx-away: 1\r\nx-stays: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    )
    body = "POST /app HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    await s.http(body + "x-away: 1\r\nx-stays: 2\r\n\r\n", "kinds", label="trailers")
    await s.http(body + "\r\n", "kinds", label="none")


@scenario(SETUP)
async def mutation_filter_query(s: Session) -> None:
    """query_parameter_mutations rewrite the query."""
    for path in (
        "/",
        "/p?gone=1",
        "/p?z=1&a=1&b=2&c=3&c=4&a=2",
        "/p?d%20d=1&gone&gone=2",
        "/p?",
        "/p?=x&&y",
        "/p?z=%41%26+x&%7A=2&%zz=%z&%C3%BC=%FC&k%3D=%3D",
        "/p?e=a=b&f=?&g;h=1&A=1&a=/?:@!$",
        "/p;c?x",
        "/p?%00=%0a",
    ):
        await s.get(path, "x-value: a/b", to="query", label=path)
    async with s.logging(1, "query"):
        await s.get("/p?%00=%0a", to="query", label="logged")
