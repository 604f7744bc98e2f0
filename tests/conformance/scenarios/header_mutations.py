# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Headers that route configurations add and remove: all levels, actions and operators."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

#: One name for each action, at every level; the value says which level wrote it.
ACTIONS = (
    "APPEND_IF_EXISTS_OR_ADD",
    "ADD_IF_ABSENT",
    "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
)


def level(name: str) -> str:
    """The four fields of one level, as a YAML flow mapping's inside."""
    adds = ", ".join(
        f"{{header: {{key: x-{action.lower().replace('_', '-')}, value: {name}}}, append_action: {action}}}"
        for action in ACTIONS
    )
    own = f'{{header: {{key: x-{name}, value: "%REQ(x-seen)%/%RESP(x-seen)%"}}}}'
    seen = f"{{header: {{key: x-seen, value: {name}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}"
    return (
        f"request_headers_to_add: [{adds}, {own}, {seen}], request_headers_to_remove: [x-remove-{name}, X-ALL], "
        f"response_headers_to_add: [{adds}, {own}, {seen}], "
        f"response_headers_to_remove: [x-remove-{name}, X-ALL]"
    )


def levels(extra: str = "") -> str:
    return f"""
route_config:
  name: levels
  {extra}
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - name: plain
      match: {{path: /plain}}
      route: {{cluster: app}}
    - name: direct
      match: {{path: /direct}}
      direct_response: {{status: 200}}
      <<: {{{level("route")}}}
    - name: weighted
      match: {{prefix: /}}
      route:
        weighted_clusters:
          clusters: [{{name: app, weight: 1, {level("weighted")}}}]
      <<: {{{level("route")}}}
    <<: {{{level("host")}}}
  <<: {{{level("config")}}}
"""


VALUES = (
    "%%", "100%%", "%%REQ(a)%%", "%REQ(x-client)%", "%REQ(x-none)%", "%REQ(X-None?X-Client)%", "%REQ(x-client):3%",
    "<%REQ(x-none)%>", "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%", "%PROTOCOL%",
    "%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%RESPONSE_CODE_DETAILS%", "%ROUTE_NAME%", "%UPSTREAM_CLUSTER%",
    "%UPSTREAM_HOST%", "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "%UPSTREAM_REMOTE_ADDRESS%",
    "%START_TIME(%Y-%m)%", "%START_TIME(%%)%", "%HOSTNAME%", "%ENVIRONMENT(PATH_NO)%", "%REQUESTED_SERVER_NAME%",
    '%DYNAMIC_METADATA(["a", "b"])%', "%DYNAMIC_METADATA(a:b)%", '%UPSTREAM_METADATA(["lb", "stage"])%',
    "%UPSTREAM_METADATA(lb:stage)%", "%UPSTREAM_METADATA(lb:list)%", "%UPSTREAM_METADATA(lb)%",
    "%CLUSTER_METADATA(cm:key)%", "%METADATA(ROUTE:rm:key)%", "%METADATA(ROUTE:rm:number)%",
    "%METADATA(VIRTUAL_HOST:vm:key)%", "%PER_REQUEST_STATE(none)%", "%FILTER_STATE(none:PLAIN)%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%UPSTREAM_PROTOCOL%", "%BYTES_RECEIVED%", "%DOWNSTREAM_TLS_VERSION%",
    "%DOWNSTREAM_PEER_SUBJECT%", "%PATH(NQ)%", "%PATH(WQ:ORIG)%", "%QUERY_PARAM(q)%", "%QUERY_PARAMS(ORIG)%",
    "%REQUEST_HEADER(x-client)%", "%VIRTUAL_CLUSTER_NAME%", "%UPSTREAM_CLUSTER_RAW%", "%GRPC_STATUS%",
    "%LOCAL_REPLY_BODY%", "%ACCESS_LOG_TYPE%", "%TRAILER(a)%", "%RESP(x-app)%", "%RESP(:STATUS)%",
    "%FILTER_CHAIN_NAME%", "%TRACE_ID%", "%UPSTREAM_HOST_NAME%", "%CUSTOM_FLAGS%",
    '%COALESCE({"operators": ["REQUESTED_SERVER_NAME", "PROTOCOL"]})%',
)  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


ADDED = ", ".join(
    f"{{header: {{key: x-{n:02}, value: {quoted(value)}}}, keep_empty_value: {str(n % 2 == 0).lower()}}}"
    for n, value in enumerate(VALUES)
)
OPERATORS = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    metadata: {{filter_metadata: {{vm: {{key: host}}}}}}
    routes:
    - name: named
      match: {{prefix: /}}
      metadata: {{filter_metadata: {{rm: {{key: route, number: 7}}}}}}
      route: {{cluster: meta, prefix_rewrite: /new}}
      request_headers_to_add: [{ADDED}]
      response_headers_to_add: [{ADDED}]
