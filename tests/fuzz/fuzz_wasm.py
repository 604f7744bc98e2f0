"""Fuzz targets for Wasm guests: bytes of modules and of header maps, paths, arguments of host functions.

Whatever comes, a guest that is nonsense is refused with a ModuleError, a header map decodes to pairs or none,
a path leads to bytes, to nothing or to a status, and a host function answers with a status of its own or
traps: nothing else may come out.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import wasmtime
from envoy.config.core.v3.base_pb2 import Node

from sidecar.api.message import RequestMessage
from sidecar.api.plain_connection import PlainConnection
from sidecar.api.stream import Stream
from sidecar.config.compile.node import compile_node
from sidecar.core.address import Address
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.extensions.http.wasm_properties import LEAVES, NO_MAPS, ROOTS, PluginFacts, find_property
from sidecar.router.route import Route
from sidecar.upstream.host import Host, Locality
from wasm_abi import AbiVersion, Engine, Limits, ModuleError, Plugin, StreamContext, Vm, WasmTrap
from wasm_abi.abi import Errno, Status
from wasm_abi.hostcalls.table import HostFunction, host_functions
from wasm_abi.pairs import decode_pairs, encode_pairs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "wasm_abi"))
from wasm_guests import FakePluginHost, FakeStream, guest

_FUNCTIONS = sorted(host_functions(AbiVersion.V0_2_1).values(), key=lambda item: item.name)
_AT = 1024
_ENGINE = Engine(watchdog=False)

MODULES = [bytes(wasmtime.wat2wasm(guest())), b"\0asm\x01\0\0\0", guest()]
PATHS = [
    *(b"\0".join(path) for path in LEAVES),
    *ROOTS,
    b"xds\0node\0metadata\0list\0" + b"1",
    b"xds\0node\0metadata\0deep\0er\0" + b"0",
    b"xds\0route_metadata\0filter_metadata\0of\0route\0" + b"1\0a",
    b"metadata\0filter_metadata\0set\0k\0" + b"2\0a\0b",
    b"request\0headers\0:path",
    b"filter_state\0number",
]
MAPS = [encode_pairs([(b"a", b"b"), (b":path", b"/")]), b"\0\0\0\0", b""]
#: A function's number, then its arguments.
CALLS = [
    bytes([number]) + argument.to_bytes(4, "little") * 8
    for number in range(len(_FUNCTIONS))
    for argument in (0, _AT, 0xFFFF_FFFF)
]


def test_module(data: bytes) -> None:
    try:
        _ENGINE.compile(data)
    except ModuleError:
        return


def test_pairs(data: bytes) -> None:
    pairs = decode_pairs(data)
    assert not pairs or encode_pairs(pairs) == data


@cache
def _request() -> tuple[Stream, list[RequestHeaders | ResponseHeaders | None], PluginFacts]:
    """A request at its end, with whatever can be asked for."""
    node = Node(id="n", cluster="c")
    node.locality.zone = "z"
    node.metadata.update({"text": "t", "number": 1, "list": [1, "a", None], "deep": {"er": [True]}})
    headers = RequestHeaders(authority=b"a", path=b"/p?q", method=b"GET", scheme=b"http")
    headers.add(b"content-length", b"1x")
    address = Address.ip("127.0.0.1", 80)
    route = Route()
    route.metadata = {"of": {"route": [1.5, {"a": None}]}}
    stream = Stream(
        PlainConnection(1, "192.0.2.1:1", "[::1]:2", "l"), object(), RequestMessage(headers), "HTTP/1.1"
    )
    stream.resolve_route, stream.route = False, route
    stream.upstream_host = Host(address, locality=Locality("r", "z"), metadata={"of": {"host": True}})
    stream.filter_state = {"text": "t", "wasm.own": b"x", "number": 3}
    stream.dynamic_metadata = {"set": {"k": [1, "v", {"a": {"b": "c"}}]}}
    response = ResponseHeaders(200)
    response.add(b"grpc-status", b"x")
    facts = PluginFacts("p", "r", "v", compile_node(node), lambda name: None)
    return stream, [headers, None, response, None], facts


def test_property(data: bytes) -> None:
    stream, maps, facts = _request()
    path = tuple(data.split(b"\0"))
    for of, those in ((stream, maps), (stream, NO_MAPS), (None, NO_MAPS)):
        found = find_property(of, those, facts, path)
        assert found is None or isinstance(found, bytes | Status)


@cache
def _stream(function: HostFunction) -> StreamContext:
    loads = "".join(
        f"({'i64' if kind == 'I' else 'i32'}.load (i32.const {_AT + 8 * index}))"
        for index, kind in enumerate(function.params)
    )
    call = f"(call ${function.name} {loads})"
    body = f"(i32.store (i32.const 0) {call})" if function.has_result else call
    code = guest(
        {"proxy_on_request_headers": f"{body} (i32.const 1)"},
        imports=(function.name,),
        # One that always fits, so that a fuzzed size cannot use up the memory.
        malloc='(func (export "malloc") (param i32) (result i32) (i32.const 32768))',
        pages=2,
    )
    host = FakePluginHost()
    plugin = Plugin(Vm(_ENGINE.compile(code), host=host, limits=Limits(memory_bytes=4 << 20)), host)
    plugin.start()
    return plugin.create_stream(FakeStream((b"a", b"b"), body=b"body"))


def test_host_call(data: bytes) -> None:
    function = _FUNCTIONS[data[0] % len(_FUNCTIONS)] if data else _FUNCTIONS[0]
    stream = _stream(function)
    memory = stream.plugin.vm.memory
    memory.write(_AT, data[1:4096].ljust(128, b"\0"))
    try:
        stream.on_request_headers(1, False)
    except WasmTrap as trap:
        if isinstance(trap.__cause__, IndexError | KeyError | TypeError):
            raise  # of ours, not of the guest's
        _stream.cache_clear()
        return
    status = int.from_bytes(memory.read(0, 4), "little")
    if function.group == "wasi":
        Errno(status)
    elif function.name.startswith("proxy_"):
        Status(status)
