# ruff: noqa: E501  (a table of operators reads best unbroken)
"""Every operator of access logs at once: as text, as typed JSON, over HTTP/1, HTTP/2 and in TCP logs."""

from __future__ import annotations

import json
import re
from typing import Any

from ..client import get
from ..configuration import bootstrap, cluster, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers
from ..wire import head

SUBJECT = "observability"

_SIDES = ("UPSTREAM", "DOWNSTREAM")


def words(text: str) -> list[str]:
    return text.split()


#: Operators whose value is told by its shape.
TIMES = words(
    """
    START_TIME START_TIME(%Y-%m-%d) START_TIME(%E4Y-%EZ) START_TIME(%s.%3f) START_TIME(%6f) START_TIME(%9s) START_TIME_LOCAL
    START_TIME_LOCAL(%H) EMIT_TIME EMIT_TIME(%s) EMIT_TIME_LOCAL DURATION REQUEST_DURATION REQUEST_TX_DURATION
    RESPONSE_DURATION RESPONSE_TX_DURATION ROUNDTRIP_DURATION DOWNSTREAM_HANDSHAKE_DURATION
    UPSTREAM_CONNECTION_POOL_READY_DURATION COMMON_DURATION(DS_RX_BEG:DS_TX_END)
    COMMON_DURATION(DS_RX_BEG:DS_RX_END:us) COMMON_DURATION(US_CX_BEG:US_HS_END)
    COMMON_DURATION(US_TX_BEG:US_RX_BEG) COMMON_DURATION(US_TX_END:US_RX_END:us) COMMON_DURATION(other:DS_TX_END)
    """
)
IDS = words(
    """
    CONNECTION_ID RESPONSE_HEADERS_BYTES UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED UNIQUE_ID HOSTNAME
    DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_DIRECT_LOCAL_PORT
    UPSTREAM_LOCAL_PORT UPSTREAM_REMOTE_PORT DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS
    UPSTREAM_LOCAL_ADDRESS
    """
)
PLAIN = words(
    """
    BYTES_RECEIVED BYTES_SENT BYTES_RETRANSMITTED PACKETS_RETRANSMITTED REQUEST_HEADERS_BYTES RESPONSE_TRAILERS_BYTES PROTOCOL UPSTREAM_PROTOCOL RESPONSE_CODE RESPONSE_CODE_DETAILS
    RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES) CONNECTION_TERMINATION_DETAILS RESPONSE_FLAGS RESPONSE_FLAGS_LONG
    CUSTOM_FLAGS GRPC_STATUS GRPC_STATUS(CAMEL_STRING) GRPC_STATUS(SNAKE_STRING) GRPC_STATUS(NUMBER)
    GRPC_STATUS_NUMBER UPSTREAM_REQUEST_ATTEMPT_COUNT LOCAL_REPLY_BODY ACCESS_LOG_TYPE ROUTE_NAME
    VIRTUAL_CLUSTER_NAME UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST UPSTREAM_HOST_NAME
    UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
    UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8) UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16) UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_TRANSPORT_FAILURE_REASON
    FILTER_CHAIN_NAME DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(0)
    DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(32)
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
    DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_DETECTED_CLOSE_TYPE
    UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_DETECTED_CLOSE_TYPE STREAM_ID TRACE_ID SPAN_ID
    ENVIRONMENT(NOT_THERE_AT_ALL) ENVIRONMENT(PATH):1 REQ(x-a) REQ(X-A):3 REQ(x-none?x-a) REQ(x-none?x-a):2
    REQ(x-none) REQ(x-a?x-b) REQ(:METHOD) REQ(:AUTHORITY) REQ(:SCHEME) REQUEST_HEADER(x-a)
    REQUEST_HEADER(x-none?:path):4 RESP(x-up) RESP(x-none?x-up):1 RESP(:STATUS) RESPONSE_HEADER(content-length)
    TRAILER(x-t) TRAILER(x-none?x-t):2 RESPONSE_TRAILER(x-t) PATH PATH(WQ) PATH(NQ) PATH(WQ:ORIG) PATH(NQ:ORIG)
    PATH(WQ:PATH) PATH(NQ:PATH):4 PATH(NQ:ORIG_OR_PATH) QUERY_PARAM(q) QUERY_PARAM(q):1 QUERY_PARAM(none)
    QUERY_PARAMS QUERY_PARAMS(ORIG) QUERY_PARAMS(DECODED) QUERY_PARAMS:3 DYNAMIC_METADATA(space)
    DYNAMIC_METADATA(space:key) DYNAMIC_METADATA(space:deep:list) DYNAMIC_METADATA(space:key):2
    DYNAMIC_METADATA(other) DYNAMIC_METADATA(space:number) DYNAMIC_METADATA(space:deep):7 CLUSTER_METADATA(cl)
    CLUSTER_METADATA(cl:key) UPSTREAM_METADATA(host:key) METADATA(DYNAMIC:space:key) METADATA(CLUSTER:cl:key)
    METADATA(ROUTE:rt:key) METADATA(ROUTE:rt):4 METADATA(UPSTREAM_HOST:host:key) METADATA(LISTENER:li:key)
    METADATA(LISTENER_FILTER_CHAIN:ch:key) METADATA(VIRTUAL_HOST:vh:key) FILTER_STATE(name)
    FILTER_STATE(name:PLAIN) FILTER_STATE(name:TYPED) FILTER_STATE(name):2 FILTER_STATE(none:PLAIN)
    UPSTREAM_FILTER_STATE(name:PLAIN) REQUESTED_SERVER_NAME REQUESTED_SERVER_NAME(SNI_ONLY:ORIG)
    REQUESTED_SERVER_NAME(SNI_FIRST:HOST) REQUESTED_SERVER_NAME(HOST_FIRST:ORIG_OR_HOST) TLS_JA3_FINGERPRINT
    TLS_JA4_FINGERPRINT
    """
)
TLS = [
    *(
        f"DOWNSTREAM_{side}_{kind}_SAN"
        for side in ("LOCAL", "PEER")
        for kind in ["IP", "DNS", "URI", "EMAIL", "OTHERNAME"]
    ),
    *(
        f"DOWNSTREAM_{name}"
        for name in [
            "LOCAL_SUBJECT",
            "PEER_SUBJECT",
            "PEER_ISSUER",
            "TLS_SESSION_ID",
            "TLS_CIPHER",
            "TLS_VERSION",
            "PEER_FINGERPRINT_256",
            "PEER_FINGERPRINT_1",
            "PEER_SERIAL",
            "PEER_CHAIN_FINGERPRINTS_256",
            "PEER_CHAIN_FINGERPRINTS_1",
            "PEER_CHAIN_SERIALS",
            "PEER_CERT",
            "PEER_CERT_V_START",
            "PEER_CERT_V_END",
            "PEER_CERT_V_START(%Y)",
        ]
    ),
    *(
        f"UPSTREAM_{name}"
        for name in [
            "PEER_SUBJECT",
            "PEER_ISSUER",
            "TLS_SESSION_ID",
            "TLS_CIPHER",
            "TLS_VERSION",
            "PEER_CERT",
            "PEER_CERT_V_START",
            "PEER_CERT_V_END",
            "PEER_URI_SAN",
            "PEER_DNS_SAN",
            "PEER_IP_SAN",
            "LOCAL_URI_SAN",
            "LOCAL_DNS_SAN",
            "LOCAL_IP_SAN",
        ]
    ),
]
WIRE = [
    f"{side}_{kind}_BYTES_{direction}"
    for side in _SIDES
    for kind in ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
    for direction in ("SENT", "RECEIVED")
]
EVERY = [*TIMES, *IDS, *PLAIN, *TLS]
COALESCE = '%COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, {"command": "REQ", "param": "x-a", "max_length": 4}, "PROTOCOL"]}):3%'
FILTERS = """
- name: envoy.filters.http.set_filter_state
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
    on_request_headers:
    - {object_key: name, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "kept %REQ(x-a)%"}}}
- name: envoy.filters.http.set_metadata
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: space, value: {key: text, number: 7, deep: {list: [1, two, {three: true}], "null": null}}}]
"""
ROUTES = """
- {match: {path: /direct}, name: direct, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {prefix: /rewrite}, name: rewritten, metadata: {filter_metadata: {rt: {key: route}}}, route: {cluster: app, prefix_rewrite: /new}}
- {match: {prefix: /}, name: app-route, route: {cluster: app}}
"""
NESTED = {
    "z": "%PROTOCOL%",
    "a": {
        "deep": {"list": ["%RESPONSE_CODE%", "%REQ(x-none)%", 1.5, None, True, "%DYNAMIC_METADATA(space)%"]}
    },
    "empty": {"gone": "%REQ(x-none)%", "also": {"gone": "%TRAILER(x-none)%"}},
    "words": "%REQ(x-a)% and %REQ(x-none)% of %RESPONSE_CODE%",
    "quoted": '"%REQ(x-quote)%" \\ %% \n',
    "number": 7,
    "small": 0.1,
    "big": 12345678901,
    "coalesce": COALESCE,
    "state": "%FILTER_STATE(name)%",
    "text state": "%FILTER_STATE(name:PLAIN)%",
}


