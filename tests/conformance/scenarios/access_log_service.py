"""Access logs to a service of gRPC: what an entry holds, when it is sent, what is lost."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from ..client import get
from ..configuration import bootstrap, cluster, listener, parse
from ..lab import Session
from ..log_service import LogService
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, name: direct, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {path: /slow}, route: {cluster: app, timeout: 0.05s}}
- {match: {prefix: /rewrite}, name: rewritten, route: {cluster: app, prefix_rewrite: /new}}
- match: {prefix: /}
  name: app-route
  route: {cluster: app}
  metadata: {filter_metadata: {spaces: {name: told}}}
"""
METADATA = """
- name: envoy.filters.http.set_metadata
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: space, value: {key: [1, text, {inner: true}]}}]
"""
LISTENERS = "envoy.extensions.access_loggers.grpc.v3"


def service(kind: str, log_name: str, more: str = "", common: str = "", to: str = "als") -> dict[str, Any]:
    """A logger of the kind ``Http`` or ``Tcp``; more: fields of its own, common: fields they share."""
    config: dict[str, Any] = {
        "@type": f"type.googleapis.com/{LISTENERS}.{kind}GrpcAccessLogConfig",
        "common_config": {
            "log_name": log_name,
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": to}},
            **(parse(common) or {}),
        },
    }
    config.update(parse(more) or {})
    return {"name": f"envoy.access_loggers.{kind.lower()}_grpc", "typed_config": config}


def logged(name: str, *loggers: dict[str, Any], hcm: str = "", filters: str = "") -> dict[str, Any]:
    """A listener whose connection manager logs to services besides its file."""
    made = listener(name, hcm, routes=ROUTES, filters=filters)
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] += loggers
    # How long a service took has more digits at times, and sizes are looked at.
    manager["http_filters"][-1]["typed_config"]["suppress_envoy_headers"] = True
    return made


AT_ONCE = "buffer_size_bytes: 0"
HEADERS = """
additional_request_headers_to_log: [x-one, X-TWO, x-none, ":path", cookie]
additional_response_headers_to_log: [x-up, content-length, ":status"]
additional_response_trailers_to_log: [x-trailer]
"""
TAGS = """
buffer_size_bytes: 0
custom_tags:
- {tag: plain, literal: {value: text}}
- {tag: header, request_header: {name: x-one, default_value: none}}
- {tag: unset, request_header: {name: x-nothing}}
- {tag: route, metadata: {kind: {route: {}}, metadata_key: {key: spaces, path: [{key: name}]}}}
filter_state_objects_to_log: [wanted, missing]
"""


def tcp(name: str, to: str, *loggers: dict[str, Any]) -> dict[str, Any]:
    """A listener with a TCP proxy that logs to services."""
    made = listener(name)
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": to,
        "access_log": list(loggers),
    }
    made["filter_chains"] = [
        {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}
    ]
    return made


SETUP = Setup(
    "log-service",
    bootstrap(
        [
            logged("main", service("Http", "main", HEADERS, AT_ONCE), filters=METADATA),
            logged("plain", service("Http", "plain", "", AT_ONCE)),
            logged("tagged", service("Http", "tagged", "", TAGS)),
            logged("shared", service("Http", "plain", "additional_request_headers_to_log: [x-one]", AT_ONCE)),
            logged(
                "batch",
                service("Http", "batch", "", "{buffer_size_bytes: 1000000, buffer_flush_interval: 0.2s}"),
            ),
            logged(
                "full", service("Http", "full", "", "{buffer_size_bytes: 1000, buffer_flush_interval: 3600s}")
            ),
            logged("lost", service("Http", "lost", "", AT_ONCE, to="dead")),
            tcp("tcp", "raw", service("Tcp", "tcp", "", AT_ONCE)),
            tcp("tcp-dead", "dead", service("Tcp", "tcp-dead", "", AT_ONCE)),
            logged(
                "kinds",
                service("Http", "kinds", "", AT_ONCE),
                hcm="access_log_options: {flush_access_log_on_new_request: true}",
            ),
        ],
        [
            cluster("app", "app", extra="metadata: {filter_metadata: {place: {rack: one}}}"),
            cluster("als", "als", http2=True),
            cluster("raw", "raw"),
            cluster("dead", "nobody"),
        ],
        extra="node: {id: one, cluster: shops, locality: {zone: z}}",
    ),
    upstreams={"app": "h1", "als": "h2", "raw": "raw", "nobody": "dead"},
)


@scenario(SETUP)
async def log_service_entry(s: Session) -> None:
    """An entry of a request to an upstream, with the headers that were asked for."""
    logs = LogService(s)
    s.upstream().script = answers(ok(b"body", "x-up: a", "x-up: b", "server: upstream"))
    await s.http(
        "POST /path?q=1 HTTP/1.1\r\nhost: example.com\r\nx-one: 1\r\nx-one: 2\r\nx-two: two\r\n"
        "user-agent: test\r\nreferer: http://there/\r\ncookie: a=b\r\ncontent-length: 4\r\n\r\nsent"
    )
    await logs.see(1)
    s.see("paths", logs.paths)


