# ruff: noqa: E501  (a case is a line of a table; configuration text reads best unbroken)
"""What Envoy accepts is accepted and what Envoy refuses is refused, each case tried on Envoy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import pytest
from config_oracle import HCM, LUA, ROUTER, envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{HCM}
          stat_prefix: s
{hcm}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: backend}}
{routes}
          http_filters:
{filters}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/{ROUTER}
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}
{cluster}
{top}
"""


def conf(hcm: str = "", routes: str = "", filters: str = "", cluster: str = "", top: str = "") -> str:
    """A whole configuration with lines added to one of its messages."""
    return _BASE.format(
        HCM=HCM,
        ROUTER=ROUTER,
        hcm=indent(hcm, " " * 10),
        routes=indent(routes, " " * 12),
        filters=indent(filters, " " * 10),
        cluster=indent(cluster, " " * 4),
        top=top,
    )


def swap(old: str, new: str) -> str:
    """The plain configuration with one text replaced."""
    base = conf()
    assert old in base
    return base.replace(old, new, 1)


@dataclass
class Case:
    id: str
    text: str | bytes
    file: str = "c.yaml"
    overlay: str | None = None


def any_of(message: str, rest: str = "") -> str:
    return f"{{'@type': type.googleapis.com/{message}{', ' + rest if rest else ''}}}"


def lua(config: str) -> str:
    return f"- name: envoy.filters.http.lua\n  typed_config: {config}"


BOOLEANS = [
    "yes",
    "on",
    "True",
    "TRUE",
    "y",
    "n",
    "tRuE",
    "'true'",
    "'1'",
    "'yes'",
    "'t'",
    "'f '",
    "1",
    "0x1",
]
BOOLEANS += ["~", "null", "", "!!bool true", "[true]", "{a: b}"]
INTEGERS = [
    "0x10",
    "010",
    "0o10",
    "'10'",
    "1e1",
    "10.0",
    "1.5",
    "-1",
    "4294967296",
    "+5",
    "1_000",
    ".5",
    "0b11",
]
INTEGERS += [
    "'+5'",
    "'08'",
    "08",
    "' 5'",
    "'5.0'",
    "'1e1'",
    "'0x5'",
    "''",
    "-0",
    "5.0000000000000001",
    "true",
    "[5]",
    "{value: 5}",
    "{value: x}",
]
DURATIONS = [
    "5",
    "5s",
    "'5s'",
    "5.5s",
    "0.0000000001s",
    "5 s",
    "1h",
    ".5s",
    "5.s",
    "null",
    "+5s",
    "1000ms",
    "''",
]
DURATIONS += ["315576000001s", "{seconds: 5}", "{minutes: 5}"]
STRINGS = [
    "abc",
    "123",
    "yes",
    "1.5",
    "0x10",
    "null",
    "~",
    "010",
    "! 5",
    "!!str 5",
    "!!str '5'",
    "|\n  5",
    ">-\n  5",
]
STRINGS += ["[a]", "{a: b}", "&x foo", "'a'"]
ENUMS = [
    "AUTO",
    "auto",
    "0",
    "1",
    "9",
    "'HTTP1'",
    "'1'",
    "HTTP9",
    "null",
    "1.0",
    "Http1",
    "' HTTP1'",
    "-1",
    "true",
]
ENUMS += ["2147483648", "[AUTO]"]

SCALARS = [
    *(Case(f"bool {value!r}", conf(hcm=f"use_remote_address: {value}")) for value in BOOLEANS),
    *(
        Case(f"uint32 {value!r}", conf(hcm=f"http2_protocol_options: {{max_concurrent_streams: {value}}}"))
        for value in INTEGERS
    ),
    *(Case(f"duration {value!r}", conf(hcm=f"request_timeout: {value}")) for value in DURATIONS),
    *(Case(f"string {value!r}", conf(hcm=f"server_name: {value}")) for value in STRINGS),
    *(Case(f"enum {value!r}", conf(hcm=f"codec_type: {value}")) for value in ENUMS),
]

