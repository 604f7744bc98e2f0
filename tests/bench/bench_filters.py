"""What one hook of the Lua and the Wasm filter costs: ``python tests/bench/bench_filters.py``.

Prints microseconds per call, the best of many short rounds; resetting the headers between calls is measured
apart and taken off.  Pin it to one core (``taskset -c 1``) for numbers worth comparing.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import time
from collections.abc import Callable
from typing import Any

from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from google.protobuf.json_format import ParseDict

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.api.message import FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.extensions.http.lua import LuaFilter, LuaStats
from sidecar.extensions.http.lua_script import Source
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.observability.stats import Store

REQUEST = [
    (b"user-agent", b"wrk"),
    (b"accept", b"*/*"),
    (b"x-a", b"1"),
    (b"x-b", b"2"),
    (b"x-forwarded-proto", b"http"),
    (b"x-request-id", b"6cf0a2f5-8a3e-4c1f-9a39-5b7c8a0f1f3d"),
]
RESPONSE = [(b"content-type", b"text/plain"), (b"content-length", b"2"), (b"server", b"app")]
EMPTY = b"function envoy_on_request(h) end function envoy_on_response(h) end"
EDIT = b"""
function envoy_on_request(h)
  local headers = h:headers()
  if headers:get("host") then headers:add("x-lua", "1") end
end
function envoy_on_response(h)
  h:headers():add("x-lua", "1")
  h:headers():remove("server")
end
"""


class Connection:
    remote_address = direct_remote_address = "127.0.0.1:1"
    local_address = direct_local_address = "127.0.0.1:2"
    filter_state = dynamic_metadata = typed_metadata = None
    requested_server_name = ""
    tls = None
    transport_failure_reason = ""


class Hcm:
    slot_count = 1
    buffer_limit_bytes = 1 << 20

    def resolve_route(self, stream: Stream) -> None:
        stream.resolve_route = False


def measure(call: Callable[[], object], rounds: int, number: int = 200) -> float:
    """Microseconds per call: the best of many short rounds, since a busy machine only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(number):
            call()
        best = min(best, (time.perf_counter() - start) / number)
    return best * 1e6


def new_stream() -> Stream:
    headers = RequestHeaders(b"GET", b"/", b"example.com", b"http", list(REQUEST))
    stream = Stream(Connection(), Hcm(), RequestMessage(headers), "HTTP/1.1")  # type: ignore[arg-type]
    stream.response = ResponseMessage(ResponseHeaders(200, list(RESPONSE)), FixedBody(b"ok"))
    return stream


def reset(stream: Stream) -> None:
    stream.request.headers.fields = REQUEST.copy()
    stream.request.headers._index = None
    assert stream.response is not None
    stream.response.headers.fields = RESPONSE.copy()
    stream.response.headers._index = None


def bench_lua(rounds: int) -> dict[str, float]:
    store = Store()
    stats = LuaStats(store.counter("errors"), store.counter("executions"))
    stream = new_stream()
    base = measure(lambda: reset(stream), rounds)
    found = {}
    for name, code in (("empty", EMPTY), ("edit", EDIT)):
        lua = LuaFilter(Source(code), {}, stats, scope=store.scope("lua"), find_cluster=lambda name: None)
        for half, hook in (("request", lua.decode_headers), ("response", lua.encode_headers)):

            def call(hook: Callable[[Stream], object] = hook) -> None:
                reset(stream)
                hook(stream)

            found[f"lua {name} {half}"] = measure(call, rounds) - base
    assert stats.errors.value == 0
    return found


def bench_wasm(rounds: int) -> dict[str, float]:
    store = Store()
    code = importlib.resources.files("sidecar").joinpath("demo_assets/header_guard.wasm").read_bytes()
    context = FactoryContext(
        stats=store,
        root_stats=store,
        node=NodeInfo(),
        path="",
        warn=lambda path, reason: None,
        read_data_source=lambda source, path: code,
        on_close=lambda close: None,
        find_cluster=lambda name: None,
    )
    vm_config = {"code": {"local": {"filename": "header_guard.wasm"}}}
    message: Any = ParseDict({"config": {"name": "bench", "vm_config": vm_config}}, Wasm())
    wasm = WasmFactory().compile(message, context)
    stream = new_stream()
    base = measure(lambda: reset(stream), rounds)

    def request() -> None:
        reset(stream)
        assert wasm.decode_headers(stream) is None
        wasm.on_complete(stream)

    def both() -> None:
        reset(stream)
        assert wasm.decode_headers(stream) is None
        assert wasm.encode_headers(stream) is None
        wasm.on_complete(stream)

    def with_body() -> None:
        assert stream.response is not None
        stream.response.body = FixedBody(b"ok")
        both()
        stream.response.body = None

    assert stream.response is not None
    stream.response.body = None
    return {
        "wasm header_guard request, context made and ended": measure(request, rounds) - base,
        "wasm header_guard request and response": measure(both, rounds) - base,
        "wasm header_guard the same with a body": measure(with_body, rounds) - base,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="rounds of 200 calls")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {**bench_lua(options.rounds), **bench_wasm(options.rounds)}
    if options.json:
        print(json.dumps(found))
        return
    for name, microseconds in found.items():
        print(f"{name:52s} {microseconds:7.2f} us")


if __name__ == "__main__":
    main()