@scenario(SETUP)
async def log_service_first_message(s: Session) -> None:
    """The first message of a stream says who sends it, the next do not; two managers may share a stream."""
    logs = LogService(s)
    await s.get("/one", to="plain")
    await logs.until(1)
    await s.get("/two", "x-one: 1", to="shared")
    await logs.until(2)
    identifiers = []
    for messages in logs.streams:
        for message in messages:
            said = MessageToDict(message.identifier, preserving_proto_field_name=True)
            node = said.get("node", {})
            for key in list(node):
                if key not in ("id", "cluster", "locality"):
                    del node[key]
            identifiers.append(said)
    s.see("identifiers", identifiers)
    await logs.see(2)
    await s.get("/three", to="plain")
    await logs.see(1, "again")
    await logs.end_streams()


@scenario(SETUP)
async def log_service_kinds_of_requests(s: Session) -> None:
    """What is answered here, what fails, what is rewritten, other methods and versions."""
    logs = LogService(s)
    for path in ("/direct", "/dead", "/rewrite/x"):
        await s.get(path, to="plain", label=path)
        await logs.see(1, f"entry of {path}")
    await s.http("BREW /coffee HTTP/1.1\r\nhost: a\r\n\r\n", "plain", label="brew")
    await logs.see(1, "entry of BREW")
    await s.http("OPTIONS /x HTTP/1.1\r\nhost: a\r\n\r\n", "plain", label="options")
    await logs.see(1, "entry of OPTIONS")
    await s.http("GET / HTTP/1.1\r\n\r\n", "plain", label="bad")
    await logs.see(1, "entry of no host")


@scenario(SETUP)
async def log_service_http2(s: Session) -> None:
    """A request over HTTP/2."""
    logs = LogService(s)
    client = await s.connect_h2("plain")
    await client.request(get("/h2"))
    # How the proxy compresses and frames is its own.
    await logs.see(1, unseen=("downstream_wire_bytes_sent", "downstream_header_bytes_sent"))


@scenario(SETUP)
async def log_service_trailers(s: Session) -> None:
    """Trailers of a response that were asked for."""
    logs = LogService(s)
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: t\r\n\r\n"
    )
    await s.get("/trailers")
    await logs.see(1)


@scenario(SETUP)
async def log_service_tags(s: Session) -> None:
    """Custom tags."""
    logs = LogService(s)
    await s.get("/", "x-one: one", to="tagged")
    await s.get("/direct", to="tagged")
    await logs.see(2)


@scenario(SETUP)
async def log_service_batches(s: Session) -> None:
    """Entries are kept until they are many enough, or old enough."""
    logs = LogService(s)
    for number in range(3):
        await s.get(f"/direct?{number}", to="batch", label=f"reply {number}")
    await logs.until(3)
    s.see("paths in order", [each.request.path for m in logs.streams[-1] for each in m.http_logs.log_entry])
    await logs.see(3)


@scenario(SETUP)
async def log_service_full_buffer(s: Session) -> None:
    """A buffer that is full is sent at once."""
    logs = LogService(s)
    for number in range(4):
        await s.get(f"/direct?{number}{'x' * 600}", to="full", label=f"reply {number}")
    await logs.until(4)
    s.see("sizes", [len(message.http_logs.log_entry) for message in logs.streams[-1]])


@scenario(SETUP)
async def log_service_that_ends_streams(s: Session) -> None:
    """A stream that the service ends is made anew, and says again who sends."""
    logs = LogService(s)
    await s.get("/direct", to="kinds")
    await logs.until(2)
    await logs.end_streams()
    await s.until_stats(lambda stats: not any(stats.values()), r"^cluster\.als\.upstream_rq_active$")
    await s.get("/direct", to="kinds", label="after")
    await logs.until(4)
    s.see("said", [[m.identifier.log_name for m in messages] for messages in logs.streams])
    await logs.see(4)


@scenario(SETUP)
async def log_service_that_is_not_there(s: Session) -> None:
    """Without a service requests go on; entries are lost."""
    names = ("access_logs.grpc_access_log.logs_written", "access_logs.grpc_access_log.logs_dropped")
    async with s.counting(*names, "cluster.dead.upstream_cx_connect_fail"):
        for number in range(3):
            await s.get("/direct", to="lost", label=f"reply {number}")
            await s.until_stats(
                lambda stats, n=number: max(stats.values()) > n, r"^cluster\.dead\.upstream_cx_connect_fail$"
            )


@scenario(SETUP)
async def log_service_tcp(s: Session) -> None:
    """A connection, at its end."""
    logs = LogService(s)
    client = await s.connect("tcp")
    await client.send(b"hello")
    await client.wire.exactly(5)
    client.close()
    await logs.see(1)
    dead = await s.connect("tcp-dead")
    await dead.closed("dead")
    await logs.see(1, "dead")
