# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The conformance guest asks for every attribute, in every phase of requests and connections."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from wasm_abi.pairs import decode_pairs

from ..configuration import bootstrap, cluster, listener, parse
from ..guest_log import guest_lines, guest_log
from ..guest_scripts import guest, modules
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, connect_tls, downstream, pki, server_context
from ..upstream import answers, ok
from ..wire import head
from .tls_upstream import socket
from .wasm_network import NETWORK
from .wasm_places import LOGGER, TCP_PROXY

SUBJECT = "wasm"

#: Segments are joined by dots here, and by NUL in the script.
REQUEST = (
    "path url_path host scheme method referer useragent id protocol query headers headers.x-in headers.X-In "
    "headers.absent headers.x-twice headers.:path time size total_size headers_bytes duration nothing path.deeper"
)
RESPONSE = (
    "code code_details flags grpc_status headers headers.x-up headers.:status trailers trailers.x size "
    "total_size headers_bytes backend_latency nothing"
)
TLS = (
    "tls_version subject_local_certificate subject_peer_certificate dns_san_local_certificate "
    "dns_san_peer_certificate uri_san_local_certificate uri_san_peer_certificate "
    "sha256_peer_certificate_digest peer_certificate transport_failure_reason"
)
CONNECTION = f"id mtls requested_server_name termination_details nothing {TLS}"
UPSTREAM = (
    "address port local_address locality locality.zone locality.region num_endpoints "
    f"request_attempt_count cx_pool_ready_duration nothing {TLS}"
)
XDS = (
    "node node.id node.cluster node.metadata node.metadata.text node.metadata.number node.metadata.flag "
    "node.metadata.deep node.metadata.deep.er node.metadata.list node.metadata.list.0 node.metadata.list.9 "
    "node.metadata.list.x node.metadata.nothing node.metadata.null node.locality node.locality.zone "
    "node.nothing node.client_features node.dynamic_parameters node.dynamic_parameters.x node.user_agent_name.x "
    "cluster_name cluster_metadata cluster_metadata.filter_metadata.of.cluster route_name route_metadata "
    "route_metadata.filter_metadata route_metadata.filter_metadata.of route_metadata.filter_metadata.of.route "
    "route_metadata.typed_filter_metadata "
    "virtual_host_name virtual_host_metadata virtual_host_metadata.filter_metadata.of.host "
    "upstream_host_metadata upstream_host_metadata.filter_metadata.of.endpoint "
    "upstream_host_locality_metadata upstream_host_locality_metadata.filter_metadata.of.locality "
    "filter_chain_name listener_metadata listener_metadata.filter_metadata.of.listener listener_direction nothing"
)
TOP = (
    "plugin_name plugin_root_id plugin_vm_id plugin_name.deeper connection_id node node.id node.metadata "
    "cluster_name cluster_metadata route_name route_metadata listener_direction listener_metadata "
    "upstream_host_metadata filter_chain_name request response connection source destination upstream xds "
    "metadata metadata.filter_metadata metadata.filter_metadata.set metadata.filter_metadata.set.text "
    "metadata.filter_metadata.set.number metadata.filter_metadata.set.deep.er metadata.filter_metadata.nothing "
    "metadata.typed_filter_metadata metadata.nothing "
    "filter_state filter_state.by.network filter_state.by_network filter_state.nothing "
    "filter_state.wasm.own upstream_filter_state upstream_filter_state.by_network "
    "source.address source.port source.nothing destination.address destination.port nothing own own.deeper"
)


def _paths() -> list[str]:
    found = []
    for root, names in (
        ("request", REQUEST),
        ("response", RESPONSE),
        ("connection", CONNECTION),
        ("upstream", UPSTREAM),
        ("xds", XDS),
        ("", TOP),
    ):
        found += [f"{root}.{name}" if root else name for name in names.split()]
    return found


