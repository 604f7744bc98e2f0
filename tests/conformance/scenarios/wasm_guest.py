"""The conformance guest: every host function and callback of proxy-wasm, its answers compared line by line.

`filters_rust/conformance-guest` is one module that does what its configuration says. A request names its case
in `x-case`; what the guest wrote down is the observation.
"""

from __future__ import annotations

import json
from pathlib import Path

import trio

from ..configuration import bootstrap, cluster, listener
from ..guest_log import guest_log, guest_says, log_end
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head
from .wasm import STRING, WASM

SUBJECT = "wasm"
MODULES = Path(__file__).parents[1] / "modules"
ROUTES = """
- {match: {prefix: /h2}, route: {cluster: h2app}}
- {match: {prefix: /}, name: the-route, route: {cluster: app}}
"""


def guest(name: str, script: str, extra: str = "", vm: str = "", abi: str = "0_2_1") -> str:
    """The guest as a filter, with this script."""
    return f"""
- name: {name}
  typed_config:
    "@type": {WASM}
    config:
      name: {name}
      root_id: {name}
      configuration: {{"@type": {STRING}, value: {json.dumps(script)}}}
      vm_config:
        runtime: envoy.wasm.runtime.v8
        code: {{local: {{filename: FILE(guest_{abi}.wasm)}}}}
        {vm}
      {extra}
"""


def modules(*versions: str) -> dict[str, bytes]:
    return {f"guest_{abi}.wasm": (MODULES / f"conformance_guest_{abi}.wasm").read_bytes() for abi in versions}


HEADERS = """
@on_request_headers:maps
get_header_map_value 0 ":path"
get_header_map_value 0 "X-Upper"
get_header_map_value 0 "absent"
get_header_map_value 0 "x-twice"
get_header_map_value 2 ":status"
get_header_map_value 8 "x"
add_header_map_value 0 "x-Added" "one"
add_header_map_value 0 "x-added" "two"
replace_header_map_value 0 "x-upper" "replaced"
replace_header_map_value 0 "x-new" "new"
remove_header_map_value 0 "x-twice"
remove_header_map_value 0 "absent"
get_header_map_value 0 "x-added"
add_header_map_value 1 "t" "v"
add_header_map_value 2 "t" "v"
add_header_map_value 3 "t" "v"
add_header_map_value 4 "t" "v"
add_header_map_value 6 "t" "v"
add_header_map_value 9 "t" "v"
get_header_map_pairs 1
get_header_map_pairs 2
get_header_map_pairs 4
get_header_map_pairs 6
get_header_map_pairs 99
get_header_map_size 1
get_header_map_size 4
get_header_map_size 99
set_header_map_pairs 2 [a: b]
set_header_map_pairs 99 [a: b]
remove_header_map_value 2 "a"
replace_header_map_value 3 "a" "b"
set_header_map_pairs 0 [:authority: set.example, :path: /set, :method: GET, :scheme: http, x-set: yes]
get_header_map_pairs 0
get_header_map_size 0
@on_response_headers:maps
get_header_map_value 2 ":status"
get_header_map_value 0 ":path"
get_header_map_pairs 0
get_header_map_size 0
add_header_map_value 0 "x" "y"
set_header_map_pairs 2 [:status: 201, x-set: yes]
get_header_map_pairs 2
@on_log:maps
get_header_map_value 0 "x-set"
get_header_map_value 2 "x-set"
get_header_map_pairs 0
get_header_map_pairs 3
get_header_map_value 3 "a"
get_header_map_size 2
add_header_map_value 2 "x" "y"
@on_done:maps
get_header_map_pairs 0
get_header_map_pairs 2
@on_delete:maps
get_header_map_pairs 2
"""

