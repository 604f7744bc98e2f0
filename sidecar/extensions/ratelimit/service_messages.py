"""The messages of ``envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit``: made and read here alone.

An edge in the sense of docs/adr/0004 and 0005: what comes in and goes out are plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from sidecar.api.rate_limit import Descriptor
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field

__all__ = [
    "ERROR",
    "OK",
    "OVER_LIMIT",
    "SHOULD_RATE_LIMIT",
    "LimitAnswer",
    "LimitStatus",
    "answer_of",
    "question",
]

SHOULD_RATE_LIMIT = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
OK, OVER_LIMIT, ERROR = range(3)
#: Seconds of ``RateLimitResponse.RateLimit.Unit``.
_SECONDS = {1: 1, 2: 60, 3: 3600, 4: 86_400, 5: 30 * 86_400, 6: 365 * 86_400, 7: 7 * 86_400}
_OVER = 2


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """How a descriptor stands."""

    is_over: bool
    #: Requests in a window of seconds, 0 for an unknown one, and the limit's name; None without a limit.
    limit: tuple[int, int, str] | None = None
    remaining: int = 0
    reset_s: int = 0


@dataclass(slots=True)
class LimitAnswer:
    """What the service said."""

    verdict: int = ERROR
    statuses: list[LimitStatus] = field(default_factory=list)
    response_headers: list[Field] = field(default_factory=list)
    request_headers: list[Field] = field(default_factory=list)
    body: bytes = b""
    metadata: dict[str, Any] = field(default_factory=dict)


@cache
def _messages() -> Any:
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.service.ratelimit.v3 import rls_pb2

    return rls_pb2


def question(domain: str, descriptors: Sequence[Descriptor], hits_addend: int = 0) -> bytes:
    """A RateLimitRequest."""
    message = _messages().RateLimitRequest(domain=domain, hits_addend=hits_addend)
    for each in descriptors:
        made = message.descriptors.add()
        for key, value in each.entries:
            made.entries.add(key=key.decode("utf-8", "replace"), value=value.decode("utf-8", "replace"))
        if each.limit is not None:
            made.limit.requests_per_unit = each.limit.requests_per_unit & 0xFFFFFFFF
            made.limit.unit = each.limit.unit
        if each.hits_addend is not None:
            made.hits_addend.value = each.hits_addend
            made.is_negative_hits = each.is_negative_hits
    data: bytes = message.SerializeToString()
    return data


def answer_of(data: bytes) -> LimitAnswer:
    """What a RateLimitResponse says; bytes that are none are an error."""
    try:
        message = _messages().RateLimitResponse.FromString(data)
    except DecodeError:
        return LimitAnswer()
    found = LimitAnswer(OVER_LIMIT if message.overall_code == _OVER else OK)
    for each in message.statuses:
        limit = None
        if each.HasField("current_limit"):
            current = each.current_limit
            limit = current.requests_per_unit, _SECONDS.get(current.unit, 0), current.name
        seconds = each.duration_until_reset.seconds
        found.statuses.append(LimitStatus(each.code == _OVER, limit, each.limit_remaining, seconds))
    found.response_headers = [_field(each) for each in message.response_headers_to_add]
    found.request_headers = [_field(each) for each in message.request_headers_to_add]
    found.body = message.raw_body
    if message.dynamic_metadata.fields:
        found.metadata = json_format.MessageToDict(message.dynamic_metadata)
    return found


def _field(header: Any) -> Field:
    return header.key.lower().encode(), header.value.encode()
