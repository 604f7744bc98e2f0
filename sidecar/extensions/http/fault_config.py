"""Compiles ``envoy.extensions.filters.http.fault.v3.HTTPFault``, the filter's and a route's."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.compile.route_predicates import fraction
from sidecar.extensions.http.fault import (
    Abort,
    Delay,
    FaultFilter,
    FaultSettings,
    Percentage,
    RateLimit,
)

__all__ = ["FaultFactory"]


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
        limit = message.max_active_faults
        return FaultSettings(
            delay=_delay(message.delay) if message.HasField("delay") else None,
            abort=_abort(message.abort) if message.HasField("abort") else None,
            rate_limit=_rate_limit(message.response_rate_limit)
            if message.HasField("response_rate_limit")
            else None,
            upstream_cluster=message.upstream_cluster,
            headers=tuple(
                compile_header_matcher(each, f"{context.path}.headers[{index}]")
                for index, each in enumerate(message.headers)
            ),
            downstream_nodes=frozenset(node.encode() for node in message.downstream_nodes),
            max_active_faults=limit.value if message.HasField("max_active_faults") else None,
            disable_downstream_cluster_stats=message.disable_downstream_cluster_stats,
            filter_metadata=json_format.MessageToDict(message.filter_metadata),
        )


def _delay(message: Any) -> Delay:
    if message.WhichOneof("fault_delay_secifier") == "header_delay":
        return Delay(None, _percentage(message, b"x-envoy-fault-delay-request-percentage"))
    return Delay(message.fixed_delay.ToTimedelta().total_seconds(), _percentage(message))


def _abort(message: Any) -> Abort:
    kind = message.WhichOneof("error_type")
    body = message.response_body.encode() or b"fault filter abort"
    if kind == "header_abort":
        return Abort(None, None, _percentage(message, b"x-envoy-fault-abort-request-percentage"), body)
    if kind == "grpc_status":
        return Abort(None, message.grpc_status, _percentage(message), body)
    return Abort(message.http_status, None, _percentage(message), body)


def _rate_limit(message: Any) -> RateLimit:
    if message.WhichOneof("limit_type") == "header_limit":
        return RateLimit(None, _percentage(message, b"x-envoy-fault-throughput-response-percentage"))
    return RateLimit(message.fixed_limit.limit_kbps, _percentage(message))


def _percentage(message: Any, header: bytes | None = None) -> Percentage:
    return Percentage(*fraction(message.percentage), header)