CALLS = """
@on_request_headers:ok
http_call "app" [:method: POST, :path: /call, :authority: call.example, x-call: 1] "hello" "" 1000
return 1
@on_http_call_response:ok
get_status
get_header_map_value 6 ":status"
get_header_map_value 6 "x-answer"
get_header_map_value 6 "absent"
get_header_map_pairs 6
get_header_map_size 6
get_header_map_pairs 7
get_buffer_status 4
get_buffer_bytes 4 0 100
get_buffer_bytes 4 2 3
get_buffer_bytes 4 100 1
set_buffer_bytes 4 0 1 "x"
set_header_map_pairs 6 [a: b]
add_header_map_value 6 "a" "b"
add_header_map_value 0 "x-early" "root"
set_effective_context $context
get_header_map_value 6 "x-answer"
add_header_map_value 0 "x-called" "yes"
continue_stream 0
@on_request_headers:after
http_call "other" [:method: GET, :path: /call, :authority: a] "" "" 1000
@on_response_headers:after
get_header_map_value 6 ":status"
get_buffer_bytes 4 0 10
get_status
@on_request_headers:bad
http_call "nowhere" [:method: GET, :path: /, :authority: a] "" "" 1000
http_call "" [:method: GET, :path: /, :authority: a] "" "" 1000
http_call "app" [:path: /, :authority: a] "" "" 1000
http_call "app" [:method: GET, :authority: a] "" "" 1000
http_call "app" [:method: GET, :path: /] "" "" 1000
http_call "app" "" "" "" 1000
http_call "app" "rubbish" "" "" 1000
http_call "app" [:method: GET, :path: /, :authority: a] "" "" -1
http_call "app" [:method: GET, :path: /host, host: by-host] "" "" 1000
raw http_call -1 5 0 0 0 0 0 0 1000 100
raw http_call 0 0 0 0 -1 5 0 0 1000 100
raw http_call 0 0 0 0 0 0 0 0 1000 -1
raw http_call 0 0 0 0 0 0 -4 8 1000 100
@on_request_headers:dead
http_call "dead" [:method: GET, :path: /, :authority: a] "" "" 1000
return 1
@on_http_call_response:dead
get_status
get_header_map_pairs 6
get_buffer_bytes 4 0 300
set_effective_context $context
send_local_response 500 "call failed" "sorry" [x-why: dead] -1
@on_request_headers:empty
http_call "empty" [:method: GET, :path: /, :authority: a] "" "" 1000
@on_request_headers:late
http_call "app" [:method: GET, :path: /hang, :authority: a] "" "" 30
return 1
@on_http_call_response:late
get_status
get_header_map_pairs 6
get_buffer_bytes 4 0 300
set_effective_context $context
continue_stream 0
@on_request_headers:gone
http_call "app" [:method: GET, :path: /slow, :authority: a] "" "" 1000
return 1
@on_http_call_response:gone
get_header_map_value 6 ":status"
set_effective_context $context
@on_request_headers:trailers
http_call "h2app" [:method: POST, :path: /trailers, :authority: a] "body" [x-trailer: sent] 1000
return 1
@on_http_call_response:trailers
get_header_map_pairs 6
get_header_map_pairs 7
get_header_map_value 7 "x-trailer"
get_buffer_bytes 4 0 10
set_effective_context $context
continue_stream 0
@on_request_headers:twice
http_call "app" [:method: GET, :path: /one, :authority: a] "" "" 1000
return 1
@on_http_call_response:twice
nth 1 http_call "app" [:method: GET, :path: /two, :authority: a] "" "" 1000
nth 2 set_effective_context $context
nth 2 send_local_response 200 "" "twice" "" -1
"""

RESTRICTED = """
@on_request_headers:restricted
get_current_time_nanoseconds
get_header_map_value 0 ":path"
set_effective_context 77
wasi.random_get 4
wasi.clock_time_get 0 0
wasi.sched_yield
@on_response_headers:restricted
say "not called"
@on_log:restricted
say "called"
"""
ALLOWED = (
    "proxy_log proxy_get_header_map_value proxy_get_buffer_bytes clock_time_get proxy_on_context_create "
)
ALLOWED += "proxy_on_vm_start proxy_on_configure proxy_on_request_headers proxy_on_log proxy_on_delete"
RESTRICTION = f"""capability_restriction_config:
        allowed_capabilities: {{{", ".join(f"{name}: {{}}" for name in ALLOWED.split())}}}"""

# Of its own: what get_status says of a failure stays.
BROKEN = """
@on_request_headers:broken
http_call "app" [:method: GET, :path: /broken, :authority: a] "" "" 1000
return 1
@on_http_call_response:broken
get_status
get_header_map_pairs 6
get_header_map_value 6 ":status"
get_buffer_bytes 4 0 300
set_effective_context $context
get_status
continue_stream 0
@on_response_headers:broken
get_status
"""

