"""Header map host functions, statuses and memory."""

import pytest
from wasm_guests import FakeStream, Runner, calling

from wasm_abi import AbiVersion, MapType, Status
from wasm_abi.pairs import decode_pairs, encode_pairs

HEADERS = ((b":path", b"/"), (b"x-id", b"42"), (b"x-id", b"43"))
REQUEST = MapType.HTTP_REQUEST_HEADERS
BEYOND = 0x7FFF0000


def test_get_value_of_a_present_header_hands_over_the_first_value(run: Runner) -> None:
    code = calling("proxy_get_header_map_value", 0, 100, 4, 8, 12, data={100: b"X-ID"})
    assert run.status(code, FakeStream(*HEADERS)) == Status.OK
    assert run.given(8, 12) == b"42"


def test_get_value_of_an_empty_header_is_ok_with_address_zero(run: Runner) -> None:
    code = calling("proxy_get_header_map_value", 0, 100, 1, 8, 12, data={100: b"e", 8: b"\xff" * 8})
    assert run.status(code, FakeStream((b"e", b""))) == Status.OK
    assert (run.u32(8), run.u32(12)) == (0, 0)


def test_get_value_of_an_absent_header_is_not_found(run: Runner) -> None:
    code = calling("proxy_get_header_map_value", 0, 100, 4, 8, 12, data={100: b"none"})
    assert run.status(code, FakeStream(*HEADERS)) == Status.NOT_FOUND


def test_get_value_of_an_absent_header_in_abi_0_1_0_is_an_empty_value(run: Runner) -> None:
    code = calling("proxy_get_header_map_value", 0, 100, 4, 8, 12, data={100: b"none"}, abi=AbiVersion.V0_1_0)
    assert run.status(code, FakeStream(*HEADERS)) == Status.OK
    assert run.u32(12) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("proxy_get_header_map_value", (100, 4, 8, 12)),
        ("proxy_get_header_map_size", (8,)),
        ("proxy_set_header_map_pairs", (100, 0)),
        ("proxy_add_header_map_value", (100, 4, 100, 4)),
        ("proxy_replace_header_map_value", (100, 4, 100, 4)),
        ("proxy_remove_header_map_value", (100, 4)),
    ],
)
@pytest.mark.parametrize("map_type", [MapType.HTTP_RESPONSE_TRAILERS, 8, 0xFFFFFFFF])
def test_maps_that_are_absent_or_unknown_are_a_bad_argument(
    run: Runner, name: str, arguments: tuple[int, ...], map_type: int
) -> None:
    assert run.status(calling(name, map_type, *arguments), FakeStream(*HEADERS)) == Status.BAD_ARGUMENT


def test_get_pairs_hands_over_the_serialized_map(run: Runner) -> None:
    assert run.status(calling("proxy_get_header_map_pairs", 0, 8, 12), FakeStream(*HEADERS)) == Status.OK
    assert decode_pairs(run.given(8, 12)) == list(HEADERS)


def test_get_pairs_of_an_absent_map_is_an_empty_map(run: Runner) -> None:
    assert run.status(calling("proxy_get_header_map_pairs", 3, 8, 12)) == Status.OK
    assert run.u32(12) == 0


def test_get_pairs_of_an_unknown_map_is_a_bad_argument(run: Runner) -> None:
    assert run.status(calling("proxy_get_header_map_pairs", 9, 8, 12)) == Status.BAD_ARGUMENT


def test_get_size_counts_names_and_values(run: Runner) -> None:
    assert run.status(calling("proxy_get_header_map_size", 0, 8), FakeStream(*HEADERS)) == Status.OK
    assert run.u32(8) == sum(len(name) + len(value) for name, value in HEADERS)


def test_set_pairs_replaces_the_map_with_lower_case_names(run: Runner) -> None:
    data = encode_pairs([(b"A", b"1"), (b"b", b"")])
    fake = FakeStream(*HEADERS)
    assert (
        run.status(calling("proxy_set_header_map_pairs", 0, 100, len(data), data={100: data}), fake)
        == Status.OK
    )
    assert fake.maps[REQUEST] == [(b"a", b"1"), (b"b", b"")]


def test_set_pairs_with_malformed_data_clears_the_map(run: Runner) -> None:
    fake = FakeStream(*HEADERS)
    code = calling("proxy_set_header_map_pairs", 0, 100, 8, data={100: b"\xff" * 8})
    assert run.status(code, fake) == Status.OK
    assert fake.maps[REQUEST] == []


def test_add_replace_and_remove_change_the_map(run: Runner) -> None:
    data = {100: b"X-Id", 110: b"new"}
    fake = FakeStream(*HEADERS)
    assert run.status(calling("proxy_add_header_map_value", 0, 100, 4, 110, 3, data=data), fake) == Status.OK
    assert fake.maps[REQUEST] == [*HEADERS, (b"x-id", b"new")]
    fake = FakeStream(*HEADERS)
    assert (
        run.status(calling("proxy_replace_header_map_value", 0, 100, 4, 110, 3, data=data), fake) == Status.OK
    )
    assert fake.maps[REQUEST] == [(b":path", b"/"), (b"x-id", b"new")]
    fake = FakeStream(*HEADERS)
    assert run.status(calling("proxy_remove_header_map_value", 0, 100, 4, data=data), fake) == Status.OK
    assert fake.maps[REQUEST] == [(b":path", b"/")]


def test_remove_of_an_absent_header_is_ok(run: Runner) -> None:
    assert run.status(calling("proxy_remove_header_map_value", 0, 100, 4), FakeStream(*HEADERS)) == Status.OK


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("proxy_get_header_map_value", (0, BEYOND, 4, 8, 12)),
        ("proxy_get_header_map_value", (0, 100, 0xFFFFFFFF, 8, 12)),
        ("proxy_get_header_map_value", (0, 100, 4, BEYOND, 12)),
        ("proxy_get_header_map_value", (0, 100, 4, 8, 65533)),
        ("proxy_get_header_map_value", (0, 100, 4, 8, 0xFFFFFFFF)),
        ("proxy_get_header_map_pairs", (0, BEYOND, 12)),
        ("proxy_get_header_map_pairs", (0, 8, BEYOND)),
        ("proxy_get_header_map_size", (0, BEYOND)),
        ("proxy_set_header_map_pairs", (0, 65530, 7)),
        ("proxy_add_header_map_value", (0, 100, 4, BEYOND, 1)),
        ("proxy_add_header_map_value", (0, 65536, 1, 100, 4)),
        ("proxy_replace_header_map_value", (0, 100, 4, 65535, 2)),
        ("proxy_remove_header_map_value", (0, BEYOND, 1)),
    ],
)
def test_pointers_out_of_range_are_an_invalid_memory_access(
    run: Runner, name: str, arguments: tuple[int, ...]
) -> None:
    fake = FakeStream((b"x-id", b"42"))
    status = run.status(calling(name, *arguments, data={100: b"x-id"}), fake)
    assert status == Status.INVALID_MEMORY_ACCESS
    assert fake.maps[REQUEST] == [(b"x-id", b"42")]


def test_maps_read_as_empty_while_logging(run: Runner) -> None:
    code = calling("proxy_get_header_map_value", 3, 100, 4, 8, 12).replace(
        b'"proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)',
        b'"proxy_on_log") (param $context i32)',
    )
    code = code.replace(b"8) (i32.const 12))) (i32.const 0))", b"8) (i32.const 12))))")
    run.stream(code, FakeStream(*HEADERS)).on_log()
    assert run.u32(0) == Status.NOT_FOUND
