"""``envoy.config.core.v3.GrpcService`` compiled, and the ``RetryPolicy`` of calls of the proxy's own."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.retry_policy import compile_host_predicates, compile_priority
from sidecar.config.compile.route_action import duration_s
from sidecar.core.errors import SidecarError
from sidecar.observability.formatter import compile_header_value
from sidecar.router.grpc_client import GrpcClient
from sidecar.router.grpc_service import DEFAULT_MESSAGE_LIMIT, GrpcService, InitialMetadata
from sidecar.router.retry_policy import RetryPolicy, parse_retry_on

__all__ = ["compile_call_retries", "compile_grpc_client", "compile_grpc_service", "compile_initial_metadata"]

_BASE_MS = 1000


def compile_grpc_client(
    message: Any, context: FactoryContext, *, default_timeout_s: float = 0.0
) -> GrpcClient:
    """A client of the service at the context's path.  Raises: ConfigError."""
    assert context.http_client is not None
    service = compile_grpc_service(message, context, default_timeout_s=default_timeout_s)
    return GrpcClient(context.http_client(), service)


def compile_grpc_service(
    message: Any, context: FactoryContext, *, default_timeout_s: float = 0.0
) -> GrpcService:
    """The service at the context's path; ``default_timeout_s`` is for one without a ``timeout``.

    ``envoy_grpc.retry_policy`` is for streams that are made anew (xDS), which is their owner's to do.
    """
    target = message.envoy_grpc
    limit = target.max_receive_message_length
    channel = None
    if message.HasField("google_grpc"):
        assert context.google_channels is not None
        channel = context.google_channels.open(message.google_grpc, context.at("google_grpc"))
    return GrpcService(
        cluster=target.cluster_name if channel is None else channel.cluster,
        authority=target.authority.encode() if channel is None else channel.authority,
        channel=channel,
        timeout_s=duration_s(message.timeout) if message.HasField("timeout") else default_timeout_s,
        initial_metadata=compile_initial_metadata(message.initial_metadata, context),
        retry_policy=compile_call_retries(message.retry_policy, f"{context.path}.retry_policy")
        if message.HasField("retry_policy")
        else None,
        max_receive_message_length=limit.value or DEFAULT_MESSAGE_LIMIT,
        skip_envoy_headers=target.skip_envoy_headers or channel is not None,
    )


def compile_initial_metadata(
    headers: Any, context: FactoryContext, name: str = "initial_metadata"
) -> tuple[InitialMetadata, ...]:
    """What every call carries, of the field ``name`` at the context's path."""
    return tuple(_metadata(each, context.at(f"{name}[{index}]")) for index, each in enumerate(headers))


def _metadata(header: Any, context: FactoryContext) -> InitialMetadata:
    text = header.value.encode()
    value: Any = text
    try:
        value = compile_header_value(header.value)
    except SidecarError as error:
        # Envoy says nothing of it until the first call.
        context.warn(f"{context.path}.value", f"{error}; it is sent as it stands")
    return InitialMetadata(header.key.lower().encode(), value, text)


def compile_call_retries(message: Any, path: str) -> RetryPolicy:
    """An ``envoy.config.core.v3.RetryPolicy``.

    Where it says nothing of the time between tries that begins with a second, not with a route's 25 ms; and
    the longest of these times is also that of a try (``Utility::convertCoreToRouteRetryPolicy``).
    Raises: ConfigError.
    """
    base, highest = _BASE_MS, 10 * _BASE_MS
    if message.HasField("retry_back_off"):
        back_off = message.retry_back_off
        base = max(1, round(duration_s(back_off.base_interval) * 1000))
        given = round(duration_s(back_off.max_interval) * 1000)
        highest = given if back_off.HasField("max_interval") else 10 * base
    return RetryPolicy(
        retry_on=parse_retry_on(message.retry_on, message.retry_on),
        num_retries=message.num_retries.value if message.HasField("num_retries") else 1,
        per_try_timeout_s=max(base, highest) / 1000,
        base_interval_ms=base,
        max_interval_ms=max(base, highest),
        host_predicates=compile_host_predicates(message, path),
        host_selection_attempts=message.host_selection_retry_max_attempts or 1,
        priority_update_frequency=compile_priority(message, path),
    )
