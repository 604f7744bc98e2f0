"""The conformance guest on a connection and over METADATA; guests that begin in other ways."""

from __future__ import annotations

from typing import Any

from tests.support.h2_frames import DATA, END_HEADERS, END_STREAM, POST, frame, headers

from .. import guests
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener, parse
from ..frames import conversation, unseen
from ..guest_log import guest_log, guest_says, log_end
from ..guest_scripts import MODULES, guest, modules
from ..lab import Session
from ..scenario import Setup, scenario
from .http2_metadata import ALLOWED, TYPED, metadata, proxied
from .wasm_network import NETWORK
from .wasm_places import TCP_PROXY

SUBJECT = "wasm"

TCP = """
@on_new_connection
get_buffer_status 2
get_buffer_bytes 2 0 10
get_header_map_pairs 0
add_header_map_value 0 "x" "y"
continue_stream 0
continue_stream 1
continue_stream 2
continue_stream 3
@on_downstream_data
get_buffer_status 2
get_buffer_bytes 2 0 100
get_buffer_bytes 2 1 2
get_buffer_bytes 3 0 100
more? set_buffer_bytes 2 0 0 "<"
more? set_buffer_bytes 2 100 0 ">"
more? set_buffer_bytes 2 1 1 "x"
set_buffer_bytes 3 0 0 "x"
set_buffer_bytes 0 0 0 "x"
get_buffer_bytes 2 0 100
@on_upstream_data
get_buffer_status 3
get_buffer_bytes 3 0 100
get_buffer_bytes 2 0 100
more? set_buffer_bytes 3 0 1 "["
set_buffer_bytes 2 0 0 "x"
@on_downstream_connection_close
get_buffer_bytes 2 0 10
continue_stream 2
@on_upstream_connection_close
get_buffer_bytes 3 0 10
continue_stream 3
@on_done
get_buffer_bytes 2 0 10
@on_log
get_header_map_pairs 0
@on_delete
get_buffer_bytes 3 0 10
"""
METADATA = """
@on_request_metadata:meta
get_header_map_pairs 0
get_header_map_pairs 1
add_header_map_value 0 "x-met" "1"
return 1
"""
BOTH = """
@on_request_metadata:both
get_header_map_pairs 0
@on_response_metadata:both
get_header_map_pairs 2
add_header_map_value 2 "x-met" "1"
return 1
@on_response_body:both
get_buffer_status 1
"""
STARTS = {
    "start": ("_start",),
    "main": ("_initialize", "main"),
    "void": ("_initialize", "__main_void"),
    "both": ("_initialize", "_start"),
    "memory": ("proxy_on_memory_allocate",),
}
ROUTES = "- {match: {prefix: /}, route: {cluster: app}}"


def _beginning(name: str) -> dict[str, Any]:
    text = guest(name, "").replace("guest_0_2_1.wasm", f"{name}.wasm")
    return listener(name, routes=ROUTES, filters=text)


def _hostile(name: str) -> str:
    return guest(name, "", vm=f"vm_id: {name}").replace("guest_0_2_1.wasm", "hostile.wasm")


def _tcp() -> dict[str, Any]:
    config = parse(guest("tcp", TCP))[0]["typed_config"] | {"@type": NETWORK}
    proxy = {"@type": TCP_PROXY, "stat_prefix": "tcp", "cluster": "raw"}
    filters = [
        {"name": "envoy.filters.network.wasm", "typed_config": config},
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "tcp", "address": address, "filter_chains": [{"filters": filters}]}


SETUP = Setup(
    "wasm-guest-more",
    bootstrap(
        [
            _tcp(),
            listener("metadata", ALLOWED, routes=ROUTES, filters=guest("metadata", METADATA)),
            listener(
                "two-way", ALLOWED, routes=ROUTES.replace("app", "frames"), filters=guest("two-way", BOTH)
            ),
            *(_beginning(name) for name in STARTS),
            *(
                listener(each, routes=ROUTES, filters=_hostile(each))
                for each in ("lies", "no-memory", "far-memory")
            ),
        ],
        [
            cluster("app", "app"),
            cluster("raw", "raw"),
            cluster(
                "frames", "frames", extra=f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {TYPED}}}"
            ),
        ],
    ),
    {"app": "h1", "raw": "raw", "frames": "h1"},
    {
        **modules("0_2_1"),
        "hostile.wasm": (MODULES / "hostile_guest.wasm").read_bytes(),
        **{f"{name}.wasm": guests.starts(*exports) for name, exports in STARTS.items()},
    },
)


@scenario(SETUP)
async def wasm_guest_connection(s: Session) -> None:
    """Every callback of a connection, and what can be done in each to buffers of either direction."""
    start = log_end(s)
    async with guest_log(s, "tcp", "on_delete"):
        client = await s.connect("tcp")
        await guest_says(s, start, "tcp", "continue_stream 3")
        await client.send(b"hello")
        await client.tunnel(7)
        client.half_close()
        await client.closed()


@scenario(SETUP)
async def wasm_guest_metadata(s: Session) -> None:
    """METADATA between the head and the body of a request, where it is allowed."""
    unseen(s)
    async with guest_log(s, "metadata", "on_delete"):
        head = headers(1, *POST, (b"x-case", b"meta"), flags=END_HEADERS)
        body = frame(DATA, END_STREAM, 1, b"x")
        await conversation(s, "answer", head + metadata(1, b"v") + body, to="metadata", ends=(1,))


@scenario(SETUP, differs={"log": "metadata-ahead-of-bodies"})
async def wasm_guest_metadata_both_ways(s: Session) -> None:
    """METADATA at every place of an exchange over HTTP/2: the guest is told of it, and it goes on."""
    async with guest_log(s, "two-way", "on_delete"):
        await proxied(s, "both", "two-way", b"/", (b"x-case", b"both"), name="frames")


@scenario(SETUP)
async def wasm_guest_lies(s: Session) -> None:
    """Pointers outside of the memory, sizes beyond it, 10,000 timers: what each host function says."""
    for case in ("pointers", "sizes", "timers"):
        await s.get("/", f"x-case: {case}", to="lies", label=case)


@scenario(SETUP)
async def wasm_guest_allocator_lies(s: Session) -> None:
    """An allocator that gives no memory, or an address outside of it, when the host asks."""
    for case, name in (("null", "no-memory"), ("beyond", "far-memory")):
        await s.get("/", f"x-case: malloc:{case}", to=name, label=case)
        await s.get("/", to=name, label=f"after {case}")


@scenario(SETUP)
async def wasm_guest_starts(s: Session) -> None:
    """_start; _initialize, then main or __main_void; an allocator by its older name."""
    for name in STARTS:
        await s.get("/", to=name, label=name)