STRUCTURE = [
    Case("key twice", conf(hcm="server_name: a\nserver_name: b")),
    Case("key twice, the first one wrong", conf(hcm="server_name: 1\nserver_name: b")),
    Case("camelCase", conf(hcm="serverName: b")),
    Case("both spellings of a field", conf(hcm="server_name: a\nserverName: b")),
    Case("wrong case", conf(hcm="ServerName: b")),
    Case("extension key", conf(hcm="'[foo.bar]': b")),
    Case("number as key", conf(hcm="1: b")),
    Case("two documents", conf() + "\n---\nfoo: 1\n"),
    Case("document markers", "---\n" + conf() + "\n...\n"),
    Case("empty", ""),
    Case("comment", "# nothing\n"),
    Case("list", "- a\n"),
    Case("empty mapping", "{}"),
    Case("scalar", "abc"),
    Case("not YAML", "a: [b\n"),
    Case("tab", conf().replace("    address", "\taddress")),
    Case("anchor and alias", conf(hcm="server_name: &x foo\nvia: *x")),
    Case("alias to nothing", conf(hcm="server_name: *nope")),
    Case("merge key", conf(hcm="<<: {server_name: abc}")),
    Case("ignored entry", conf(top="!ignore foo: {a: 1}")),
    Case("anchor in an ignored entry", "!ignore x: &n foo\n" + conf(hcm="server_name: *n")),
    Case("null for a list", conf(routes="request_headers_to_remove: null")),
    Case("value for a list", conf(routes="request_headers_to_remove: abc")),
    Case("null in a list", swap('domains: ["*"]', 'domains: [null, "*"]')),
    Case(
        "null in a list of messages",
        swap('- match: {prefix: "/"}', '- null\n              - match: {prefix: "/"}'),
    ),
    Case("mapping for a list of strings", conf(routes="request_headers_to_remove: {a: b}")),
    Case("list in a list", swap('domains: ["*"]', 'domains: [["*"]]')),
    Case("one message for a list", swap('- match: {prefix: "/"}', '  match: {prefix: "/"}')),
    Case("string for a message", conf(hcm="http2_protocol_options: abc")),
    Case("empty string for a message", conf(hcm="http2_protocol_options: ''")),
    Case("list for a message", conf(hcm="http2_protocol_options: []")),
    Case("both members of a oneof", conf(hcm="rds: {route_config_name: a, config_source: {ads: {}}}")),
    Case("second member of a oneof null", conf(hcm="rds: null")),
    Case(
        "route and redirect",
        swap("route: {cluster: backend}", "route: {cluster: backend}\n                redirect: {}"),
    ),
    Case(
        "any value in a struct",
        conf(top="node: {metadata: {a: null, b: [1, null, [2]], c: 1.5, d: {e: yes}}}"),
    ),
    Case("string for a struct", conf(top="node: {metadata: abc}")),
    Case("nested 90 deep", conf(top="node: {metadata: {a: " + "[" * 90 + "1" + "]" * 90 + "}}")),
    Case("nested 120 deep", conf(top="node: {metadata: {a: " + "[" * 120 + "1" + "]" * 120 + "}}")),
    Case("unknown field at the top", conf(top="foo: 1")),
    Case("not UTF-8", conf(hcm='server_name: "XX"').encode().replace(b"XX", b"\xff\xfe")),
    Case("byte order mark", b"\xef\xbb\xbf" + conf().encode()),
    Case("required field missing", swap("          stat_prefix: s\n", "")),
]

FILES = [
    Case("json", '{"admin": {}, "static_resources": {"listeners": []}}', "c.json"),
    Case("json key twice", '{"node": {"id": "a", "id": "b"}}', "c.json"),
    Case("json trailing comma", '{"node": {"id": "a",},}', "c.json"),
    Case("json single quotes", "{'node': {'id': 'a'}}", "c.json"),
    Case("json bare keys", "{node: {id: 'a'}}", "c.json"),
    Case("json comment", "// x\n{}", "c.json"),
    Case("json leading zero", '{"stats_flush_interval": 010}', "c.json"),
    Case("json text after it", "{} x", "c.json"),
    Case("json list", "[]", "c.json"),
    Case("json wrong type", '{"node": {"id": 5}}', "c.json"),
    Case("json escapes", '{"node": {"id": "\\u0041\\n"}}', "c.json"),
    Case("json bad escape", '{"node": {"id": "\\x"}}', "c.json"),
    Case("yaml in a file of another name", "admin: {}\n", "c.conf"),
    Case("json in a file of another name", '{"admin": {}}\n', "c.conf"),
    Case("upper-case ending", "admin: {}\n", "c.YML"),
    Case("text protobuf", 'node { id: "a" }\n', "c.pb_text"),
    Case("text protobuf with an unknown field", 'node { idx: "a" }\n', "c.pb_text"),
    Case("text protobuf under another name", 'node { id: "a" }\n', "c.textproto"),
    Case("binary protobuf", b"\x0a\x03\x0a\x01a", "c.pb"),
    Case("no binary protobuf", b"garbage\n", "c.pb"),
    Case("overlay", conf(), overlay="node: {id: x, cluster: b}"),
    Case("overlay with a mistake", conf(), overlay="nde: {id: x}"),
    Case("overlay with a boolean for a string", conf(), overlay="node: {id: x, cluster: y}"),
    Case(
        "overlay that adds a cluster twice", conf(), overlay="static_resources: {clusters: [{name: backend}]}"
    ),
]

