"""Expressions in CEL: what attributes say, values as text and as JSON, errors, and who asks."""

from __future__ import annotations

import json
from typing import Any

from tests.support import yaml_text

from ..cel_trees import tree
from ..client import get
from ..configuration import FILE_LOG, bootstrap, cluster, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

#: Of the request and its way through the proxy; what differs from run to run is compared instead of shown.
ATTRIBUTES = """
request.path
request.url_path
request.query
request.host
request.scheme
request.method
request.protocol
request.useragent
request.referer
request.size
request.headers_bytes > 10
request.total_size > request.size
request.time > timestamp('2024-01-02T03:04:05Z')
request.time.getFullYear() > 2023
request.time + duration('1h') > request.time
request.duration > duration('0s') && request.duration < duration('1m')
request.id.size()
request.headers['X-A']
request.headers['x-a']
request.headers.host
request.headers[':authority']
request.headers['x-none']
request.headers['a b']
request.headers[request.headers['x-ref']]
request.headers[1]
request.headers['x-bad']
size(request.headers['x-bad'])
request.headers['x-bad'] == 'x'
request.headers['x-uni']
size(request.headers['x-uni'])
'X-A' in request.headers
'x-none' in request.headers
'a b' in request.headers
request.method in request.headers
has(request.headers.origin)
has(request.path)
has(request.nope)
'path' in request
request.nope
request
response.code
response.code_details
response.flags
response.grpc_status
response.size
response.headers['x-up']
response.headers['content-type']
response.headers_bytes > 10
response.total_size > response.size
response.trailers
response.trailers['x-none']
response.backend_latency >= duration('0s')
source.address.startsWith('127.0.0.1:')
source.port > 0
destination.address.startsWith('127.0.0.1:')
destination.port > 0
connection.id > 0
connection.id + 1u > 1u
connection.mtls
connection.requested_server_name
connection.tls_version
connection.termination_details
connection.transport_failure_reason
upstream.address.startsWith('127.0.0.1:')
upstream.port > 0
upstream.local_address.startsWith('127.0.0.1:')
upstream.request_attempt_count
upstream.num_endpoints
upstream.transport_failure_reason
upstream.tls_version
upstream.locality
upstream.locality.region
has(upstream.locality.zone)
metadata
metadata.filter_metadata
metadata.filter_metadata['dyn']
metadata.filter_metadata.dyn.num
metadata.filter_metadata.dyn.num == 5
metadata.filter_metadata.dyn.num + 1
metadata.filter_metadata.dyn.num + 1.0
metadata.filter_metadata.dyn.num == 5u
metadata.filter_metadata.dyn.txt
metadata.filter_metadata.dyn.nest.a
metadata.filter_metadata.dyn.nest.a[1]
metadata.filter_metadata.dyn.nest.a[1.0]
metadata.filter_metadata.dyn.nest.a['1']
metadata.filter_metadata.dyn.nest.a[9]
metadata.filter_metadata.dyn.b
metadata.filter_metadata.dyn.nul
metadata.filter_metadata.dyn.zip
metadata.filter_metadata.none.zip
metadata.filter_metadata.dyn.nest == {'a': [1, 2]}
size(metadata.filter_metadata)
size(metadata)
'dyn' in metadata.filter_metadata
'filter_metadata' in metadata
metadata['filter_metadata']
metadata == metadata
metadata.nope
has(metadata.nope)
has(metadata.filter_metadata)
has(metadata.typed_filter_metadata)
has(metadata.filter_metadata.dyn)
filter_state['none']
'none' in filter_state
upstream_filter_state
xds.node.id
xds.node.cluster
xds.node.metadata.role
xds.node.locality.region
xds.node.nope
has(xds.node.locality)
xds.cluster_name
xds.cluster_metadata
xds.route_name
xds.route_metadata
xds.route_metadata.filter_metadata['r.ns'].list
xds.route_metadata.filter_metadata['r.ns'].list[2]
xds.route_metadata.filter_metadata['r.ns'].list[2] == null
xds.virtual_host_name
xds.virtual_host_metadata
xds.upstream_host_metadata
xds.filter_chain_name
xds.listener_metadata
xds.listener_direction
size(request)
connection
"""
#: The language itself.
VALUES = """
1u
1.5
1.0
1e20
1e-7
0.1+0.2
100000000.0
b'ab'
b'\\xff'
[1,'a']
{'a':1}
type(1)
type(1) == int
type('a') == string
null
'é'
size('é')
'éà'.contains('à')
"a"
r'a\\d'
duration('1.5s')
duration('0s')
duration('-90m')
duration('1.001s')
duration('20ms')
duration('36h5s')
duration('1s') + duration('1ms')
duration('90m').getMinutes()
timestamp('2024-01-02T03:04:05Z')
timestamp('2024-01-02T03:04:05.120Z')
timestamp('2024-01-02T03:04:05.123456Z')
timestamp(0)
int(timestamp(1))
timestamp('2024-01-02T03:04:05Z').getHours('America/New_York')
timestamp(1700000000).getDayOfWeek()
timestamp(1700000000).getDate()
timestamp(1700000000).getDayOfMonth()
timestamp(1700000000).getDayOfYear()
timestamp(1700000000).getMonth()
timestamp('2024-01-02T03:04:05Z') - timestamp('2024-01-02T03:04:04Z')
request.time.getFullYear('Nope/Zone')
int('12')
int(1.9)
uint(1)
double('1e3')
bool('true')
bytes('a')
dyn(1)
google.protobuf.Duration{seconds: 3}
google.protobuf.Timestamp{seconds: 5}
google.protobuf.Int32Value{value: 5}
google.protobuf.StringValue{value: 'x'}
1 == 1.0
1 == 'a'
1 < 2.5
1u < 2
1 in [1,2]
'a' in {'a':1}
[1] == [1.0]
{'a':1}.a
has({'a':1}.a)
true ? 'y' : nope
true || nope
nope || true
nope && false
5 % 3
-request.size
'abc'.matches('b')
matches('abc', 'a.c')
'abc'.startsWith('a') && 'abc'.endsWith('c')
'a'.matches(request.headers['x-re'])
'ab'.matches(request.headers['x-okre'])
re.extract('foobar','foo(b)(ar)','\\\\2\\\\1')
re.extract('foobar','nope','x')
re.capture('foo','f(o+)')
re.capture('foo','f(o)')
re.captureN('foo','f(?P<first>o)(o)')
9223372036854775807
-9223372036854775808
"""
#: Errors are nothing.
ERRORS = """
nope
nope == 1
nope && true
has(nope.x)
dyn(nope)
'a' + 'b'
request.path + 'x'
request.path + request.method
request.size + 1
request.size + 1u
request.size + request.response
b'a' + b'b'
[1] + [2]
1 < 'a'
1/0
9223372036854775807 + 1
!request.path
!1
-'a'
-1u
request.path[0]
'a'[0]
1 ? 2 : 3
1 && true
1 && false
1 || true
'a' || false
1 in 2
'a' in 'abc'
size(1)
request.path.startsWith(1)
int('x')
int(1e30)
uint(-1)
timestamp('nope')
duration('nope')
bool('nope')
{'a':1}.b
{'a':1, 'a':2}
[1,2][5]
[1,2][-1]
5.0 % 3.0
'a'.matches(request.headers['x-badre'])
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def json_log(name: str, operator: str, *texts: str, options: dict[str, bool] | None = None) -> dict[str, Any]:
    """A log of what each expression is."""
    fields = {each: f"%{operator}({each})%" for text in texts for each in lines(text)}
    fields["cut"] = f"%{operator}(request.path):4%"
    fields["inside"] = f"<%{operator}(request.size)% %{operator}([1])% %{operator}(nope)%>"
    log_format: dict[str, Any] = {"json_format": fields}
    if options is not None:
        kind = "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel"
        log_format["formatters"] = [{"name": "cel", "typed_config": {"@type": kind, "cel_config": options}}]
    config = {"@type": FILE_LOG, "path": f"FILE({name}.log)", "log_format": log_format}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def dumped(**fields: Any) -> str:
    return yaml_text.dump(fields, width=100_000, allow_unicode=True)


ROUTES: list[dict[str, Any]] = [
    {"match": {"path": "/direct"}, "name": "direct", "direct_response": {"status": 404}},
    {
        "match": {"prefix": "/headers"},
        "route": {"cluster": "app"},
        "request_headers_to_add": [
            {"header": {"key": "x-cel", "value": "%CEL(request.headers['x-a'].contains('o'))%"}},
            {"header": {"key": "x-none", "value": "<%CEL(request.headers['nope'])%>"}},
            {"header": {"key": "x-cut", "value": "%CEL(request.path):4% %TYPED_CEL(request.path):4%"}},
            {"header": {"key": "x-size", "value": "%CEL(size(request.headers['x-a']))%"}},
        ],
        "response_headers_to_add": [
            {"header": {"key": "x-cel", "value": "%CEL(response.code == 200 ? 'good' : 'bad')%"}},
            {"header": {"key": "x-up-cel", "value": "%CEL(response.headers['x-up'])%"}},
            {"header": {"key": "x-typed", "value": "%TYPED_CEL([1, response.code])%"}},
        ],
    },
    {
        "match": {"prefix": "/"},
        "name": "r0",
        "metadata": {"filter_metadata": {"r.ns": {"list": [1, "a", None, True], "obj": {"k": "v"}}}},
        "route": {"cluster": "app"},
    },
]
HOSTS = [
    {
        "name": "vh",
        "domains": ["*"],
        "routes": ROUTES,
        "metadata": {"filter_metadata": {"v.ns": {"n": 3, "s": "t"}}},
    }
]
META = yaml_text.dump(
    [
        {
            "name": "meta",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                "metadata": [
                    {
                        "metadata_namespace": "dyn",
                        "value": {"num": 5, "txt": "é", "nest": {"a": [1, 2]}, "b": True, "nul": None},
                    }
                ],
            },
        }
    ]
)
OPTIONS = """
string(1)
string(1.5)
string(true)
string(duration('1s'))
string(request.size) + 'x'
'a' + 'b'
request.path + '!' + request.method
b'a' + b'b'
1 + 2
'a' + 1
[1] + [2]
'ABC'.lowerAscii()
request.headers['x-a'].upperAscii()
'a,b'.split(',')
'a,b,c'.split(',', 2)
['a','b'].join('-')
'hello'.charAt(1)
'hello'.indexOf('l')
'hello'.lastIndexOf('l')
'hello'.substring(1,3)
'hello'.replace('l', 'L')
'hello'.replace('l', 'L', 1)
' a '.trim()
"""


def logging_to(name: str, log: dict[str, Any], **extra: Any) -> dict[str, Any]:
    hcm = dumped(access_log=[log], route_config={"name": "rc", "virtual_hosts": HOSTS})
    return listener(name, hcm, filters=META, extra=dumped(**extra) if extra else "")


def matching(name: str, expression: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    config = {"@type": kind, "expression": expression, "cel_config": {"enable_string_concat": True}}
    log = file_log(f"FILE({name}.log)", "%REQ(:PATH)% %RESPONSE_CODE%\n")
    log["filter"] = {"extension_filter": {"name": "cel", "typed_config": config}}
    return log


FILTERS = {
    "by-code": "response.code >= 400",
    "by-header": "request.headers['x-log'] == 'yes' || request.path + '!' == '/also!'",
    "by-error": "request.headers['x-none'] == 'a'",
    "by-text": "request.path",
    "by-node": "xds.node.id == 'node-1'",
}
NODE = """
node: {id: node-1, cluster: cl-1, metadata: {role: x}, locality: {zone: z}}
"""
SETUP = Setup(
    "cel",
    bootstrap(
        [
            logging_to(
                "typed",
                json_log("typed", "TYPED_CEL", ATTRIBUTES, VALUES, ERRORS),
                metadata={"filter_metadata": {"l.ns": {"a": "b"}}},
                traffic_direction="OUTBOUND",
            ),
            logging_to("text", json_log("text", "CEL", ATTRIBUTES, VALUES, ERRORS)),
            logging_to(
                "options",
                json_log(
                    "options",
                    "TYPED_CEL",
                    OPTIONS,
                    options={
                        "enable_string_conversion": True,
                        "enable_string_concat": True,
                        "enable_string_functions": True,
                    },
                ),
            ),
            listener("main", dumped(route_config={"name": "rc", "virtual_hosts": HOSTS})),
            listener(
                "filtered",
                dumped(
                    access_log=[matching(name, text) for name, text in FILTERS.items()],
                    route_config={"virtual_hosts": HOSTS},
                ),
            ),
        ],
        [cluster("app", "app", extra="metadata: {filter_metadata: {c.ns: {c: 1}}}")],
        NODE,
    ),
    {"app": "h1"},
)
HEADERS = (
    "X-A: one",
    "x-a: two",
    "user-agent: agent",
    "x-ref: X-A",
    "x-re: (a|b|c){40}",
    "x-okre: a+b",
    "x-badre: (",
    "x-uni: \xc3\xa9",
    "x-bad: \xff",
)


def shown(line: str) -> object:
    """All that was said; parts of the clock and the bytes of a head are only compared."""
    return json.loads(line)


@scenario(SETUP)
async def cel_typed_values(s: Session) -> None:
    """Attributes, values and errors as JSON has them."""
    s.upstream().script = answers(ok(b"hello", "x-up: up", "content-type: text/x"))
    async with s.logging(2, "typed", shown):
        await s.get("/a/b?q=1&r=2", *HEADERS, to="typed")
        await s.get("/direct", *HEADERS, to="typed")


@scenario(SETUP)
async def cel_text_values(s: Session) -> None:
    """The same as text."""
    s.upstream().script = answers(ok(b"hello", "x-up: up"))
    async with s.logging(1, "text", shown):
        await s.get("/a/b?q=1&r=2", *HEADERS, to="text")


@scenario(SETUP)
async def cel_over_http2(s: Session) -> None:
    """HTTP/2 with a body."""
    s.upstream().script = answers(ok(b"hello"))

    def some(line: str) -> object:
        found = json.loads(line)
        return {
            key: found[key]
            for key in ("request.protocol", "request.size", "request.headers.host", "request.scheme")
        }

    async with s.logging(1, "typed", some):
        client = await s.connect_h2("typed")
        await client.request([*get("/h2?x", method="POST"), ("user-agent", "agent")], b"12345")


@scenario(SETUP)
async def cel_options(s: Session) -> None:
    """What cel_config of the formatter turns on."""
    s.upstream().script = answers(ok(b"hello"))
    async with s.logging(1, "options", shown):
        await s.get("/a", "x-a: val", to="options")


@scenario(SETUP)
async def cel_in_headers(s: Session) -> None:
    """Values of headers that are added to requests and to responses."""
    s.upstream().script = answers(ok(b"hello", "x-up: up"))
    await s.get("/headers/x", "x-a: one")
    await s.get("/headers/x", "x-a: zwei")


@scenario(SETUP)
async def cel_access_log_filter(s: Session) -> None:
    """Which requests are logged; an error and a text are not true."""
    s.upstream().script = answers(ok(b"hello"))

    async def ask() -> None:
        await s.get("/x", to="filtered")
        await s.get("/also", to="filtered")
        await s.get("/direct", to="filtered")
        await s.get("/x", "x-log: yes", to="filtered")

    async with s.logging(1, "by-code"), s.logging(2, "by-header"), s.logging(4, "by-node"):
        await ask()
    async with s.logging(0, "by-error"), s.logging(0, "by-text"):
        await ask()


# -- who may pass ------------------------------------------------------------------------------------------
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
CONDITIONS = {
    "method": "request.method == 'GET'",
    "header": "request.headers['x-user'] == 'alice' && request.path.startsWith('/header')",
    "either": "request.headers['x-user'] == 'alice' || request.headers['x-admin'] == 'yes'",
    "present": "'x-user' in request.headers",
    "has": "has(request.headers.origin)",
    "number": "request.size",
    "node": "xds.node.id == 'node-1'",
    "route": "xds.route_name == 'route' && xds.virtual_host_name == 'vh'",
    "cluster": "xds.cluster_name == 'app'",
    "response": "response.code == 200",
    "state": "metadata.filter_metadata.dyn.num >= 5.0",
    "source": "source.address.startsWith('127.0.0.1') && !connection.mtls",
    "concat": "request.path + 'x' == '/concat/x'",
    "in": "request.headers['x-user'] in ['alice', 'bob']",
    "late": "request.time < timestamp('2024-01-01T00:00:00Z')",
    "regex": "request.path.matches('^/regex/[0-9]+$')",
}


def condition(text: str, **more: Any) -> dict[str, Any]:
    return {
        "policies": {
            "p": {
                "permissions": [{"any": True}],
                "principals": [{"any": True}],
                "condition": tree(text),
                **more,
            }
        }
    }


def on_route(path: str, rbac: dict[str, Any]) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
    return {
        "match": {"prefix": f"/{path}/"},
        "name": "route",
        "route": {"cluster": "app"},
        "typed_per_filter_config": {"rbac": {"@type": kind, "rbac": rbac}},
    }


def cel_match(expression: dict[str, Any]) -> dict[str, Any]:
    typed = {"@type": "type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput"}
    matcher = {"@type": "type.googleapis.com/xds.type.matcher.v3.CelMatcher", "expr_match": expression}
    return {
        "single_predicate": {
            "input": {"name": "i", "typed_config": typed},
            "custom_match": {"name": "m", "typed_config": matcher},
        }
    }


def allow(expression: dict[str, Any]) -> dict[str, Any]:
    action = {"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": "it", "action": "ALLOW"}
    on_match = {"action": {"name": "a", "typed_config": action}}
    return {
        "matcher": {
            "matcher_list": {"matchers": [{"predicate": cel_match(expression), "on_match": on_match}]}
        }
    }


USER = "request.headers['x-user'] == 'alice'"
FORMS = {
    "parsed": {"cel_expr_parsed": {"expr": tree(USER)}},
    "checked": {"cel_expr_checked": {"expr": tree(USER)}},
    "alpha-parsed": {"parsed_expr": {"expr": tree(USER)}},
    "alpha-checked": {"checked_expr": {"expr": tree(USER)}},
    "both": {"cel_expr_string": "true", "cel_expr_parsed": {"expr": tree("false")}},
}
TO_APP = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
RBAC_ROUTES = [
    *(on_route(name, {"rules": condition(text)}) for name, text in CONDITIONS.items()),
    on_route("unchecked", {"rules": condition("true", checked_condition={"expr": tree("false")})}),
    on_route(
        "string-config",
        {
            "rules": condition(
                "request.path + 'x' == '/string-config/x'", cel_config={"enable_string_concat": True}
            )
        },
    ),
    *(on_route(name, allow(expression)) for name, expression in FORMS.items()),
    TO_APP,
]
NETWORK = {
    "tcp-ok": "source.address.startsWith('127.') && connection.id > 0u && !connection.mtls",
    "tcp-no": "request.method == 'GET'",
    "tcp-head": "size(request.headers) == 0 && destination.port > 0",
}


def tcp(name: str, text: str) -> dict[str, Any]:
    rbac = {"@type": NETWORK_RBAC, "stat_prefix": f"{name}.", "rules": condition(text)}
    out = listener(
        name, dumped(route_config={"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [TO_APP]}]})
    )
    out["filter_chains"][0]["filters"].insert(0, {"name": "rbac", "typed_config": rbac})
    return out


DENIED = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"
LIMITED = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"


def expr(key: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
    how = more if text is None else {"text": text, **more}
    return {"extension": {"name": "e", "typed_config": {"@type": kind, "descriptor_key": key, **how}}}


BUCKET = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
LIMIT_ROUTES = [
    {
        "match": {"prefix": f"/{name}/"},
        "route": {"cluster": "app", "rate_limits": [{"actions": actions}]},
        "typed_per_filter_config": {
            "limit": {
                "@type": LIMITED,
                "stat_prefix": name,
                "token_bucket": {**BUCKET, "max_tokens": 1000},
                "filter_enabled": {"default_value": {"numerator": 100}},
                "filter_enforced": {"default_value": {"numerator": 100}},
                "descriptors": [{"entries": entries, "token_bucket": BUCKET}],
            }
        },
    }
    for name, actions, entries in (
        ("text", [expr("k", "request.method")], [{"key": "k", "value": "GET"}]),
        ("tree", [expr("k", parsed=tree("size(request.path)"))], [{"key": "k", "value": "7"}]),
        ("bool", [expr("k", "request.path == '/bool/a'")], [{"key": "k", "value": "true"}]),
        ("error", [expr("k", "request.headers['no']"), expr("l", "'x'")], [{"key": "l", "value": "x"}]),
        (
            "skip",
            [expr("k", "request.headers['no']", skip_if_error=True), expr("l", "'x'")],
            [{"key": "l", "value": "x"}],
        ),
    )
]
LIMITER = {
    "@type": LIMITED,
    "stat_prefix": "limiter",
    "token_bucket": {**BUCKET, "max_tokens": 1000},
}


def hosted(routes: list[dict[str, Any]]) -> str:
    return dumped(route_config={"virtual_hosts": [{"name": "vh", "domains": ["*"], "routes": routes}]})


ASKED = Setup(
    "cel-asked",
    bootstrap(
        [
            listener(
                "main",
                hosted(RBAC_ROUTES),
                filters=META + yaml_text.dump([{"name": "rbac", "typed_config": {"@type": RBAC}}]),
                log=DENIED,
            ),
            listener(
                "limits",
                hosted(LIMIT_ROUTES),
                filters=yaml_text.dump([{"name": "limit", "typed_config": LIMITER}]),
            ),
            *(tcp(name, text) for name, text in NETWORK.items()),
        ],
        [cluster("app", "app")],
        NODE,
    ),
    {"app": "h1"},
)


@scenario(ASKED)
async def cel_rbac_conditions(s: Session) -> None:
    """A policy's condition; an error and what is no bool do not fit."""
    s.upstream().script = answers(ok(b"ok"))
    names = [*CONDITIONS, "unchecked", "string-config"]
    async with s.logging(len(names) * 3):
        for name in names:
            await s.get(f"/{name}/", "x-user: alice", label=f"{name} alice")
            await s.get(f"/{name}/1", "x-user: bob", "origin: o", label=f"{name} bob")
            await s.http(f"POST /{name}/ HTTP/1.1\r\nhost: a\r\nx-admin: yes\r\n\r\n", label=f"{name} post")


