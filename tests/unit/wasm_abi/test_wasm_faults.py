"""Any arguments at all to every host function: no crash, no trap, and only the statuses the SDKs expect.

The Rust SDK panics on a status it does not know for a function; the table is that of the specification.
"""

import random
from functools import partial

import pytest
from wasm_guests import FakeStream, Runner, guest

from wasm_abi import AbiVersion, MapType, Status, WasmTrap
from wasm_abi.abi import Errno
from wasm_abi.hostcalls.table import HostFunction, host_functions

ARGUMENTS_AT = 1024
ROUNDS = 150
INTERESTING = (0, 1, 2, 3, 4, 5, 8, 16, 100, 1024, 4096, 65532, 65535, 65536, 131072, 1 << 31, (1 << 32) - 1)

BAD, NOT_FOUND = Status.BAD_ARGUMENT, Status.NOT_FOUND
#: What a function may return besides OK and INVALID_MEMORY_ACCESS.
ALLOWED: dict[str, set[Status]] = {
    "proxy_log": {BAD},
    "proxy_set_buffer_bytes": {BAD, NOT_FOUND},
    "proxy_get_buffer_bytes": {BAD, NOT_FOUND},
    "proxy_get_buffer_status": {BAD, NOT_FOUND},
    "proxy_get_header_map_size": {BAD},
    "proxy_get_header_map_pairs": {BAD},
    "proxy_set_header_map_pairs": {BAD},
    "proxy_get_header_map_value": {BAD, NOT_FOUND},
    "proxy_add_header_map_value": {BAD},
    "proxy_replace_header_map_value": {BAD},
    "proxy_remove_header_map_value": {BAD},
    "proxy_continue_stream": {BAD, Status.UNIMPLEMENTED},
    "proxy_close_stream": {BAD},
    "proxy_http_call": {BAD, Status.INTERNAL_FAILURE},
    "proxy_grpc_call": {Status.PARSE_FAILURE, Status.INTERNAL_FAILURE},
    "proxy_grpc_stream": {Status.PARSE_FAILURE, Status.INTERNAL_FAILURE},
    "proxy_grpc_send": {BAD, NOT_FOUND},
    "proxy_grpc_cancel": {BAD, NOT_FOUND},
    "proxy_grpc_close": {BAD, NOT_FOUND},
    "proxy_set_shared_data": {Status.CAS_MISMATCH},
    "proxy_get_shared_data": {NOT_FOUND},
    "proxy_resolve_shared_queue": {NOT_FOUND},
    "proxy_enqueue_shared_queue": {NOT_FOUND},
    "proxy_dequeue_shared_queue": {NOT_FOUND, Status.EMPTY},
    "proxy_define_metric": {BAD},
    "proxy_record_metric": {NOT_FOUND},
    "proxy_increment_metric": {NOT_FOUND, BAD},
    "proxy_get_metric": {NOT_FOUND, BAD},
    "proxy_get_property": {NOT_FOUND, Status.SERIALIZATION_FAILURE},
    "proxy_set_property": {NOT_FOUND},
    "proxy_call_foreign_function": {NOT_FOUND},
    "proxy_set_effective_context": {BAD},
    "proxy_done": {NOT_FOUND},
}
FUNCTIONS = sorted(
    {item for version in AbiVersion for item in host_functions(version).values()}, key=lambda item: item.name
)


def passing_on(function: HostFunction) -> bytes:
    """A guest that calls the function with the arguments it finds in its memory."""
    abi = AbiVersion.V0_2_1 if AbiVersion.V0_2_1 in function.versions else AbiVersion.V0_1_0
    loads = " ".join(
        f"({'i64' if kind == 'I' else 'i32'}.load (i32.const {ARGUMENTS_AT + 8 * index}))"
        for index, kind in enumerate(function.params)
    )
    call = f"(call ${function.name} {loads})"
    body = (
        f"(i32.store (i32.const 0) {call}) (i32.const 0)" if function.has_result else f"{call} (i32.const 0)"
    )
    callback = "proxy_on_request_body" if "buffer" in function.name else "proxy_on_request_headers"
    return guest({callback: body}, imports=(function.name,), abi=abi)


def argument(source: random.Random) -> int:
    choice = source.choice(INTERESTING)
    return source.choice((choice, choice, (choice - 1) & 0xFFFFFFFF, source.getrandbits(16)))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda item: f"{item.group}.{item.name}")
def test_arbitrary_arguments_give_an_expected_status(run: Runner, function: HostFunction) -> None:
    source = random.Random(function.name)
    fake = FakeStream((b"", b""), (b"a", b"1"), body=b"body")
    fake.maps[MapType.HTTP_RESPONSE_HEADERS] = [(b":status", b"200")]
    stream = run.stream(passing_on(function), fake)
    memory = run.vms[0].memory
    next_argument = partial(argument, source)
    for _ in range(ROUNDS):
        for index in range(len(function.params)):
            memory.write_u64(ARGUMENTS_AT + 8 * index, next_argument())
        stream.on_request_headers(0, False)
        stream.on_request_body(0, True)
        result = int.from_bytes(memory.read(0, 4), "little")
        if function.group == "wasi":
            assert result in set(Errno)
        elif function.name.startswith("proxy_"):
            assert result in {Status.OK, Status.INVALID_MEMORY_ACCESS} | ALLOWED.get(function.name, set())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("_ZN5guest3run17h96c1967f2c495731E", "guest::run"),
        ("_ZN5guest3runE", "guest::run"),
        ("_ZN99guestE", "_ZN99guestE"),
        ("_ZNE", "_ZNE"),
        ("_ZN17h96c1967f2c495731E", "_ZN17h96c1967f2c495731E"),
        ("_ZN0E", "_ZN0E"),
    ],
)
def test_backtrace_shows_rust_names_as_rust_has_them(run: Runner, name: str, shown: str) -> None:
    code = guest(
        {"proxy_on_tick": "(call $inner)"},
        extra="(func $inner (unreachable))",
    )
    code = code.replace(b"$inner", b"$" + name.encode())
    plugin = run.plugin(code)
    with pytest.raises(WasmTrap) as caught:
        plugin.on_tick()
    assert caught.value.backtrace[0] == shown
    assert caught.value.callback == "proxy_on_tick"
