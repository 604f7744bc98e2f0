"""Compiles HttpGrpcAccessLogConfig and TcpGrpcAccessLogConfig (envoy.extensions.access_loggers.grpc.v3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.custom_tags import compile_custom_tags
from sidecar.config.compile.grpc_service import compile_grpc_client
from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.config.compile.route_action import duration_s
from sidecar.extensions.access_loggers.batches import Batches, BatchLogger, BatchStats, Outlet
from sidecar.extensions.access_loggers.entry_messages import (
    Encode,
    EntrySettings,
    encode_tcp_entry,
)
from sidecar.extensions.access_loggers.entry_wire import encode_http_entry
from sidecar.extensions.access_loggers.service_logger import LogStream

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream
    from sidecar.config.errors import Path
    from sidecar.config.registry import Report
    from sidecar.observability.span_tags import Tag

__all__ = ["HttpServiceFactory", "ServiceBatches", "TcpServiceFactory", "make_batches"]

_MESSAGES = "envoy.extensions.access_loggers.grpc.v3"
_FLUSH_S = 1.0
_BUFFER_BYTES = 16384
_V2 = 1


class ServiceBatches:
    """The batches by what their configurations say; both factories have the same."""

    def __init__(self) -> None:
        self._made: dict[tuple[bytes, bool], Batches] = {}

    def get(self, common: Any, context: FactoryContext, *, is_tcp: bool) -> Batches:
        """Those of a ``CommonGrpcAccessLogConfig``.  Raises: ConfigError."""
        key = (common.SerializeToString(deterministic=True), is_tcp)
        found = self._made.get(key)
        if found is not None and found.users > 0:
            return found
        outlet = LogStream(
            compile_grpc_client(common.grpc_service, context.at("common_config.grpc_service")),
            log_name=common.log_name,
            node=context.node.serialized,
            is_tcp=is_tcp,
        )
        stats = BatchStats(context.root_stats, "grpc_access_log")
        made = self._made[key] = make_batches(outlet, stats, common, context)
        return made


def make_batches(outlet: Outlet, stats: BatchStats, message: Any, context: FactoryContext) -> Batches:
    """Batches as ``buffer_size_bytes`` and ``buffer_flush_interval`` of ``message`` say."""
    has_size = message.HasField("buffer_size_bytes")
    made = Batches(outlet, stats, message.buffer_size_bytes.value if has_size else _BUFFER_BYTES)
    if context.every is not None:
        interval = message.buffer_flush_interval
        seconds = duration_s(interval) if message.HasField("buffer_flush_interval") else _FLUSH_S
        made.stop = context.every(seconds, made.flush)
    return made


class _Factory:
    """What the two have in common."""

    category = "envoy.access_loggers"
    is_tcp = False

    def __init__(self, batches: ServiceBatches) -> None:
        self._batches = batches

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.common_config.transport_api_version == _V2:
            here = (*path, "common_config", "transport_api_version")
            report.error(here, "the v2 xDS major version is no longer supported", "write V3")

    def compile(self, message: Any, context: FactoryContext) -> BatchLogger:
        """The logger.  Raises: ConfigError."""
        common = message.common_config
        tags = compile_custom_tags(common.custom_tags, context.at("common_config"))
        settings = self._settings(message, tuple(tags.values()), tuple(common.filter_state_objects_to_log))
        batches = self._batches.get(common, context, is_tcp=self.is_tcp)
        # Entries of HTTP tell what a request took on the wire.
        return BatchLogger(batches, partial(_put, self._encode, settings), reads_wire=not self.is_tcp)

    @property
    def _encode(self) -> Encode:
        return encode_tcp_entry if self.is_tcp else encode_http_entry

    def _settings(self, message: Any, tags: tuple[Tag, ...], state: tuple[str, ...]) -> EntrySettings:
        return EntrySettings(custom_tags=tags, filter_state=state)

    def with_filter(self, compiled: BatchLogger, message: Any, context: FactoryContext) -> BatchLogger:
        """``compiled`` behind an ``AccessLogFilter``.  Raises: ConfigError."""
        return compiled.filtered(compile_log_filter(message, context, "filter"))


class HttpServiceFactory(_Factory):
    """``envoy.access_loggers.http_grpc``."""

    name = "envoy.access_loggers.http_grpc"
    config_type = f"{_MESSAGES}.HttpGrpcAccessLogConfig"

    def _settings(self, message: Any, tags: tuple[Tag, ...], state: tuple[str, ...]) -> EntrySettings:
        return EntrySettings(
            _lower(message.additional_request_headers_to_log),
            _lower(message.additional_response_headers_to_log),
            _lower(message.additional_response_trailers_to_log),
            tags,
            state,
        )


class TcpServiceFactory(_Factory):
    """``envoy.access_loggers.tcp_grpc``."""

    name = "envoy.access_loggers.tcp_grpc"
    config_type = f"{_MESSAGES}.TcpGrpcAccessLogConfig"
    is_tcp = True


def _put(encode: Encode, settings: EntrySettings, batch: Any, stream: Stream) -> None:
    batch.add(stream, encode, settings)


def _lower(names: Any) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
