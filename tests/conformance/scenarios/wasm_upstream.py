"""The conformance guest among the filters of a cluster, and of a router: on every try of a request."""

from __future__ import annotations

import json
from typing import Any

from ..client import get
from ..configuration import ROUTER, bootstrap, cluster, listener, parse
from ..guest_log import guest_log
from ..guest_scripts import guest, modules
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok
from ..wire import head
from .retries import BAD, DONE
from .upstream_filters import CODEC, LOG, RETRIED, post, with_filters
from .wasm_guest_properties import _asks

SUBJECT = "wasm"

CALL = 'http_call "side" [:method: GET, :path: /side, :authority: s] "" "" 1000'
NAMES = (
    "request.path request.method request.size request.total_size request.protocol request.headers.x-case "
    "response.code response.code_details response.flags response.size response.headers.x-up "
    "upstream.address upstream.local_address upstream.request_attempt_count upstream.num_endpoints "
    "upstream.locality upstream.tls_version upstream.transport_failure_reason connection.mtls source.address "
    "xds.cluster_name xds.route_name xds.virtual_host_name xds.route_metadata xds.upstream_host_metadata "
    "xds.upstream_host_metadata.filter_metadata xds.upstream_host_locality_metadata xds.listener_direction "
    "xds.filter_chain_name plugin_name plugin_root_id plugin_vm_id cluster_name route_name "
    "listener_direction metadata filter_state upstream_filter_state own"
)
PATHS = _asks(NAMES.split())
SCRIPT = f"""
@on_request_headers:maps
get_header_map_pairs 0
add_header_map_value 0 "x-tries" "1"
remove_header_map_value 0 "content-length"
get_header_map_pairs 2
call_foreign_function "clear_route_cache" ""
set_property "own" "mine"
@on_request_body:maps
get_buffer_bytes 0 0 100
set_buffer_bytes 0 0 0 "<"
@on_response_headers:maps
get_header_map_pairs 2
get_header_map_value 0 ":path"
add_header_map_value 2 "x-answered" "1"
remove_header_map_value 2 "content-length"
@on_response_body:maps
get_buffer_bytes 1 0 100
set_buffer_bytes 1 0 0 ">"
@on_log:maps
get_header_map_pairs 0
get_header_map_pairs 2
@on_request_headers:trailers
get_header_map_value 0 ":path"
@on_request_trailers:trailers
get_header_map_pairs 1
add_header_map_value 1 "x-trailed" "1"
@on_response_trailers:trailers
get_header_map_pairs 3
add_header_map_value 3 "x-trailed" "1"
@on_request_headers:properties
set_property "own" "mine"
{PATHS}
@on_response_headers:properties
{PATHS}
@on_log:properties
{PATHS}
@on_request_headers:local
send_local_response 403 "by the guest" "no" [x-phase: request] -1
@on_request_body:local2
send_local_response 403 "in a body" "no" [x-phase: body] -1
@on_response_headers:local3
send_local_response 403 "in a response" "no" [x-phase: response] -1
@on_response_body:local4
send_local_response 403 "in a response body" "no" [x-phase: end] -1
@on_request_headers:local5
{CALL}
return 1
@on_http_call_response:local5
set_effective_context $context
send_local_response 403 "in a call" "no" [x-phase: call] -1
@on_request_headers:call
{CALL}
return 1
@on_http_call_response:call
set_effective_context $context
get_header_map_value 6 ":status"
add_header_map_value 0 "x-side" "1"
continue_stream 0
@on_response_headers:back
{CALL}
return 1
@on_http_call_response:back
set_effective_context $context
add_header_map_value 2 "x-side" "1"
continue_stream 1
@on_request_body:hold
end? {CALL}
return 1
@on_http_call_response:hold
set_effective_context $context
continue_stream 0
@on_response_body:holdback
end? {CALL}
return 1
@on_http_call_response:holdback
set_effective_context $context
continue_stream 1
@on_request_headers:close
close_stream 0
@on_response_headers:close2
close_stream 1
@on_response_body:close3
close_stream 1
@on_request_headers:close4
{CALL}
return 1
@on_http_call_response:close4
set_effective_context $context
close_stream 0
@on_response_headers:status
replace_header_map_value 2 ":status" "503"
@on_request_headers:remove
remove_header_map_value 0 ":path"
"""
FAILS = """
@on_request_headers:trap
trap
@on_response_headers:trap2
trap
"""


def made(name: str, script: str, extra: str = "", vm: str = "") -> dict[str, Any]:
    found: dict[str, Any] = parse(guest(name, script, extra, vm))[0]
    return found


