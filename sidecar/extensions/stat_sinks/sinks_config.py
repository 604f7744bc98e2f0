"""Compiles what ``stats_sinks`` hold: StatsdSink, DogStatsdSink, GraphiteStatsdSink, OpenTelemetry's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.addresses import compile_address
from sidecar.core.errors import ConfigError
from sidecar.extensions.otlp.senders_config import compile_sender, detect_resource, sdk_attributes
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

__all__ = ["DogStatsdFactory", "GraphiteStatsdFactory", "OtlpMetricsFactory", "StatsdFactory"]

_PREFIX = "envoy"
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


def _flag(message: Any, field: str) -> bool:
    """A flag that is on where it is not given."""
    return getattr(message, field).value if message.HasField(field) else True