SETUP = Setup(
    "wasm-guest",
    bootstrap(
        [
            listener("headers", routes=ROUTES, filters=guest("headers", HEADERS)),
            listener("calls", routes=ROUTES, filters=guest("calls", CALLS)),
            listener(
                "restricted",
                routes=ROUTES,
                filters=guest("restricted", RESTRICTED, RESTRICTION, "vm_id: restricted"),
            ),
            listener("broken", routes=ROUTES, filters=guest("broken", BROKEN)),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("other", "other"),
            cluster("dead", "dead"),
            cluster("empty"),
        ],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1", "h2app": "h2", "other": "h1", "dead": "dead"},
    modules("0_2_1"),
)


@scenario(SETUP)
async def wasm_guest_header_maps(s: Session) -> None:
    """Header maps in every phase of a stream: what can be read, what changed, what is refused."""
    s.upstream().script = answers(ok(b"ok", "x-up: 1"))
    async with guest_log(s, "headers", "on_delete"):
        await s.get("/", "x-case: maps", "X-Upper: u", "x-twice: 1", "x-twice: 2", to="headers")


@scenario(SETUP)
async def wasm_guest_http_call(s: Session) -> None:
    """A call holds the request; its answer is read in the callback, which lets the request go on."""
    s.upstream().script = answers(ok(b"the answer", "x-answer: 42"), ok(b"ok"))
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: ok", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_without_waiting(s: Session) -> None:
    """The request does not wait for the call; outside of the callback nothing is known of its answer."""

    async def script(call: Call) -> None:
        await call.body()
        await guest_says(s, start, "calls", "on_http_call_response")
        await call.send(ok(b"ok"))

    start = log_end(s)
    s.upstream().script = script
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: after", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_refused(s: Session) -> None:
    """Calls that cannot be made: no cluster, no pseudo headers, a negative timeout, pointers to nowhere."""
    async with guest_log(s, "calls", "on_delete", "on_http_call_response"):
        await s.get("/", "x-case: bad", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_fails(s: Session) -> None:
    """Nobody listens, there is no host, nobody answers in time."""

    async def script(call: Call) -> None:
        await call.body()
        if call.path == "/hang":
            await call.gone()
        else:
            await call.send(ok(b"ok"))

    s.upstream().script = script
    for case in ("dead", "empty", "late"):
        async with guest_log(s, "calls", "on_delete", label=f"log {case}"):
            await s.get("/", f"x-case: {case}", to="calls", label=case)


@scenario(SETUP)
async def wasm_guest_http_call_breaks_off(s: Session) -> None:
    """The answer has begun and breaks off: there is none, and the status says why."""

    async def script(call: Call) -> None:
        await call.body()
        if call.path == "/broken":
            await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            await call.close()
        else:
            await call.send(ok(b"ok"))

    s.upstream().script = script
    async with guest_log(s, "broken", "on_delete"):
        await s.get("/", "x-case: broken", to="broken")


@scenario(SETUP)
async def wasm_guest_http_call_outlives_its_stream(s: Session) -> None:
    """The client leaves while the call is under way: the plugin hears of the answer, the stream is gone."""
    asked, gone = trio.Event(), trio.Event()

    async def script(call: Call) -> None:
        await call.body()
        asked.set()
        await gone.wait()
        await call.send(ok(b"late"))

    s.upstream().script = script
    async with guest_log(s, "calls", "on_delete", "set_effective_context"):
        client = await s.connect("calls")
        await client.send(head("GET / HTTP/1.1", "host: a", "x-case: gone"))
        await asked.wait()
        client.close()
        await s.until_stats(
            lambda stats: not any(stats.values()), r"^http\.calls\.downstream_(cx|rq)_active$"
        )
        gone.set()


@scenario(SETUP)
async def wasm_guest_http_call_with_trailers(s: Session) -> None:
    """A call with a body and trailers, answered with trailers."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("x-h", "1")], b"ok", [("x-trailer", "back")])

    s.upstream("h2app").h2_script = script
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: trailers", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_from_its_callback(s: Session) -> None:
    """The callback of one call makes the next."""
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: twice", to="calls")


@scenario(SETUP)
async def wasm_guest_capabilities(s: Session) -> None:
    """Host functions that are not allowed fail, callbacks that are not allowed are not called."""
    async with guest_log(s, "restricted", "on_delete"):
        await s.get("/", "x-case: restricted", to="restricted")
