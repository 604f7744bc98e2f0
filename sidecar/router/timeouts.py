"""Limits of time that a request's headers ask for, and grpc-timeout both ways.

Envoy's ``FilterUtility::finalTimeout`` and ``Grpc::Common``: seen on the oracle, pinned by the scenarios
``duration_*``.  grpc-timeout is a number of at most 8 digits with a unit (gRPC over HTTP/2, Requests).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["GrpcTimeouts", "StreamDuration", "grpc_timeout_s", "set_grpc_timeout", "unsigned"]

_GRPC_TIMEOUT = b"grpc-timeout"
_MAX_VALUE = 99_999_999
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0}
_FINE_UNITS = {b"m": 1, b"u": 1000, b"n": 1_000_000}


@dataclass(frozen=True, slots=True)
class StreamDuration:
    """``RouteAction.max_stream_duration``, in seconds; None where a field is unset."""

    max_s: float | None = None
    grpc_header_max_s: float | None = None
    grpc_header_offset_s: float | None = None


@dataclass(frozen=True, slots=True)
class GrpcTimeouts:
    """``RouteAction.max_grpc_timeout`` and ``grpc_timeout_offset``, in seconds."""

    max_s: float
    offset_s: float = 0.0

    def timeout_s(self, headers: RequestHeaders) -> float:
        """The timeout of a gRPC request; 0 for none."""
        timeout = grpc_timeout_s(headers) or 0.0
        if self.offset_s < timeout:
            timeout -= self.offset_s
        if self.max_s and (not timeout or timeout > self.max_s):
            return self.max_s
        return timeout


def unsigned(text: bytes | None) -> int | None:
    """A number as Envoy reads it from a header (``absl::SimpleAtoi``): a plus and blanks around it pass."""
    if text is None:
        return None
    digits = text.strip(b" \t\n\v\f\r").removeprefix(b"+")
    if not digits.isdigit() or len(digits) > 20:
        return None
    number = int(digits)
    return number if number < 1 << 64 else None


def grpc_timeout_s(headers: RequestHeaders) -> float | None:
    """Seconds of grpc-timeout, in whole milliseconds; None where there is none, or nonsense."""
    text = headers.get(_GRPC_TIMEOUT)
    if not text:
        return None
    number = unsigned(text[:-1])
    if number is None or number > _MAX_VALUE:
        return None
    unit = text[-1:]
    if unit in _UNITS_S:
        return number * _UNITS_S[unit]
    divisor = _FINE_UNITS.get(unit)
    return None if divisor is None else math.ceil(number / divisor) / 1000


def set_grpc_timeout(headers: RequestHeaders, seconds: float) -> None:
    """Write grpc-timeout in the finest unit that takes the number."""
    value, unit = round(seconds * 1000), b"m"
    for factor, coarser in ((1000, b"S"), (60, b"M"), (60, b"H")):
        if value <= _MAX_VALUE:
            break
        value, unit = value // factor, coarser
    headers.set(_GRPC_TIMEOUT, b"%d%b" % (value, unit))
