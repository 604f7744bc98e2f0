# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_proc: metadata, attributes, and what routes say."""

from __future__ import annotations

from typing import Any

import grpc

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..processor import answering, immediate, processing
from ..scenario import Setup, scenario
from .ext_proc_headers import EXT, PER_ROUTE, SERVICE, post, proc, stats

SUBJECT = "filters"

SET = f"{EXT}.set_metadata.v3.Config"
MUTATE = f"{EXT}.header_mutation.v3.HeaderMutation"
FIELDS = (
    " ".join(
        f"%FILTER_STATE(proc:FIELD:{name})%"
        for name in (
            *("request_header_call_status", "response_header_call_status", "request_body_call_count"),
            *(
                "request_body_last_call_status",
                "request_trailer_call_status",
                "response_body_call_count",
                "none",
            ),
        )
    )
    + "\n"
)
LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(mine)% %DYNAMIC_METADATA(other)% "
    "%ROUTE_NAME%\n"
)
METADATA = f"""
- name: set
  typed_config:
    "@type": {SET}
    metadata:
    - {{metadata_namespace: a, value: {{k: v, n: 1.5, list: [1, x], inner: {{t: true}}}}}}
    - {{metadata_namespace: b, value: {{k: hidden}}}}
    - {{metadata_namespace: mine, value: {{kept: 1, told: old}}}}
"""


def of_route(name: str, path: str, overrides: str, more: str = "") -> str:
    return f"""
- name: {name}
  match: {{prefix: {path}}}
  route: {{cluster: app}}
  typed_per_filter_config: {{proc: {{"@type": {PER_ROUTE}, {overrides}}}}}
  {more}
"""


ROUTES = "".join(
    (
        of_route(
            "mode",
            "/mode",
            "overrides: {processing_mode: {request_body_mode: BUFFERED, response_header_mode: SKIP}}",
        ),
        of_route(
            "service",
            "/service",
            "overrides: {grpc_service: {envoy_grpc: {cluster_name: second}, initial_metadata: [{key: x-a, value: route}]}}",
        ),
        of_route(
            "initial",
            "/initial",
            "overrides: {grpc_initial_metadata: [{key: x-a, value: route}, {key: x-new, value: '1'}]}",
        ),
        of_route(
            "names",
            "/names",
            "overrides: {metadata_options: {forwarding_namespaces: {untyped: [b]}, receiving_namespaces: {untyped: [other]}}}",
        ),
        of_route("open", "/open", "overrides: {failure_mode_allow: true}"),
        of_route("disabled", "/disabled", "disabled: true"),
        "\n- {name: rest, match: {prefix: /}, route: {cluster: app}}\n",
    )
)
HOST = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    typed_per_filter_config: {{proc: {{"@type": {PER_ROUTE}, overrides: {{
      processing_mode: {{request_header_mode: SEND, response_header_mode: SKIP}},
      grpc_initial_metadata: [{{key: x-host, value: h}}]}}}}}}
    routes:
"""
INITIAL = "grpc_service: {envoy_grpc: {cluster_name: proc}, timeout: 9s, initial_metadata: [{key: x-a, value: filter}, {key: x-b, value: filter}]}"
OPTIONS = "metadata_options: {forwarding_namespaces: {untyped: [a, missing]}, receiving_namespaces: {untyped: [mine]}}"
REQUEST_ATTRIBUTES = (
    "request.path", "request.method", "request.host", "request.size", "request.total_size", "request.headers['x-a']",
    "request.headers", "request.protocol", "request.scheme", "source.port > 0", "connection.mtls", "connection.tls_version",
    "xds.route_name", "xds.cluster_name", "request.nothing", "size(request.path)", "metadata.filter_metadata['a']['k']",
)  # fmt: skip
RESPONSE_ATTRIBUTES = (
    "response.code",
    "response.size",
    "response.headers['content-length']",
    "request.path",
    "upstream.address != ''",
)


def more(
    name: str,
    fields: str,
    *,
    before: str = METADATA,
    hcm: str = "",
    routes: str = ROUTES,
    service: str = SERVICE,
    log: str = LOG,
) -> dict[str, Any]:
    return listener(name, hcm, routes=routes, filters=before + proc(fields, service=service), log=log)


SETUP = Setup(
    "ext_proc_more",
    bootstrap(
        [
            more("metadata", OPTIONS),
            more("nobody", "", before=""),
            more(
                "attributes",
                f"request_attributes: [{', '.join(repr(each) if chr(39) not in each else chr(34) + each + chr(34) for each in REQUEST_ATTRIBUTES)}], response_attributes: [{', '.join(chr(34) + each + chr(34) for each in RESPONSE_ATTRIBUTES)}], processing_mode: {{request_body_mode: BUFFERED}}",
            ),
            more("routes", OPTIONS, service=INITIAL),
            more(
                "hosts",
                OPTIONS,
                service=INITIAL,
                routes="",
                hcm=HOST + "\n".join("    " + line for line in ROUTES.splitlines()),
            ),
            more("logged", "processing_mode: {request_body_mode: BUFFERED}", log=FIELDS),
            more(
                "skipped",
                "request_attributes: [request.path], response_attributes: [response.code], processing_mode: {request_header_mode: SKIP}",
            ),
        ],
        [
            cluster("app", "app"),
            cluster("proc", "proc", http2=True),
            cluster("second", "second", http2=True),
        ],
    ),
    {"app": "h1", "proc": "raw", "second": "raw"},
)


@scenario(SETUP)
async def ext_proc_metadata(s: Session) -> None:
    """Metadata that the processor is told, and that it tells."""
    answer = [
        {
            "request_headers": {},
            "dynamic_metadata": {"mine": {"told": "new", "n": 1}, "other": {"k": 1}, "flat": 1},
        }
    ]
    later = [{"response_headers": {}, "dynamic_metadata": {"mine": {"later": True}}}]
    for to in ("metadata", "nobody"):
        async with processing(s, answering(request_headers=answer, response_headers=later)), s.logging(1, to):
            await s.get("/", to=to)
    refused = [{**immediate(403), "dynamic_metadata": {"mine": {"told": "refused"}}}]
    async with processing(s, answering(request_headers=refused)), s.logging(1, "metadata"):
        await s.get("/", to="metadata")


@scenario(SETUP)
async def ext_proc_attributes(s: Session) -> None:
    """Attributes of requests and responses, once for each direction."""
    async with processing(s):
        await s.http(post("/path?a=b", "original", "x-a: of header"), to="attributes")
    async with processing(s):
        await s.get("/", to="skipped")


@scenario(SETUP)
async def ext_proc_of_routes(s: Session) -> None:
    """Modes, services, initial metadata, namespaces and failures of routes, alone and inside of a virtual host's."""
    for to in ("routes", "hosts"):
        for path in ("mode", "initial", "names", "disabled", "rest"):
            async with processing(s, metadata=True):
                await s.http(post(f"/{path}", "original"), to=to)
        async with processing(s, name="second", metadata=True):
            await s.get("/service", to=to)
        async with processing(s, answering(request_headers=[{"request_body": {}}])), s.counting(*stats(to)):
            await s.get("/open", to=to)


@scenario(SETUP)
async def ext_proc_logged(s: Session) -> None:
    """How the calls of the processor went, in the access log."""

    def failing(requests: Any, context: Any) -> Any:
        next(requests)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        yield

    async with s.logging(3, "logged"):
        for script in (answering(), answering(request_headers=[{"request_body": {}}]), failing):
            async with processing(s, script, sees=False):
                await s.http(post("/", "original"), to="logged")