"""
META = """
metadata: {filter_metadata: {cm: {key: cluster}}}
load_assignment:
  cluster_name: meta
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}
      metadata: {filter_metadata: {lb: {stage: prod, list: [a, 1]}}}
"""
ODD = """
- match: {path: /deprecated}
  route: {cluster: app}
  request_headers_to_add:
  - {header: {key: x-a, value: one}, append: true}
  - {header: {key: x-b, value: two}, append: false}
  - {header: {key: X-Upper, value: Three}}
- match: {path: /raw}
  route: {cluster: app}
  request_headers_to_add:
  - {header: {key: x-raw, raw_value: cmF3}}
  - {header: {key: x-raw-kept, raw_value: cmF3}, keep_empty_value: true}
- match: {path: /empty}
  route: {cluster: app}
  request_headers_to_add:
  - {header: {key: x-a, value: ""}}
  - {header: {key: x-b, value: ""}, keep_empty_value: true}
  - {header: {key: x-c, value: "%REQ(x-none)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-d, value: "%REQ(x-none)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD, keep_empty_value: true}
- match: {path: /own}
  route: {cluster: app}
  request_headers_to_add:
  - {header: {key: user-agent, value: mine}}
  - {header: {key: x-forwarded-for, value: 9.9.9.9}}
  - {header: {key: content-type, value: a/b}}
  - {header: {key: cookie, value: c=d}}
  - {header: {key: x-envoy-max-retries, value: "3"}}
  - {header: {key: x-request-id, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  response_headers_to_add:
  - {header: {key: server, value: mine}}
  - {header: {key: date, value: never}}
  - {header: {key: content-type, value: a/b}}
  - {header: {key: set-cookie, value: c=d}}
  - {header: {key: x-envoy-upstream-service-time, value: "soon"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- match: {path: /order}
  route: {cluster: app}
  request_headers_to_remove: [x-a, user-agent]
  request_headers_to_add:
  - {header: {key: x-a, value: again}}
  - {header: {key: x-b, value: "%REQ(x-a)%"}}
  - {header: {key: x-c, value: first}}
  - {header: {key: x-c, value: second}}
  - {header: {key: x-c, value: third}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-d, value: fourth}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-d, value: fifth}, append_action: ADD_IF_ABSENT}
"""
SETUP = Setup(
    "header-mutations",
    bootstrap(
        [
            listener("levels", levels()),
            listener("specific", levels("most_specific_header_mutations_wins: true")),
            listener("operators", OPERATORS),
            listener("odd", routes=ODD),
        ],
        [cluster("app", "app"), cluster("meta", extra=META)],
    ),
    {"app": "h1"},
)
SENT = tuple(f"x-{action.lower().replace('_', '-')}: client" for action in ACTIONS)
REMOVED = tuple(f"x-remove-{name}: 1" for name in ("weighted", "route", "host", "config", "none"))


async def all_levels(s: Session, to: str) -> None:
    for path in ("/plain", "/direct", "/weighted"):
        s.upstream().script = answers(ok(b""), ok(b"", *SENT, *REMOVED, "x-all: 1", "x-seen: app"))
        await s.get(path, to=to, label=f"{path} without")
        await s.get(path, *SENT, *REMOVED, "x-all: 1", "x-seen: client", to=to, label=f"{path} with")


@scenario(SETUP)
async def mutations_levels(s: Session) -> None:
    """Weighted cluster, route, virtual host, route configuration: the outermost has the last word."""
    await all_levels(s, "levels")


@scenario(SETUP)
async def mutations_most_specific_wins(s: Session) -> None:
    """most_specific_header_mutations_wins turns the order round."""
    await all_levels(s, "specific")


@scenario(SETUP)
async def mutations_operators(s: Session) -> None:
    """Every operator that does not differ from run to run, in requests and responses."""
    s.upstream().script = answers(ok(b"", "x-app: 1"))
    await s.get("/path?q=a%20b", "x-client: client", to="operators")


@scenario(SETUP)
async def mutations_odd_values(s: Session) -> None:
    """Deprecated append, raw values, empty ones, headers that the proxy sets itself, the order of things."""
    for path in ("/deprecated", "/raw", "/empty", "/own", "/order"):
        s.upstream().script = answers(ok(b"x", "x-a: app", "content-type: text/app", "server: app"))
        await s.get(path, to="odd", label=f"{path} without")
        s.upstream().script = answers(ok(b"x", "content-type: text/app", "set-cookie: a=b"))
        headers = ("x-a: 1", "x-b: 2", "x-c: 3", "x-d: 4", "user-agent: client", "cookie: a=b")
        await s.get(path, *headers, "x-forwarded-for: 1.2.3.4", to="odd", label=f"{path} with")
