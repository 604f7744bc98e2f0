"""Compiles ``envoy.config.trace.v3.OpenTelemetryConfig`` and its samplers and resource detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sidecar._version import __version__
from sidecar.config.compile.cel import compile_cel_expression
from sidecar.config.messages import unpack
from sidecar.core.errors import ConfigError
from sidecar.extensions.otlp.senders_config import compile_sender, detect_resource, sdk_attributes
from sidecar.extensions.tracers.exporters import SpanExporter
from sidecar.extensions.tracers.opentelemetry import OpenTelemetryTracer, Sampler, TracerStats
from sidecar.extensions.tracers.otlp import EXPORT_METHOD, make_resource

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.errors import Path
    from sidecar.config.registry import Report
    from sidecar.observability.span import Parent

__all__ = ["OpenTelemetryFactory"]

_SAMPLERS = "envoy.extensions.tracers.opentelemetry.samplers.v3"
_DEFAULT_SERVICE = "unknown_service:envoy"
_MIN_FLUSH = ("tracing.opentelemetry.min_flush_spans", 5)
_FLUSH_MS = ("tracing.opentelemetry.flush_interval_ms", 5000)
_DEFAULT_CACHE = 1024


class OpenTelemetryFactory:
    """``envoy.tracers.opentelemetry``.  Connection managers that say the same share a tracer, as in Envoy."""

    name = "envoy.tracers.opentelemetry"
    category = "envoy.tracers"
    config_type = "envoy.config.trace.v3.OpenTelemetryConfig"

    def __init__(self) -> None:
        self._tracers: WeakValueDictionary[bytes, OpenTelemetryTracer] = WeakValueDictionary()

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What rules of fields cannot say."""
        services = [message.HasField(name) for name in ("grpc_service", "http_service", "exporter")]
        if sum(services) != 1:
            report.error(
                path,
                "OpenTelemetry Tracer must have exactly one of gRPC, HTTP, or custom exporter configured.",
            )
        sampler = message.sampler.typed_config
        while sampler.type_url.endswith(".ParentBasedSamplerConfig"):
            wrapped: Any = unpack(sampler)
            sampler = wrapped.wrapped_sampler.typed_config
            if not sampler.type_url:
                reason = f"no sampler is wrapped: {wrapped.wrapped_sampler.name!r}"
                report.error((*path, "sampler", "typed_config", "wrapped_sampler"), reason)

    def compile(self, message: Any, context: FactoryContext) -> OpenTelemetryTracer:
        """The tracer.  Raises: ConfigError."""
        key = message.SerializeToString(deterministic=True)
        tracer = self._tracers.get(key)
        if tracer is None:
            tracer = self._tracers[key] = self._make(message, context)
        return tracer

    def _make(self, message: Any, context: FactoryContext) -> OpenTelemetryTracer:
        resource = make_resource(_resource(message, context))
        has_scope = message.set_instrumentation_scope.value or not message.HasField(
            "set_instrumentation_scope"
        )
        scope = ("sidecar", __version__) if has_scope else ("", "")
        stats = TracerStats(context.root_stats)
        exporter = SpanExporter(compile_sender(message, context, EXPORT_METHOD, "trace"), resource, scope)
        runtime = context.runtime
        tracer = OpenTelemetryTracer(
            exporter,
            stats,
            sampler=_sampler(message, context),
            min_flush=runtime.integer(*_MIN_FLUSH),
            max_cache=message.max_cache_size.value or _DEFAULT_CACHE,
        )
        if context.every is not None:
            context.on_close(context.every(runtime.integer(*_FLUSH_MS) / 1000, tracer.on_timer))
        context.on_close(tracer.close)
        return tracer


# -- what the spans are of -----------------------------------------------------------------------------
def _resource(message: Any, context: FactoryContext) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    if message.set_telemetry_sdk_resource_attributes.value or not message.HasField(
        "set_telemetry_sdk_resource_attributes"
    ):
        found.update(sdk_attributes())
    if message.set_service_name_resource_attribute.value or not message.HasField(
        "set_service_name_resource_attribute"
    ):
        found["service.name"] = message.service_name or _DEFAULT_SERVICE
    return list(detect_resource(message.resource_detectors, context, found).items())


# -- samplers ------------------------------------------------------------------------------------------
def _sampler(message: Any, context: FactoryContext) -> Sampler | None:
    if not message.HasField("sampler"):
        return None
    return _compile_sampler(message.sampler, context.at("sampler.typed_config"))


def _compile_sampler(entry: Any, context: FactoryContext) -> Sampler:
    config: Any = unpack(entry.typed_config)
    kind = config.DESCRIPTOR.full_name
    if kind == f"{_SAMPLERS}.AlwaysOnSamplerConfig":
        return _always
    if kind == f"{_SAMPLERS}.ParentBasedSamplerConfig":
        root = _compile_sampler(config.wrapped_sampler, context.at("wrapped_sampler.typed_config"))
        return lambda parent, trace_id, stream: (
            root(parent, trace_id, stream) if parent is None else (parent.is_sampled, parent.trace_state)
        )
    if kind == f"{_SAMPLERS}.TraceIdRatioBasedSamplerConfig":
        return _by_ratio(config.sampling_percentage)
    if kind == f"{_SAMPLERS}.CELSamplerConfig":
        return _by_expression(config, context.path)
    raise ConfigError(context.path, f"the sampler {kind} is not supported")


def _always(parent: Parent | None, _trace_id: str, _stream: Any) -> tuple[bool, bytes]:
    return True, b"" if parent is None else parent.trace_state


def _by_ratio(fraction: Any) -> Sampler:
    """By the first 8 bytes of the trace id, the lowest first, as Envoy has it (``traceIdToUint64``)."""
    denominator = (100, 10_000, 1_000_000)[fraction.denominator]
    numerator: int = fraction.numerator

    def sampler(parent: Parent | None, trace_id: str, _stream: Any) -> tuple[bool, bytes]:
        number = int.from_bytes(bytes.fromhex(trace_id[:16]), "little")
        return number % denominator < numerator, b"" if parent is None else parent.trace_state

    return sampler


def _by_expression(config: Any, path: str) -> Sampler:
    """By what an expression in CEL says of the request."""
    expression = compile_cel_expression(config.expression, f"{path}.expression")

    def sampler(parent: Parent | None, _trace_id: str, stream: Any) -> tuple[bool, bytes]:
        if not expression.matches(stream):
            return False, b""
        return True, b"" if parent is None else parent.trace_state

    return sampler
