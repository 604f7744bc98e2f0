"""Numbers in headers and grpc-timeout, as Envoy reads and writes them (scenarios ``duration_grpc_*``)."""

from __future__ import annotations

import pytest

from sidecar.core.headers import RequestHeaders
from sidecar.router.timeouts import GrpcTimeouts, grpc_timeout_s, set_grpc_timeout, unsigned


def with_timeout(text: bytes | None) -> RequestHeaders:
    fields = [] if text is None else [(b"grpc-timeout", text)]
    return RequestHeaders(b"POST", b"/", b"a", b"http", fields)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"15", 15),
        (b"+5", 5),
        (b" 5\t", 5),
        (b"18446744073709551615", 18446744073709551615),
        (b"18446744073709551616", None),
        (b"9" * 5000, None),
        (b"-1", None),
        (b"++1", None),
        (b"", None),
        (b"1.5", None),
        (b"0x1", None),
        (b"\xd9\xa3", None),
        (None, None),
    ],
)
def test_unsigned_number_of_a_header(text: bytes | None, number: int | None) -> None:
    assert unsigned(text) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"40m", 0.04),
        (b"5000000u", 5.0),
        (b"1u", 0.001),
        (b"1n", 0.001),
        (b"1000001n", 0.002),
        (b"0n", 0.0),
        (b"99999999S", 99999999.0),
        (b"100000000S", None),
        (b"000000001S", 1.0),
        (b"1", None),
        (b"1s", None),
        (b"S", None),
        (b"-1S", None),
        (b"", None),
        (None, None),
    ],
)
def test_grpc_timeout_in_every_unit(text: bytes | None, seconds: float | None) -> None:
    assert grpc_timeout_s(with_timeout(text)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, b"0m"),
        (0.12, b"120m"),
        (99999.999, b"99999999m"),
        (100000.0, b"100000S"),
        (99999999.0, b"99999999S"),
        (100000000.0, b"1666666M"),
        (99999999.0 * 3600, b"99999999H"),
    ],
)
def test_grpc_timeout_is_written_in_the_finest_unit_that_fits(seconds: float, text: bytes) -> None:
    headers = with_timeout(b"1S")
    set_grpc_timeout(headers, seconds)
    assert headers.get(b"grpc-timeout") == text


@pytest.mark.parametrize(
    ("maximum", "offset", "text", "seconds"),
    [
        (10.0, 0.0, b"3S", 3.0),
        (10.0, 0.0, b"30S", 10.0),
        (10.0, 0.0, None, 10.0),
        (0.0, 0.0, b"30S", 30.0),
        (0.0, 0.0, None, 0.0),
        (10.0, 1.0, b"3S", 2.0),
        (10.0, 3.0, b"3S", 3.0),
    ],
)
def test_max_grpc_timeout(maximum: float, offset: float, text: bytes | None, seconds: float) -> None:
    assert GrpcTimeouts(maximum, offset).timeout_s(with_timeout(text)) == seconds