def chain(name: str, *filters: dict[str, Any], more: str = "") -> dict[str, Any]:
    router: dict[str, Any] = {"@type": ROUTER}
    if filters:
        router["upstream_http_filters"] = [*filters, CODEC]
    action = parse(f"{{timeout: 0s, {more}}}")
    targets = (("/h2", "h2app"), ("/plain", "plain"), ("/dead", "dead"), ("/traps", "traps"), ("/", "app"))
    routes = [
        {"match": {"prefix": path}, "name": f"to-{to}", "route": {"cluster": to, **action}}
        for path, to in targets
    ]
    manager = {
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    return listener(name, json.dumps(manager), log=LOG)


UP = made("up", SCRIPT)
SETUP = Setup(
    "wasm-upstream",
    bootstrap(
        [
            chain("once"),
            chain("retried", more=RETRIED),
            chain("routed", made("routed", SCRIPT)),
        ],
        [
            with_filters("app", "app", filters=[UP]),
            with_filters("h2app", "h2app", filters=[UP], http2=True),
            with_filters("dead", "dead", filters=[UP]),
            with_filters("traps", "app", filters=[made("traps", FAILS, vm="vm_id: traps")]),
            cluster("plain", "app"),
            cluster("side", "side"),
        ],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead", "side": "h1"},
    modules("0_2_1"),
)
OF_APP = tuple(
    f"cluster.app.upstream_rq_{name}"
    for name in (
        "total",
        "retry",
        "retry_success",
        "completed",
        "200",
        "503",
        "403",
        "cancelled",
        "tx_reset",
        "rx_reset",
    )
)


@scenario(SETUP)
async def wasm_upstream_callbacks(s: Session) -> None:
    """All callbacks of a try, in their order: with a body, without one, with trailers."""
    s.upstream().script = answers(ok(b"answer", "x-up: 1"))
    async with s.logging(2, "once"):
        async with guest_log(s, "up", "on_delete", label="log of a GET"):
            await s.get("/", "x-case: maps", to="once")
        async with guest_log(s, "up", "on_delete", label="log of a POST"):
            await s.http(post("/", b"hello", "x-case: maps"), "once")


@scenario(SETUP)
async def wasm_upstream_trailers(s: Session) -> None:
    """The same over HTTP/2, where there are trailers."""

    async def trailed(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"ok", [("x-end", "1")])

    s.upstream("h2app").h2_script = trailed
    async with guest_log(s, "up", "on_delete"):
        client = await s.connect_h2("once")
        await client.request(
            [*get("/h2", method="POST"), ("x-case", "trailers")], b"hello", [("x-begin", "1")]
        )


@scenario(SETUP)
async def wasm_upstream_each_try(s: Session) -> None:
    """Each try is a stream of its own to the guest, with what the one before it left in the head."""
    async with s.logging(2, "retried"), s.counting(*OF_APP):
        s.upstream().script = answers(BAD, DONE)
        async with guest_log(s, "up", "on_delete"):
            await s.get("/", "x-case: maps", to="retried")
        s.upstream().script = answers(DONE)
        async with guest_log(s, "up", "on_delete", label="a status of the guest's"):
            await s.get("/", "x-case: status", to="retried", label="a status of the guest's")


@scenario(SETUP)
async def wasm_upstream_of_a_router(s: Session) -> None:
    """The guest of a router, where the cluster has none of its own."""
    s.upstream().script = answers(ok(b"answer"))
    async with s.logging(1, "routed"), guest_log(s, "routed", "on_delete"):
        await s.get("/plain", "x-case: maps", to="routed")


@scenario(SETUP)
async def wasm_upstream_properties(s: Session) -> None:
    """What it is told of the stream, before and behind the upstream's answer."""
    s.upstream().script = answers(ok(b"answer", "x-up: 1"))
    async with guest_log(s, "up", "on_delete"):
        await s.get("/", "x-case: properties", to="once")


async def _answer(call: H2Call) -> None:
    await call.body()
    await call.answer_at_once([(":status", "200")], b"answer")


@scenario(SETUP)
async def wasm_upstream_local_responses(s: Session) -> None:
    """Its answers are the request's, in every phase; none of them is tried again."""
    s.upstream("h2app").h2_script = _answer
    for case in ("local", "local2", "local3", "local4", "local5"):
        async with s.logging(1, "retried"), guest_log(s, "up", "on_delete", label=f"log {case}"):
            await s.http(post("/h2", b"hello", f"x-case: {case}"), "retried", label=case)


@scenario(SETUP)
async def wasm_upstream_calls(s: Session) -> None:
    """It holds a try until its call is answered: head and body, out and back."""
    for case in ("call", "back", "hold", "holdback"):
        s.upstream().script = answers(ok(b"answer"))
        async with guest_log(s, "up", "on_delete", label=f"log {case}"):
            await s.http(post("/", b"hello", f"x-case: {case}"), "once", label=case)


@scenario(SETUP)
async def wasm_upstream_closes(s: Session) -> None:
    """It closes the stream of a try."""
    s.upstream("h2app").h2_script = _answer
    for case in ("close", "close2", "close3", "close4"):
        async with s.logging(1, "once"), guest_log(s, "up", "on_delete", label=f"log {case}"):
            client = await s.connect("once")
            await client.send(head("GET /h2 HTTP/1.1", "host: a", f"x-case: {case}"))
            await client.reply(case)


@scenario(SETUP)
async def wasm_upstream_no_connection(s: Session) -> None:
    """Nobody listens."""
    async with s.logging(1, "once"), guest_log(s, "up", "on_delete"):
        await s.get("/dead", "x-case: maps", to="once")


@scenario(SETUP)
async def wasm_upstream_traps(s: Session) -> None:
    """A trap answers the request."""
    s.upstream().script = answers(ok(b"answer"))
    async with s.logging(1, "retried"):
        await s.get("/traps", "x-case: trap", to="retried")
    s.proxy.is_spent = True