def _asks(paths: list[str]) -> str:
    lines = []
    for path in paths:
        words = path.replace(".by_network", ".by.network").split(".")
        if path == "filter_state.wasm.own":
            words = ["filter_state", "wasm.own"]
        if path.endswith("by_network"):
            words = [words[0], "by.network"]
        joined = "\\0".join(words)
        lines.append(f'get_property "{joined}"')
    return "\n".join(lines)


ALL = _asks(_paths())
STREAM = f"""
@on_configure
{ALL}
@on_request_headers:all
set_property "own" "mine"
{ALL}
@on_response_headers:all
{ALL}
@on_response_body:all
end? get_property "request\\0size"
@on_log:all
{ALL}
@on_done:all
{ALL}
@on_delete:all
{_asks(["request.path", "response.code", "plugin_name", "xds.route_name", "own"])}
@on_log:end
{ALL}
@on_request_headers:call
http_call "plain" [:method: GET, :path: /call, :authority: a] "" "" 1000
return 1
@on_http_call_response:call
{_asks(["request.path", "plugin_name", "xds.node.id", "connection.id", "source.address"])}
set_effective_context $context
{_asks(["request.path", "plugin_name", "xds.node.id", "xds.route_name"])}
continue_stream 0
@on_request_headers:odd
get_property ""
get_property "\\0"
get_property "request"
get_property "request\\0"
get_property "request\\0path\\0"
get_property "request\\0path\\0\\0"
get_property "\\0request\\0path"
get_property "request\\0\\0path"
get_property "request.path"
get_property "REQUEST\\0PATH"
set_property "" "x"
set_property "\\0" "x"
set_property "a\\0b" "two"
get_property "a\\0b"
get_property "a"
get_property "filter_state\\0wasm.a\\0b"
set_property "request\\0path" "no"
get_property "request\\0path"
set_property "plugin_name" "no"
get_property "plugin_name"
set_property "one" "first"
set_property "one" "second"
get_property "one"
get_property "one\\0"
set_property "empty" ""
get_property "empty"
get_property "xds\\0node\\0metadata\\0deep\\0"
get_property "request\\0headers\\0x-case\\0"
"""
TCP = f"""
@on_configure
{ALL}
@on_new_connection
{ALL}
@on_downstream_data
set_property "own" "mine"
{ALL}
@on_upstream_data
{ALL}
@on_downstream_connection_close
{ALL}
@on_log
{ALL}
"""
LOGS = f"""
@on_configure
{_asks(["plugin_name", "xds.node.id"])}
@on_log
{ALL}
set_property "by.logger" "x"
"""
NODE = """
node:
  id: node-1
  cluster: cluster-1
  locality: {region: here, zone: zone-1}
  metadata: {text: t, number: 1.5, flag: true, deep: {er: down}, list: [a, 2], "null": null}
"""
ROUTES = """
- {match: {prefix: /direct}, name: direct, direct_response: {status: 200}}
- match: {prefix: /a}
  name: the-route
  metadata: {filter_metadata: {of: {route: r}}}
  route: {cluster: app}
"""
SET_METADATA = """
- name: set
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata:
    - {metadata_namespace: set, value: {text: t}, allow_overwrite: true}
"""
SET_STATE = {
    "name": "state",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
        "on_new_connection": [
            {
                "object_key": "by.network",
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": "state"}},
            }
        ],
    },
}
METADATA = {"filter_metadata": {"of": {"listener": "l"}}}


def _described(made: dict[str, Any]) -> dict[str, Any]:
    """The listener, its chain and its hosts with everything that attributes tell of them."""
    made["metadata"] = METADATA
    made["traffic_direction"] = "INBOUND"
    chain = made["filter_chains"][0]
    chain["name"] = "the-chain"
    chain["filters"].insert(0, SET_STATE)
    return made