_TS = "type_url: type.googleapis.com/"
_NODE = "envoy.config.core.v3.Node"
EXTENSIONS = [
    Case("no type", conf(filters=lua("{a: b}"))),
    Case("empty any", conf(filters=lua("{}"))),
    Case("null any", conf(filters=lua("null"))),
    Case("no typed_config", conf(filters="- name: envoy.filters.http.lua")),
    Case("unknown type", conf(filters=lua(any_of("a.b.C")))),
    Case("type of no extension", conf(filters=lua(any_of(_NODE)))),
    Case("type without host", conf(filters=lua(f"{{'@type': {LUA}}}"))),
    Case("type with another host", conf(filters=lua(f"{{'@type': foo.com/{LUA}}}"))),
    Case("type that is a number", conf(filters=lua("{'@type': 1}"))),
    Case("string for an any", conf(filters=lua("abc"))),
    Case("type of the v2 API", conf(filters=lua(any_of("envoy.config.filter.http.lua.v2.Lua")))),
    Case("another name", conf(filters="- name: foo\n  typed_config: " + any_of(LUA))),
    Case("no name", conf(filters="- typed_config: " + any_of(LUA))),
    Case("optional and unknown", conf(filters="- name: abc\n  is_optional: true")),
    Case(
        "optional of no extension",
        conf(filters=f"- name: abc\n  is_optional: true\n  typed_config: {any_of(_NODE)}"),
    ),
    Case("disabled and unknown", conf(filters="- name: abc\n  disabled: true")),
    *(
        case
        for kind in ("xds.type.v3", "udpa.type.v1")
        for case in (
            Case(
                f"{kind} struct",
                conf(filters=lua(any_of(f"{kind}.TypedStruct", f"{_TS}{LUA}, value: {{stat_prefix: a}}"))),
            ),
            Case(
                f"{kind} unknown field",
                conf(filters=lua(any_of(f"{kind}.TypedStruct", f"{_TS}{LUA}, value: {{statprefix: a}}"))),
            ),
            Case(
                f"{kind} unknown type",
                conf(filters=lua(any_of(f"{kind}.TypedStruct", f"{_TS}foo, value: {{a: b}}"))),
            ),
            Case(f"{kind} no type", conf(filters=lua(any_of(f"{kind}.TypedStruct", "value: {}")))),
        )
    ),
    Case("terminal filter in the middle", conf(filters="- name: r\n  typed_config: " + any_of(ROUTER))),
    Case("no terminal filter", conf().replace(ROUTER, LUA)),
    Case(
        "raw_buffer without typed_config",
        conf(cluster="transport_socket: {name: envoy.transport_sockets.raw_buffer}"),
    ),
    Case("tracer without typed_config", conf(hcm="tracing: {provider: {name: envoy.tracers.zipkin}}")),
    Case("access log without typed_config", conf(hcm="access_log: [{name: envoy.access_loggers.stdout}]")),
    Case(
        "listener filter without typed_config",
        swap("    filter_chains:\n", "    listener_filters: [{name: foo}]\n    filter_chains:\n"),
    ),
    Case(
        "upstream TLS on a listener",
        swap(
            "    - filters:",
            "    - transport_socket: {name: x, typed_config: "
            + any_of("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
            + "}\n      filters:",
        ),
    ),
    Case(
        "route filter of another name",
        swap(
            'domains: ["*"]',
            f'domains: ["*"]\n              typed_per_filter_config: {{foo: {any_of(LUA + "PerRoute", "disabled: true")}}}',
        ),
    ),
    Case(
        "route filter of no extension",
        swap(
            'domains: ["*"]',
            f'domains: ["*"]\n              typed_per_filter_config: {{foo: {any_of(_NODE)}}}',
        ),
    ),
    Case(
        "protocol options of no extension",
        conf(cluster=f"typed_extension_protocol_options: {{a: {any_of(_NODE)}}}"),
    ),
]

_CHAIN = "    filter_chains: [{}]\n"


def listener(name: str, port: int, more: str = _CHAIN) -> str:
    address = f"    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n"
    return swap("  listeners:\n", f"  listeners:\n  - name: {name}\n{address if port >= 0 else ''}{more}")


LISTENERS = [
    Case("no chains", listener("x", 0, "    filter_chains: []\n")),
    Case("chain without filters", listener("x", 0)),
    Case("no address", listener("x", -1)),
    Case("no IP address", swap("address: 127.0.0.1, port_value: 0", "address: foo.bar, port_value: 0")),
    Case("no port", swap("address: 127.0.0.1, port_value: 0", "address: 127.0.0.1")),
    Case("port out of range", swap("port_value: 0", "port_value: 65536")),
    Case("named port", swap("port_value: 0", "named_port: http")),
    Case("equal chains", swap("    - filters:\n", "    - filters: []\n    - filters:\n")),
    Case("equal matches", swap("    - filters:", "    - filter_chain_match: {server_names: [a]}\n    - filter_chain_match: {server_names: [a]}\n      filters:")),
    Case("chains of one name", swap("    - filters:", "    - {name: a, filter_chain_match: {destination_port: 4}}\n    - name: a\n      filters:")),
    Case("same address twice", swap("  listeners:\n", f"  listeners:\n  - name: a\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 18071}}}}\n{_CHAIN}  - name: b\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 18071}}}}\n{_CHAIN}")),
    Case("nameless listeners", swap("  listeners:\n", f"  listeners:\n  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n{_CHAIN}  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n{_CHAIN}")),
    Case("TLS without certificate", swap("    - filters:", "    - transport_socket: {name: x, typed_config: " + any_of("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext") + "}\n      filters:")),
    Case("HTTP manager not last", swap("      - name: envoy.filters.network.http", "      - name: e\n        typed_config: " + any_of("envoy.extensions.filters.network.echo.v3.Echo") + "\n      - name: envoy.filters.network.http")),
]  # fmt: skip

_ROUTE = "route: {cluster: backend}"
_MATCH = 'match: {prefix: "/"}'
_DOMAINS = 'domains: ["*"]'


def at_host(lines: str) -> str:
    return swap(_DOMAINS, f"{_DOMAINS}\n              {lines}")


ROUTES = [
    Case("unknown cluster", swap(_ROUTE, "route: {cluster: backnd}")),
    Case("unknown weighted cluster", swap(_ROUTE, "route: {weighted_clusters: {clusters: [{name: x, weight: 1}]}}")),
    Case("unknown shadow cluster", swap(_ROUTE, "route: {cluster: backend, request_mirror_policies: [{cluster: x}]}")),
    Case("unknown cluster, not validated", conf(routes="validate_clusters: false").replace("cluster: backend}", "cluster: x}", 1)),
    Case("weights of nothing", swap(_ROUTE, "route: {weighted_clusters: {clusters: [{name: backend, weight: 0}]}}")),
    Case("cluster by header", swap(_ROUTE, "route: {cluster_header: x}")),
    Case("empty cluster", swap(_ROUTE, "route: {cluster: ''}")),
    Case("no action", swap(_ROUTE, "name: x")),
    Case("no match", swap(_MATCH, "name: x")),
    Case("empty match", swap(_MATCH, "match: {}")),
    Case("bad regex", swap(_MATCH, "match: {safe_regex: {regex: '(('}}")),
    Case("look-ahead", swap(_MATCH, "match: {safe_regex: {regex: '(?!a)'}}")),
    Case("empty regex", swap(_MATCH, "match: {safe_regex: {regex: ''}}")),
    Case("bad header regex", swap(_MATCH, "match: {prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: '(('}}}]}")),
    Case("two wildcards", swap(_DOMAINS, "domains: ['*', '*']")),
    Case("domain twice", swap(_DOMAINS, "domains: [a.b, A.B]")),
    Case("domain in two hosts", swap("            virtual_hosts:\n", "            virtual_hosts:\n            - {name: x, domains: ['*']}\n")),
    Case("two hosts of one name", swap("            virtual_hosts:\n", "            virtual_hosts:\n            - {name: all, domains: [x]}\n")),
    Case("star in the middle", swap(_DOMAINS, "domains: ['a*b']")),
    Case("no domains", swap(_DOMAINS, "domains: []")),
    Case("empty domain", swap(_DOMAINS, "domains: ['']")),
    Case("status too small", swap(_ROUTE, "direct_response: {status: 99}")),
    Case("status too large", swap(_ROUTE, "direct_response: {status: 600}")),
    Case("body from no file", swap(_ROUTE, "direct_response: {status: 200, body: {filename: /nonexistent}}")),
    Case("body too long", swap(_ROUTE, f"direct_response: {{status: 200, body: {{inline_string: {'a' * 5000}}}}}")),
    Case("header without name", at_host("request_headers_to_add: [{header: {key: '', value: x}}]")),
    Case("header :path", at_host("request_headers_to_add: [{header: {key: ':path', value: x}}]")),
    Case("header host", at_host("request_headers_to_add: [{header: {key: Host, value: x}}]")),
    Case("header host removed", at_host("request_headers_to_remove: [host]")),
    Case("header :path removed", at_host("request_headers_to_remove: [':path']")),
    Case("header with a line end", at_host('request_headers_to_add: [{header: {key: a, value: "x\\ny"}}]')),
    Case("field no longer allowed", swap(_ROUTE, "route: {cluster: backend, rate_limits: [{actions: [{dynamic_metadata: {descriptor_key: a, metadata_key: {key: b, path: [{key: c}]}}}]}]}")),
]  # fmt: skip


def second(fields: str) -> str:
    return swap("  clusters:\n", f"  clusters:\n  - {{name: two, {fields}}}\n")


_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CHECK = "timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1"


def grpc_api(cluster: str) -> str:
    return (
        "{resource_api_version: V3, api_config_source: {api_type: GRPC, transport_api_version: V3,"
        f" grpc_services: [{{envoy_grpc: {{cluster_name: {cluster}}}}}]}}}}"
    )


_NAMED = "node: {id: a, cluster: b}\n"
_STATSD = "envoy.config.metrics.v3.StatsdSink"


def rds(source: str) -> str:
    start = conf().index("          route_config:")
    end = conf().index("          http_filters:")
    return (
        conf()[:start] + f"          rds: {{route_config_name: a, config_source: {source}}}\n" + conf()[end:]
    )


CLUSTERS = [
    Case("same name twice", second("type: STATIC").replace("name: two", "name: backend")),
    Case("cluster without type", second("connect_timeout: 1s")),
    Case("cluster without name", second("type: STATIC").replace("name: two", "name: ''")),
    Case("STATIC without endpoints", second("type: STATIC")),
    Case("STRICT_DNS without endpoints", second("type: STRICT_DNS")),
    Case("LOGICAL_DNS without endpoints", second("type: LOGICAL_DNS")),
    Case("LOGICAL_DNS with two endpoints", swap("    type: STATIC\n", "    type: LOGICAL_DNS\n").replace("      - lb_endpoints:\n", "      - lb_endpoints:\n        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}\n")),
    Case("STATIC with a host name", swap("address: 127.0.0.1, port_value: 1}", "address: foo, port_value: 1}")),
    Case("assignment without name", swap("      cluster_name: backend\n", "")),
    Case("assignment of another name", swap("      cluster_name: backend\n", "      cluster_name: other\n")),
    Case("EDS without source", second("type: EDS")),
    Case("EDS without node", second(f"type: EDS, eds_cluster_config: {{eds_config: {grpc_api('backend')}}}")),
    Case("EDS", _NAMED + second(f"type: EDS, eds_cluster_config: {{eds_config: {grpc_api('backend')}}}")),
    Case("connect_timeout of nothing", conf(cluster="connect_timeout: 0s")),
    Case("CLUSTER_PROVIDED", conf(cluster="lb_policy: CLUSTER_PROVIDED")),
    Case("RING_HASH", conf(cluster="lb_policy: RING_HASH")),
    Case("options without protocol", conf(cluster=f"typed_extension_protocol_options: {{{_HTTP}: {any_of(_HTTP)}}}")),
    Case("explicit options without protocol", conf(cluster=f"typed_extension_protocol_options: {{{_HTTP}: {any_of(_HTTP, 'explicit_http_config: {}')}}}")),
    Case("gRPC health check over HTTP/1", conf(cluster=f"health_checks: [{{{_CHECK}, grpc_health_check: {{}}}}]")),
    Case("gRPC health check over HTTP/2", conf(cluster=f"http2_protocol_options: {{}}\nhealth_checks: [{{{_CHECK}, grpc_health_check: {{}}}}]")),
    Case("health check without times", conf(cluster="health_checks: [{tcp_health_check: {}}]")),
    Case("payload not hexadecimal", conf(cluster=f"health_checks: [{{{_CHECK}, tcp_health_check: {{send: {{text: zz}}}}}}]")),
    Case("payload of odd length", conf(cluster=f"health_checks: [{{{_CHECK}, tcp_health_check: {{send: {{text: abc}}}}}}]")),
    Case("statuses upside down", conf(cluster=f"health_checks: [{{{_CHECK}, http_health_check: {{path: /, expected_statuses: [{{start: 300, end: 200}}]}}}}]")),
    Case("local cluster unknown", conf(top="cluster_manager: {local_cluster_name: nope}")),
    Case("local cluster", conf(top="cluster_manager: {local_cluster_name: backend}")),
    Case("statsd to an unknown cluster", conf(top=f"{_NAMED}stats_sinks: [{{name: x, typed_config: {any_of(_STATSD, 'tcp_cluster_name: nope')}}}]")),
    Case("statsd without node", conf(top=f"stats_sinks: [{{name: x, typed_config: {any_of(_STATSD, 'tcp_cluster_name: backend')}}}]")),
    Case("statsd with half a node", conf(top=f"node: {{id: a}}\nstats_sinks: [{{name: x, typed_config: {any_of(_STATSD, 'tcp_cluster_name: backend')}}}]")),
    Case("statsd over UDP without node", conf(top=f"stats_sinks: [{{name: x, typed_config: {any_of(_STATSD, 'address: {socket_address: {address: 127.0.0.1, port_value: 8125}}')}}}]")),
    Case("ADS to an unknown cluster", conf(top=f"{_NAMED}dynamic_resources: {{cds_config: {{ads: {{}}, resource_api_version: V3}}, ads_config: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: nope}}}}]}}}}")),
    Case("CDS without node", conf(top="dynamic_resources: {cds_config: {ads: {}, resource_api_version: V3}}")),
    Case("CDS to an unknown cluster", conf(top=f"{_NAMED}dynamic_resources: {{cds_config: {grpc_api('nope')}}}")),
    Case("RDS without node", rds("{resource_api_version: V3, ads: {}}")),
    Case("RDS to an unknown cluster", _NAMED + rds(grpc_api("nope"))),
    Case("ext_authz to an unknown cluster", conf(filters="- name: x\n  typed_config: " + any_of("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "grpc_service: {envoy_grpc: {cluster_name: nope}}"))),
    Case("access log in no folder", conf(hcm=f"access_log: [{{name: x, typed_config: {any_of('envoy.extensions.access_loggers.file.v3.FileAccessLog', 'path: /nope/x.log')}}}]")),
    Case("access log without path", conf(hcm=f"access_log: [{{name: x, typed_config: {any_of('envoy.extensions.access_loggers.file.v3.FileAccessLog')}}}]")),
    Case("API version 2", conf(top=f"{_NAMED}dynamic_resources: {{cds_config: {{resource_api_version: V2, path_config_source: {{path: /dev/null}}}}}}")),
]  # fmt: skip

_ENDPOINT = "{address: {socket_address: {address: 127.0.0.1, port_value: 1}}}"
_ADMIN = "admin: {address: {socket_address: {address: %s}}}"


def source(fields: str, kind: str = "cds_config: {resource_api_version: V3, api_config_source: {%s}}") -> str:
    return conf(top=f"{_NAMED}dynamic_resources: {{{kind % fields}}}")


_GRPC_SERVICE = "{envoy_grpc: {cluster_name: backend}}"
MORE = [
    *(
        Case(f"{kind} endpoint {text}", conf().replace("type: STATIC", f"type: {kind}").replace(f"endpoint: {_ENDPOINT}", text))
        for kind in ("STATIC", "STRICT_DNS", "LOGICAL_DNS")
        for text in ("{}", "endpoint: {}", "endpoint: {address: {pipe: {path: /tmp/x}}}", "endpoint_name: foo", "endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}")
    ),
    *(
        Case(f"weighted {fields}", swap(_ROUTE, f"route: {{weighted_clusters: {{clusters: [{fields}]}}}}"))
        for fields in (
            *("{name: backend, cluster_header: x, weight: 1}", "{cluster_header: x, weight: 1}", "{weight: 1}"),
            *("{name: backend}", "", "{name: backend, weight: 4294967295}, {name: backend, weight: 1}"),
        )
    ),
    Case("mirror to nothing", swap(_ROUTE, "route: {cluster: backend, request_mirror_policies: [{}]}")),
    Case("mirror twice", swap(_ROUTE, "route: {cluster: backend, request_mirror_policies: [{cluster: backend, cluster_header: a}]}")),
    *(
        Case(f"source {fields}", source(fields))
        for fields in (
            "api_type: REST, cluster_names: [backend]",
            "api_type: REST, cluster_names: [backend], refresh_delay: 1s",
            "api_type: REST, cluster_names: [nope], refresh_delay: 1s",
            f"api_type: REST, grpc_services: [{_GRPC_SERVICE}]",
            "api_type: GRPC, cluster_names: [backend]",
            "api_type: GRPC",
            f"api_type: GRPC, grpc_services: [{_GRPC_SERVICE}, {_GRPC_SERVICE}]",
            f"api_type: DELTA_GRPC, grpc_services: [{_GRPC_SERVICE}]",
            "api_type: AGGREGATED_GRPC",
            f"grpc_services: [{_GRPC_SERVICE}]",
        )
    ),
    *(
        Case(f"ads {fields}", source(fields, "ads_config: {%s}"))
        for fields in (
            "api_type: REST, cluster_names: [backend]",
            "api_type: GRPC",
            f"api_type: GRPC, grpc_services: [{_GRPC_SERVICE}]",
            "api_type: GRPC, grpc_services: [{google_grpc: {target_uri: 'x:1', stat_prefix: a}}]",
            f"grpc_services: [{_GRPC_SERVICE}]",
        )
    ),
    Case("admin at a host name", conf(top=_ADMIN % "localhost, port_value: 0")),
    Case("admin at a named port", conf(top=_ADMIN % "127.0.0.1, named_port: a")),
    Case("admin at an IPv6 address", conf(top=_ADMIN % "'::1', port_value: 0")),
    Case("two client certificates", conf(cluster="transport_socket: {name: t, typed_config: " + any_of("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context: {tls_certificates: [{}, {}]}") + "}")),
]  # fmt: skip

_FORMATTER = "header_key_format: {stateful_formatter: {%s}}"
_PRESERVE = "name: envoy.http.stateful_header_formatters.preserve_case, typed_config: "
_PRESERVE_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def upstream_http1(options: str, common: str = "") -> str:
    fields = f"explicit_http_config: {{http_protocol_options: {{{options}}}}}, common_http_protocol_options: {{{common}}}"
    return conf(cluster=f"typed_extension_protocol_options: {{{_OPTIONS}: {any_of(_OPTIONS, fields)}}}")


HTTP1 = [
    *(
        Case(f"http1 {options}", conf(hcm=f"http_protocol_options: {{{options}}}"))
        for options in (
            "header_key_format: {}",
            _FORMATTER % "name: envoy.http.stateful_header_formatters.preserve_case",
            _FORMATTER % (_PRESERVE + any_of(_PRESERVE_CASE)),
            _FORMATTER % (_PRESERVE + any_of(_PRESERVE_CASE, "formatter_type_on_envoy_headers: 7")),
            _FORMATTER % (_PRESERVE + any_of("envoy.extensions.filters.http.lua.v3.Lua")),
            _FORMATTER % f"name: mine, typed_config: {any_of(_PRESERVE_CASE)}",
            "ignore_http_11_upgrade: [{}]",
            "ignore_http_11_upgrade: [{safe_regex: {regex: '('}}]",
            "use_balsa_parser: false",
            "default_host_for_http_10: 'a b'",
        )
    ),
    *(
        Case(f"http1 {fields}", conf(hcm=fields))
        for fields in (
            "common_http_protocol_options: {max_headers_count: 0}",
            "common_http_protocol_options: {max_response_headers_kb: 10}",
            "max_request_headers_kb: 0",
            "max_request_headers_kb: 8192",
            "max_request_headers_kb: 8193",
        )
    ),
    *(Case(f"http1 upstream {common}", upstream_http1("", common)) for common in ("max_headers_count: 0", "max_response_headers_kb: 8192", "max_response_headers_kb: 8193")),
    Case("http1 upstream regex", upstream_http1("ignore_http_11_upgrade: [{safe_regex: {regex: '('}}]")),
    Case("http1 of the cluster itself", conf(cluster="http_protocol_options: {enable_trailers: true}")),
]  # fmt: skip

_CODEC = any_of("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
_UPSTREAM_LISTS = {
    "empty": "",
    "the codec alone": f"{{name: c, typed_config: {_CODEC}}}",
    "lua": f"{{name: l, typed_config: {any_of(LUA)}}}, {{name: c, typed_config: {_CODEC}}}",
    "twice": f"{{name: l, typed_config: {any_of(LUA)}}}, {{name: l, typed_config: {any_of(LUA)}}}, {{name: c, typed_config: {_CODEC}}}",
    "no codec": f"{{name: l, typed_config: {any_of(LUA)}}}",
    "codec first": f"{{name: c, typed_config: {_CODEC}}}, {{name: l, typed_config: {any_of(LUA)}}}",
    "codec twice": f"{{name: c, typed_config: {_CODEC}}}, {{name: c, typed_config: {_CODEC}}}",
    "codec off": f"{{name: c, typed_config: {_CODEC}, disabled: true}}",
    "off": f"{{name: l, typed_config: {any_of(LUA)}, disabled: true}}, {{name: c, typed_config: {_CODEC}}}",
    "router": f"{{name: r, typed_config: {any_of(ROUTER)}}}",
    "cors": f"{{name: r, typed_config: {any_of('envoy.extensions.filters.http.cors.v3.Cors')}}}, {{name: c, typed_config: {_CODEC}}}",
    "optional cors": f"{{name: r, is_optional: true, typed_config: {any_of('envoy.extensions.filters.http.cors.v3.Cors')}}}, {{name: c, typed_config: {_CODEC}}}",
}
UPSTREAM_FILTERS = [
    *(
        Case(
            f"upstream filters of a cluster {name}",
            conf(
                cluster=f"typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{http_protocol_options: {{}}}}, http_filters: [{entries}]}}}}"
            ),
        )
        for name, entries in _UPSTREAM_LISTS.items()
    ),
    *(
        Case(
            f"upstream filters of a router {name}",
            swap(
                f'typed_config:\n              "@type": type.googleapis.com/{ROUTER}',
                f"typed_config: {any_of(ROUTER, f'upstream_http_filters: [{entries}]')}",
            ),
        )
        for name, entries in _UPSTREAM_LISTS.items()
    ),
    Case("upstream codec in a connection manager", conf(filters=f"- {{name: c, typed_config: {_CODEC}}}")),
]
CASES = (
    UPSTREAM_FILTERS + HTTP1 + MORE + SCALARS + STRUCTURE + FILES + EXTENSIONS + LISTENERS + ROUTES + CLUSTERS
)


def test_cases_have_names_of_their_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    assert len(CASES) > 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_configuration_gets_envoys_verdict(case: Case, tmp_path: Path) -> None:
    file = tmp_path / case.file
    file.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    theirs = envoy_verdict(file, *(("--config-yaml", case.overlay) if case.overlay is not None else ()))
    ours = our_verdict(file, case.overlay)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"


@pytest.mark.parametrize(
    "text",
    [conf(top="foo: 1"), conf(hcm="codec_type: HTTP9"), conf(hcm="foo: {a: 1}")],
    ids=["top", "enum", "any"],
)
def test_unknown_field_with_the_flag_is_accepted_as_by_envoy(text: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert envoy_verdict(file, "--allow-unknown-static-fields").accepted
    ours = our_verdict(file, allow_unknown_static_fields=True)
    assert ours.accepted
    assert "has no " in ours.text
