"""Compiles where a signal of OTLP goes to, and what it is of: what its several messages have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sidecar._version import __version__
from sidecar.config.compile.grpc_service import compile_grpc_client
from sidecar.config.compile.route_action import duration_s
from sidecar.config.messages import unpack
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.extensions.otlp.senders import GrpcSender, HttpSender, HttpTarget
from sidecar.observability.formatter import compile_header_value
from sidecar.router.grpc_client import GrpcClient
from sidecar.router.grpc_service import InitialMetadata

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_sender", "detect_resource", "sdk_attributes"]

_DETECTORS = "envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
_USER_AGENT = f"OTel-OTLP-Exporter-sidecar/{__version__}".encode()


def compile_sender(
    message: Any, context: FactoryContext, method: bytes, signal: str, *, is_own_agent: bool = True
) -> Callable[[bytes], None]:
    """What sends requests to the ``grpc_service`` or the ``http_service`` of ``message``.

    ``is_own_agent``: whether calls of gRPC say what sends, and have no limit of their time.
    Raises: ConfigError.
    """
    assert context.http_client is not None
    if "http_service" in message.DESCRIPTOR.fields_by_name and message.HasField("http_service"):
        return HttpSender(context.http_client(), _http_target(message.http_service, context), signal)
    client = compile_grpc_client(message.grpc_service, context.at("grpc_service"))
    if is_own_agent:
        metadata = (
            InitialMetadata(b"user-agent", _USER_AGENT, _USER_AGENT),
            *client.service.initial_metadata,
        )
        service = replace(client.service, timeout_s=0.0, initial_metadata=metadata)
        client = GrpcClient(context.http_client(), service)
    return GrpcSender(client, method, signal)


def sdk_attributes() -> dict[str, str]:
    """What makes the signals (``telemetry.sdk.``)."""
    return {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "sidecar",
        "telemetry.sdk.version": __version__,
    }


def detect_resource(
    detectors: Sequence[Any], context: FactoryContext, found: dict[str, str]
) -> dict[str, str]:
    """``found`` with what ``resource_detectors`` find.  Raises: ConfigError."""
    for index, each in enumerate(detectors):
        inside = context.at(f"resource_detectors[{index}].typed_config")
        for key, value in _detect(unpack(each.typed_config), inside):
            if value or key not in found:
                found[key] = value
    return found


def _detect(config: Any, context: FactoryContext) -> Iterable[tuple[str, str]]:
    kind = config.DESCRIPTOR.full_name
    if kind == f"{_DETECTORS}.StaticConfigResourceDetectorConfig":
        return list(config.attributes.items())
    if kind == f"{_DETECTORS}.EnvironmentResourceDetectorConfig":
        return list(_environment())
    raise ConfigError(context.path, f"the resource detector {kind} is not supported")


def _environment() -> Iterable[tuple[str, str]]:
    """``OTEL_RESOURCE_ATTRIBUTES``: ``key=value``, commas between; Envoy neither strips nor decodes them."""
    for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = pair.partition("=")
        if equals:
            yield key, value


def _http_target(message: Any, context: FactoryContext) -> HttpTarget:
    """An ``HttpService``; of its URI the authority and the path count."""
    uri = message.http_uri
    address = urlsplit(uri.uri)
    path = address.path or "/"
    if address.query:
        path += f"?{address.query}"
    fields = [(b"content-type", b"application/x-protobuf"), (b"user-agent", _USER_AGENT)]
    for index, each in enumerate(message.request_headers_to_add):
        at = f"{context.path}.http_service.request_headers_to_add[{index}].header.value"
        try:
            value = compile_header_value(each.header.value)
        except SidecarError as error:
            raise ConfigError(at, str(error)) from error
        if not isinstance(value, bytes):
            raise ConfigError(at, "operators are not supported in headers of an exporter")
        fields.append((each.header.key.lower().encode(), value))
    return HttpTarget(
        uri.cluster, address.netloc.encode(), path.encode(), duration_s(uri.timeout), tuple(fields)
    )
