"""Compiles ``envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.custom_tags import compile_custom_tags
from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.config.compile.substitution_format import compile_plain_format, format_extensions
from sidecar.core.errors import ConfigError
from sidecar.extensions.access_loggers.batches import Batches, BatchLogger, BatchStats
from sidecar.extensions.access_loggers.otlp_log_messages import (
    EXPORT_METHOD,
    LogRecords,
    RecordSettings,
    compile_pairs,
    compile_value,
    make_attributes,
)
from sidecar.extensions.access_loggers.service_config import make_batches
from sidecar.extensions.otlp.senders_config import compile_sender, detect_resource
from sidecar.observability.formatter import compile_text
from sidecar.observability.metadata_operators import filter_state
from sidecar.observability.wire_operators import reads_wire

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream

__all__ = ["OpenTelemetryLoggerFactory"]


class _Export:
    """An :class:`sidecar.extensions.access_loggers.batches.Outlet`: a call for each batch."""

    def __init__(self, send: Callable[[bytes], None], resource: list[Any]) -> None:
        self._send = send
        self._resource = resource

    def new_batch(self) -> LogRecords:
        """An empty request."""
        return LogRecords(self._resource)

    def send(self, batch: LogRecords) -> bool:
        """Send a batch; the cluster's circuit breakers say how many calls may be under way."""
        self._send(batch.encode())
        return True

    def close(self) -> None:
        """The reactor ends what is under way."""


class OpenTelemetryLoggerFactory:
    """``envoy.access_loggers.open_telemetry``.  Loggers of one configuration share a batch, as in Envoy."""

    name = "envoy.access_loggers.open_telemetry"
    category = "envoy.access_loggers"
    config_type = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"

    def __init__(self) -> None:
        self._made: dict[bytes, Batches] = {}

    def compile(self, message: Any, context: FactoryContext) -> BatchLogger:
        """The logger.  Raises: ConfigError."""
        settings = _settings(message, context)
        return BatchLogger(
            self._batches(message, context),
            lambda batch, stream: batch.add(stream, settings),
            reads_wire=reads_wire(str(message)),
        )

    def with_filter(self, compiled: BatchLogger, message: Any, context: FactoryContext) -> BatchLogger:
        """``compiled`` behind an ``AccessLogFilter``.  Raises: ConfigError."""
        return compiled.filtered(compile_log_filter(message, context, "filter"))

    def _batches(self, message: Any, context: FactoryContext) -> Batches:
        key = message.SerializeToString(deterministic=True)
        found = self._made.get(key)
        if found is not None and found.users > 0:
            return found
        common = message.common_config
        source, at = message, context
        if not message.HasField("grpc_service") and not message.HasField("http_service"):
            if not common.HasField("grpc_service"):
                reason = (
                    "the logger requires one of grpc_service, http_service and common_config.grpc_service"
                )
                raise ConfigError("grpc_service", reason)
            source, at = common, context.at("common_config")
        send = compile_sender(source, at, EXPORT_METHOD, "logs", is_own_agent=False)
        stats = BatchStats(context.root_stats, "open_telemetry_access_log", message.stat_prefix)
        timing = common if message.HasField("common_config") else message
        outlet = _Export(send, _resource(message, context))
        made = self._made[key] = make_batches(outlet, stats, timing, context)
        return made


def _resource(message: Any, context: FactoryContext) -> list[Any]:
    node = context.node
    found: dict[str, str] = {}
    if not message.disable_builtin_labels:
        found = {
            "log_name": message.log_name or message.common_config.log_name,
            "zone_name": node.zone,
            "cluster_name": node.cluster,
            "node_name": node.id,
        }
    detected = detect_resource(message.resource_detectors, context, {})
    return [*make_attributes({**found, **detected}.items()), *message.resource_attributes.values]


def _settings(message: Any, context: FactoryContext) -> RecordSettings:
    extensions = format_extensions(message, context.path)

    def text(line: str, path: str) -> Callable[[Stream], str]:
        return compile_plain_format(
            lambda: compile_text(line, extensions=extensions), line, context, path, is_log=True
        )

    body = None
    if message.body.WhichOneof("value") is not None:
        body = compile_value(message.body, text, "body")
    names = message.filter_state_objects_to_log or message.common_config.filter_state_objects_to_log
    tags = message.custom_tags or message.common_config.custom_tags
    return RecordSettings(
        body,
        compile_pairs(message.attributes, text, "attributes"),
        tuple(compile_custom_tags(tags, context).values()),
        tuple((name, filter_state(f"{name}:PLAIN", None)) for name in names),
    )