@scenario(ASKED)
async def cel_matcher_forms(s: Session) -> None:
    """The matcher that is an expression: as a tree and as one that was checked."""
    s.upstream().script = answers(ok(b"ok"))
    for name in FORMS:
        await s.get(f"/{name}/", "x-user: alice", label=f"{name} alice")
        await s.get(f"/{name}/", "x-user: bob", label=f"{name} bob")
        await s.get(f"/{name}/", label=f"{name} nobody")


@scenario(ASKED)
async def cel_rbac_of_connections(s: Session) -> None:
    """The network filter's condition knows of the connection alone."""
    s.upstream().script = answers(ok(b"ok"))
    for name in NETWORK:
        async with s.counting(f"{name}.rbac.allowed", f"{name}.rbac.denied"):
            client = await s.connect(name)
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            if name == "tcp-no":
                await client.closed(f"{name} closed")
            else:
                await client.reply(name)


@scenario(ASKED)
async def cel_rate_limit_descriptors(s: Session) -> None:
    """Descriptors whose entries are expressions; the second request is over the limit."""
    s.proxy.is_spent = True
    s.upstream().script = answers(ok(b"ok"))
    for name in ("text", "tree", "bool", "error", "skip"):
        for number in (1, 2):
            await s.get(f"/{name}/a", to="limits", label=f"{name} {number}")
