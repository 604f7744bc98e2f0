"""Compiles ``envoy.extensions.filters.http.fault.v3.HTTPFault``, the filter's and a route's."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import fraction
from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.core.runtime import Fraction, Number, Runtime
from sidecar.extensions.http.fault import (
    Abort,
    Delay,
    FaultFilter,
    FaultSettings,
    Percentage,
    RateLimit,
)

__all__ = ["FaultFactory"]

_NO_LIMIT = 2**64 - 1
#: Where the message names no keys.
_KEYS = {
    "delay_percent": "fault.http.delay.fixed_delay_percent",
    "delay_duration": "fault.http.delay.fixed_duration_ms",
    "abort_percent": "fault.http.abort.abort_percent",
    "abort_http_status": "fault.http.abort.http_status",
    "abort_grpc_status": "fault.http.abort.grpc_status",
    "max_active_faults": "fault.http.max_active_faults",
    "response_rate_limit_percent": "fault.http.rate_limit.response_percent",
}


class FaultFactory:
    """``envoy.filters.http.fault``."""

    name = "envoy.filters.http.fault"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.fault.v3.HTTPFault"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.fault.v3.HTTPFault"

    def compile(self, message: Any, context: FactoryContext) -> FaultFilter:
        """The filter.  Raises: ConfigError."""
        return FaultFilter(self.compile_route(message, context), context.stats.scope("fault"))

    def compile_route(self, message: Any, context: FactoryContext) -> FaultSettings:
        """One level's settings.  Raises: ConfigError."""
        keys = _Keys(message, context.runtime)
        limit = message.max_active_faults
        return FaultSettings(
            delay=_delay(message.delay, keys) if message.HasField("delay") else None,
            abort=_abort(message.abort, keys) if message.HasField("abort") else None,
            rate_limit=_rate_limit(message.response_rate_limit, keys)
            if message.HasField("response_rate_limit")
            else None,
            upstream_cluster=message.upstream_cluster,
            headers=tuple(
                compile_header_matcher(each, f"{context.path}.headers[{index}]")
                for index, each in enumerate(message.headers)
            ),
            downstream_nodes=frozenset(node.encode() for node in message.downstream_nodes),
            max_active_faults=keys.most(limit.value if message.HasField("max_active_faults") else None),
            disable_downstream_cluster_stats=message.disable_downstream_cluster_stats,
            filter_metadata=json_format.MessageToDict(message.filter_metadata),
        )


class _Keys:
    """What the runtime may say instead; the message may give each key another name."""

    def __init__(self, message: Any, runtime: Runtime) -> None:
        self._message = message
        self._runtime = runtime

    def _key(self, field: str) -> str:
        return getattr(self._message, f"{field}_runtime") or _KEYS[field]

    def share(self, field: str) -> Fraction | None:
        """A share whose numerator is negative while the runtime says nothing."""
        key = self._key(field)
        return self._runtime.fraction(key, -1, 100) if self._runtime.follows(key) else None

    def number(self, field: str) -> Number | None:
        """A number that is negative while the runtime says nothing."""
        key = self._key(field)
        return self._runtime.number(key, -1) if self._runtime.follows(key) else None

    def most(self, limit: int | None) -> Number | None:
        """How many faults at once; None without a limit."""
        key = self._key("max_active_faults")
        if limit is None and not self._runtime.follows(key):
            return None
        return self._runtime.number(key, _NO_LIMIT if limit is None else limit)


def _delay(message: Any, keys: _Keys) -> Delay:
    share = keys.share("delay_percent")
    if message.WhichOneof("fault_delay_secifier") == "header_delay":
        return Delay(None, _percentage(message, share, b"x-envoy-fault-delay-request-percentage"))
    fixed_s = message.fixed_delay.ToTimedelta().total_seconds()
    return Delay(fixed_s, _percentage(message, share), keys.number("delay_duration"))


def _abort(message: Any, keys: _Keys) -> Abort:
    kind = message.WhichOneof("error_type")
    body = message.response_body.encode() or b"fault filter abort"
    share = keys.share("abort_percent")
    if kind == "header_abort":
        percentage = _percentage(message, share, b"x-envoy-fault-abort-request-percentage")
        return Abort(None, None, percentage, body)
    if kind == "grpc_status":
        status = keys.number("abort_grpc_status")
        return Abort(None, message.grpc_status, _percentage(message, share), body, status)
    return Abort(
        message.http_status, None, _percentage(message, share), body, keys.number("abort_http_status")
    )


def _rate_limit(message: Any, keys: _Keys) -> RateLimit:
    share = keys.share("response_rate_limit_percent")
    if message.WhichOneof("limit_type") == "header_limit":
        return RateLimit(None, _percentage(message, share, b"x-envoy-fault-throughput-response-percentage"))
    return RateLimit(message.fixed_limit.limit_kbps, _percentage(message, share))


def _percentage(message: Any, share: Fraction | None, header: bytes | None = None) -> Percentage:
    return Percentage(*fraction(message.percentage), header, share)