def _cluster(name: str, upstream: str) -> dict[str, Any]:
    made = cluster(name, upstream)
    made["metadata"] = {"filter_metadata": {"of": {"cluster": "c"}}}
    place = made["load_assignment"]["endpoints"][0]
    place["locality"] = {"region": "there", "zone": "zone-2"}
    place["metadata"] = {"filter_metadata": {"of": {"locality": "y"}}}
    place["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"of": {"endpoint": "e"}}}
    return made


def _plugin(name: str, script: str) -> dict[str, Any]:
    return parse(guest(name, script, vm="vm_id: the-vm"))[0]["typed_config"]["config"]


def _http(name: str) -> dict[str, Any]:
    made = _described(
        listener(name, routes=ROUTES, filters=SET_METADATA + guest(name, STREAM, vm="vm_id: the-vm"))
    )
    manager = made["filter_chains"][0]["filters"][1]["typed_config"]
    manager["http_filters"][-1]["typed_config"]["suppress_envoy_headers"] = True
    host = manager["route_config"]["virtual_hosts"][0]
    host["metadata"] = {"filter_metadata": {"of": {"host": "h"}}}
    logger = {"@type": LOGGER, "config": _plugin(f"{name}-log", LOGS)}
    manager["access_log"].append({"name": "envoy.access_loggers.wasm", "typed_config": logger})
    return made


def _tls() -> dict[str, Any]:
    made = _http("tls")
    trust = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}"
    made["filter_chains"][0]["transport_socket"] = downstream(trust)
    manager = made["filter_chains"][0]["filters"][1]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"][1]["route"]["cluster"] = "mutual"
    return made


def _tcp() -> dict[str, Any]:
    guarded = {"@type": NETWORK, "config": _plugin("tcp", TCP)}
    logger = {"@type": LOGGER, "config": _plugin("tcp-log", LOGS)}
    proxy = {
        "@type": TCP_PROXY,
        "stat_prefix": "tcp",
        "cluster": "raw",
        "access_log": [{"name": "envoy.access_loggers.wasm", "typed_config": logger}],
    }
    filters = [
        {"name": "envoy.filters.network.wasm", "typed_config": guarded},
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return _described({"name": "tcp", "address": address, "filter_chains": [{"filters": filters}]})


MUTUAL = _cluster("mutual", "secure")
MUTUAL["transport_socket"] = socket(
    "validation_context: {trusted_ca: {filename: FILE(root.pem)}}\n"
    "tls_certificates: [{certificate_chain: {filename: FILE(client-cert.pem)}, private_key: {filename: FILE(client-key.pem)}}]"
)
SETUP = Setup(
    "wasm-properties",
    bootstrap(
        [_http("plain"), _tls(), _tcp()],
        [_cluster("app", "app"), MUTUAL, _cluster("raw", "raw"), cluster("plain", "app")],
        NODE,
    ),
    {"app": "h1", "secure": "h1", "raw": "raw"},
    ChainMap(modules("0_2_1"), CERTIFICATES),
)

#: What is another in each run: shown by its size, or without its port.
_SIZED = re.compile(
    r"(\.time|duration|latency|\.port|connection\.id|connection_id|request\.id|xds\.node|\.x-request-id)$"
)
_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+:)\d+")
_ESCAPE = re.compile(rb"\\(?:x(..)|(.))")
_LINE = re.compile(r'^(.*)get_property "(.*?)" -> (\d+)(?: "(.*)")?$')
_VARIES = {"date", "x-request-id"}


def _alike(lines: list[str]) -> list[str]:
    """What was asked for and is not there in one line behind what is; maps in order."""
    shown: list[str] = []
    missing: dict[str, list[str]] = {}
    for line in [*lines, ""]:
        found = _LINE.match(line)
        if found is None:
            shown += [f"{status}{' '.join(paths)}" for status, paths in sorted(missing.items())]
            missing = {}
            shown.append(line)
            continue
        path = found[2].replace("\\x00", ".")
        if found[3] == "0":
            shown.append(f"{found[1]}get_property {path} -> 0 {_value(path, found[4])}")
        else:
            missing.setdefault(f"{found[1]}get_property -> {found[3]} ", []).append(path)
    return shown[:-1]


