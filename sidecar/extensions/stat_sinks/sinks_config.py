"""Compiles what ``stats_sinks`` hold: statsd and its kin, OpenTelemetry's, a metrics service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.addresses import compile_address
from sidecar.config.compile.grpc_service import compile_grpc_client
from sidecar.core.errors import ConfigError
from sidecar.extensions.otlp.senders_config import compile_sender, detect_resource, sdk_attributes
from sidecar.extensions.stat_sinks.metrics_service import MetricsServiceSink
from sidecar.extensions.stat_sinks.metrics_service_messages import MetricsServiceSettings
from sidecar.extensions.stat_sinks.otlp_metric_messages import EXPORT_METHOD, MetricsSettings
from sidecar.extensions.stat_sinks.otlp_metrics import OtlpMetrics
from sidecar.extensions.stat_sinks.statsd import (
    DOG,
    GRAPHITE,
    PLAIN,
    Statsd,
    StatsdWriter,
    TagFormat,
    UdpWriter,
)
from sidecar.extensions.stat_sinks.statsd_tcp import TcpWriter
from sidecar.extensions.tracers.otlp import make_resource

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.errors import Path
    from sidecar.config.registry import Report

__all__ = [
    "DogStatsdFactory",
    "GraphiteStatsdFactory",
    "MetricsServiceFactory",
    "OtlpMetricsFactory",
    "StatsdFactory",
]

_PREFIX = "envoy"
_V2 = 1
_SUMMARY_ONLY, _HISTOGRAM_ONLY = 1, 2  # HistogramEmitMode
_OTLP = "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig"


class StatsdFactory:
    """``envoy.stat_sinks.statsd``."""

    name = "envoy.stat_sinks.statsd"
    category = "envoy.stats_sinks"
    config_type = "envoy.config.metrics.v3.StatsdSink"
    tags: TagFormat = PLAIN

    def compile(self, message: Any, context: FactoryContext) -> Statsd:
        """The sink.  Raises: ConfigError."""
        return Statsd(
            self._writer(message, context),
            message.prefix or _PREFIX,
            self.tags,
            scales_to_ms=message.scale_histogram_units_to_milliseconds,
        )

    def _writer(self, message: Any, context: FactoryContext) -> StatsdWriter:
        name = getattr(message, "tcp_cluster_name", "")
        if name:
            if context.find_cluster(name) is None:
                raise ConfigError("tcp_cluster_name", f"tcp statsd: unknown cluster '{name}'")
            if not context.node.id or not context.node.cluster:
                reason = "tcp statsd: node 'id' and 'cluster' are required"
                raise ConfigError("tcp_cluster_name", reason)
            assert context.http_client is not None
            overflow = context.root_stats.counter("statsd.cx_overflow")
            tcp = TcpWriter(context.http_client(), name, overflow)
            context.on_close(tcp.close)
            return tcp
        address = compile_address(message.address, context, "address")
        most = getattr(message, "max_bytes_per_datagram", None)
        try:
            udp = UdpWriter(address, 0 if most is None else most.value)
        except OSError as error:
            raise ConfigError("address", str(error)) from error
        context.on_close(udp.close)
        return udp


class DogStatsdFactory(StatsdFactory):
    """``envoy.stat_sinks.dog_statsd``."""

    name = "envoy.stat_sinks.dog_statsd"
    config_type = "envoy.config.metrics.v3.DogStatsdSink"
    tags = DOG


class GraphiteStatsdFactory(StatsdFactory):
    """``envoy.stat_sinks.graphite_statsd``."""

    name = "envoy.stat_sinks.graphite_statsd"
    config_type = "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
    tags = GRAPHITE


class OtlpMetricsFactory:
    """``envoy.stat_sinks.open_telemetry``."""

    name = "envoy.stat_sinks.open_telemetry"
    category = "envoy.stats_sinks"
    config_type = _OTLP

    def compile(self, message: Any, context: FactoryContext) -> OtlpMetrics:
        """The sink.  Raises: ConfigError."""
        settings = MetricsSettings(
            counters_as_deltas=message.report_counters_as_deltas,
            histograms_as_deltas=message.report_histograms_as_deltas,
            tags_as_attributes=_flag(message, "emit_tags_as_attributes"),
            extracted_names=_flag(message, "use_tag_extracted_name"),
            prefix=f"{message.prefix}." if message.prefix else "",
            most_points=message.max_data_points_per_request,
        )
        send = compile_sender(message, context, EXPORT_METHOD, "metrics", is_own_agent=False)
        found = detect_resource(message.resource_detectors, context, sdk_attributes())
        return OtlpMetrics(send, make_resource(found.items()), settings)


class MetricsServiceFactory:
    """``envoy.stat_sinks.metrics_service``."""

    name = "envoy.stat_sinks.metrics_service"
    category = "envoy.stats_sinks"
    config_type = "envoy.config.metrics.v3.MetricsServiceConfig"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.transport_api_version == _V2:
            here = (*path, "transport_api_version")
            report.error(here, "the v2 xDS major version is no longer supported", "write V3")

    def compile(self, message: Any, context: FactoryContext) -> MetricsServiceSink:
        """The sink.  Raises: ConfigError."""
        settings = MetricsServiceSettings(
            counters_as_deltas=message.report_counters_as_deltas.value,
            tags_as_labels=message.emit_tags_as_labels,
            has_summaries=message.histogram_emit_mode != _HISTOGRAM_ONLY,
            has_histograms=message.histogram_emit_mode != _SUMMARY_ONLY,
            most_families=message.batch_size,
        )
        client = compile_grpc_client(message.grpc_service, context.at("grpc_service"))
        sink = MetricsServiceSink(client, context.node.serialized, settings)
        context.on_close(sink.close)
        return sink


def _flag(message: Any, field: str) -> bool:
    """A flag that is on where it is not given."""
    return getattr(message, field).value if message.HasField(field) else True