def values(line: str) -> dict[str, Any]:
    """A line of JSON, times and what differs from run to run told by their shape."""
    found: dict[str, Any] = json.loads(line)
    for name, value in found.items():
        if name in TIMES or name.startswith("UNIQUE_ID"):
            if isinstance(value, int):
                found[name] = "<number>"
            elif value is not None:
                found[name] = re.sub(r"\d", "9", value) if name in TIMES else "<id>"
        elif name in IDS:
            found[name] = f"<{type(value).__name__}>"
    for name in ("STREAM_ID",):
        if found.get(name):
            found[name] = "<id>"
    return found


def json_log(path: str, tree: dict[str, Any], **more: Any) -> dict[str, Any]:
    log = file_log(path, "")
    log["typed_config"]["log_format"] = {"json_format": tree, **more}
    return log


def logged(name: str, *logs: dict[str, Any], filters: str = FILTERS) -> dict[str, Any]:
    made = listener(
        name,
        routes=ROUTES,
        filters=filters,
        extra="metadata: {filter_metadata: {li: {key: listener}}}",
    )
    chain = made["filter_chains"][0]
    chain["name"] = "the-chain"
    chain["metadata"] = {"filter_metadata": {"ch": {"key": "chain"}}}
    manager = chain["filters"][0]["typed_config"]
    manager["access_log"] = list(logs)
    manager["route_config"]["virtual_hosts"][0]["metadata"] = {"filter_metadata": {"vh": {"key": "host"}}}
    return made


