"""A guest that hands more to the host than it may, in one call or in many."""

import pytest
from wasm_guests import FakeStream, Runner, guest

from wasm_abi import Limits, MapType, WasmOutputExceeded

KILOBYTE = 1024


def adding(times: int) -> bytes:
    """A guest that adds so many headers of a kilobyte to every request."""
    body = f"""(local $turn i32)
        (loop $again
          (drop (call $proxy_add_header_map_value (i32.const 0) (i32.const 4) (i32.const 1)
            (i32.const 8192) (i32.const {KILOBYTE})))
          (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $turn) (i32.const {times}))))
        (i32.const 0)"""
    return guest(
        {"proxy_on_request_headers": body},
        imports=("proxy_add_header_map_value",),
        data={4: b"x", 8192: b"y" * KILOBYTE},
    )


def test_call_that_hands_over_too_much_fails(run: Runner) -> None:
    plugin = run.plugin(adding(1000), limits=Limits(output_bytes=100 * KILOBYTE))
    stream = FakeStream()
    with pytest.raises(WasmOutputExceeded, match="more than 102400 bytes"):
        plugin.create_stream(stream).on_request_headers(0, True)
    assert 80 <= len(stream.maps[MapType.HTTP_REQUEST_HEADERS]) <= 250


def test_calls_that_hand_over_less_may_go_on_for_ever(run: Runner) -> None:
    plugin = run.plugin(adding(60), limits=Limits(output_bytes=100 * KILOBYTE))
    for _ in range(20):
        plugin.create_stream(FakeStream()).on_request_headers(0, True)