def _value(path: str, text: str) -> str:
    data = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]) if found[1] else found[2], text.encode())
    if path.endswith("xds.node"):
        return "a message"
    if _SIZED.search(path):
        return f"{len(data)} bytes"
    tree = _tree(data)
    if tree is not None:
        return str(tree)
    if data.startswith(b"-----BEGIN"):
        return "a certificate"
    return _PORT.sub(r"\1PORT", pki().hide(text))


def _tree(data: bytes) -> object:
    """A map in order of its names; None for what is none."""
    pairs = decode_pairs(data)
    if not pairs and data != bytes(4):
        return None
    found = {}
    for name, value in sorted(pairs):
        key = name.decode("latin-1")
        found[key] = "varies" if key in _VARIES else _tree(value) or value.decode("latin-1")
    return found


def _is_not_again() -> Callable[[str], bool]:
    """Whether a line is of the first time that the plugin was configured."""
    seen = []

    def check(line: str) -> bool:
        seen.append("on_configure()" in line)
        return sum(seen) < 2 and "root: " in line

    return check


async def _get(s: Session, to: str, *headers: str, path: str = "/a/b?q=1", cert: str = "client") -> None:
    context = client_context(cert)
    client = await (connect_tls(s, to, context, is_seen=False) if to == "tls" else s.connect(to))
    assert client is not None
    await client.send(head(f"GET {path} HTTP/1.1", "host: example.com", *headers))
    await client.reply()


@scenario(SETUP)
async def wasm_guest_properties(s: Session) -> None:
    """Every attribute of a request without TLS, in every phase, and of the root context."""
    s.upstream().script = answers(ok(b"answer", "x-up: 1"))
    async with (
        guest_log(s, "plain-log", "on_log", label="log of the logger", shown=_alike),
        guest_log(s, "plain", "on_delete", shown=_alike),
    ):
        headers = ("x-case: all", "x-in: in", "x-twice: 1", "x-twice: 2", "user-agent: a", "referer: r")
        await _get(s, "plain", *headers)
    for path in ("/direct", "/nowhere"):
        async with guest_log(s, "plain", "on_delete", shown=_alike, label=f"log of {path}"):
            await _get(s, "plain", "x-case: end", path=path)


@scenario(SETUP)
async def wasm_guest_properties_over_tls(s: Session) -> None:
    """The same with certificates on all sides."""
    s.upstream("secure").tls = server_context(is_mutual=True)
    s.upstream("secure").script = answers(ok(b"answer", "x-up: 1"))
    async with guest_log(s, "tls", "on_delete", shown=_alike):
        await _get(s, "tls", "x-case: all")
    async with guest_log(s, "tls", "on_delete", shown=_alike, label="log without a certificate"):
        await _get(s, "tls", "x-case: end", cert="")


@scenario(SETUP)
async def wasm_guest_properties_of_a_connection(s: Session) -> None:
    """The same of a connection, which is no request."""
    async with (
        guest_log(s, "tcp-log", "on_log", label="log of the logger", shown=_alike),
        guest_log(s, "tcp", "on_log", shown=_alike),
    ):
        client = await s.connect("tcp")
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()


@scenario(SETUP)
async def wasm_guest_properties_of_the_root(s: Session) -> None:
    """What a plugin is told as it is configured, and outside of streams: in the answer to a call."""
    s.upstream().script = answers(ok(b"answer", "x-up: 1"))
    for name in ("plain", "tcp", "plain-log"):
        # Each worker, and Envoy's main thread, configures a plugin of its own.
        first = list(takewhile(_is_not_again(), guest_lines(s, 0, name)))
        s.see(f"configured {name}", _alike(first))
    async with guest_log(s, "plain", "on_delete", shown=_alike):
        await _get(s, "plain", "x-case: call")


@scenario(SETUP)
async def wasm_guest_property_paths(s: Session) -> None:
    """Paths that are odd, and properties that guests set."""
    s.upstream().script = answers(ok(b"answer", "x-up: 1"))
    async with guest_log(s, "plain", "on_delete"):
        await _get(s, "plain", "x-case: odd")