def tcp(name: str, to: str, *logs: dict[str, Any]) -> dict[str, Any]:
    made = listener(name, extra="metadata: {filter_metadata: {li: {key: listener}}}")
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": to,
        "access_log": list(logs),
    }
    made["filter_chains"] = [
        {
            "name": "tcp-chain",
            "metadata": {"filter_metadata": {"ch": {"key": "chain"}}},
            "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}],
        }
    ]
    return made


TREE = {name: f"%{name}%" for name in EVERY}
WIRE_TREE = {name: f"%{name}%" for name in WIRE}
TEXT = (
    "".join(f"{name.replace(chr(37), chr(36))}=%{name}%;; " for name in [*PLAIN, *TLS])
    + f"{COALESCE} 100%% end\n"
)
SETUP = Setup(
    "every-operator",
    bootstrap(
        [
            logged("typed", json_log("FILE(typed.log)", TREE)),
            logged("omitted", json_log("FILE(omitted.log)", TREE, omit_empty_values=True)),
            logged("text", file_log("FILE(text.log)", TEXT)),
            logged(
                "nested",
                json_log("FILE(nested.log)", NESTED),
                json_log("FILE(nested.log)", NESTED, omit_empty_values=True),
            ),
            logged("wire", json_log("FILE(wire.log)", WIRE_TREE), filters=""),
            tcp("tcp", "raw", json_log("FILE(tcp.log)", {**TREE, **WIRE_TREE})),
            tcp("tcp-dead", "dead", json_log("FILE(tcp-dead.log)", TREE)),
        ],
        [
            cluster(
                "app",
                "app",
                extra="{metadata: {filter_metadata: {cl: {key: cluster}}}, alt_stat_name: other}",
            ),
            cluster("app2", "app2", http2=True),
            cluster("raw", "raw"),
            cluster("dead", "dead"),
        ],
    ),
    {"app": "h1", "app2": "h2", "raw": "raw", "dead": "dead"},
)


async def three(s: Session, to: str) -> None:
    """An answer of the upstream, one of the proxy, and a failure."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\nx-up: up\r\ngrpc-status: 7\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nx-t: tra\r\n\r\n"
    )
    await s.get("/rewrite/p?q=1%20&q=2", "x-a: abcdef", "x-b: b", 'x-quote: a"b\\c\t\xe9', to=to)
    await s.get("/direct", to=to)
    await s.http(head("POST /dead HTTP/1.1", "host: a", "content-length: 4") + b"body", to)


@scenario(SETUP)
async def every_operator_typed(s: Session) -> None:
    """All operators as typed JSON."""
    async with s.logging(3, "typed", values):
        await three(s, "typed")


@scenario(SETUP)
async def every_operator_typed_h2(s: Session) -> None:
    """All operators as typed JSON, for HTTP/2."""
    async with s.logging(1, "typed", values):
        client = await s.connect_h2("typed")
        await client.request([*get("/h2?x", method="POST"), ("user-agent", "agent")], b"hello")


@scenario(SETUP)
async def every_operator_omitted(s: Session) -> None:
    """All operators with omit_empty_values."""
    async with s.logging(3, "omitted", values):
        await three(s, "omitted")


@scenario(SETUP)
async def every_operator_text(s: Session) -> None:
    """All operators as text."""

    def split(line: str) -> list[str]:
        return [re.sub(r"^(STREAM_ID)=\S{36}$", r"\1=<id>", part) for part in line.split(";; ")]

    async with s.logging(3, "text", split):
        await three(s, "text")


@scenario(SETUP)
async def every_operator_nested(s: Session) -> None:
    """Objects in objects, lists, numbers: as they are written."""
    async with s.logging(6, "nested"):
        await three(s, "nested")


@scenario(SETUP)
async def every_operator_wire(s: Session) -> None:
    """Bytes of the wire over HTTP/1."""
    async with s.logging(1, "wire"):
        await s.get("/direct", to="wire")


@scenario(SETUP)
async def every_operator_tcp(s: Session) -> None:
    """All operators of connections."""
    async with s.logging(1, "tcp", values):
        client = await s.connect("tcp")
        await client.send(b"hello")
        await client.wire.exactly(5)
        client.close()
    async with s.logging(1, "tcp-dead", values):
        dead = await s.connect("tcp-dead")
        await dead.closed("dead")
