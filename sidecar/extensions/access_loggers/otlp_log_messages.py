"""Access logs as OTLP says them (``opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest``).

The messages are of the package that the rest of Envoy's API comes in; it has the older name of a field,
``instrumentation_library_logs`` for ``scope_logs``: numbers and wire are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = [
    "EXPORT_METHOD",
    "LogRecords",
    "RecordSettings",
    "compile_pairs",
    "compile_value",
    "make_attributes",
]

#: ``:path`` of the call.
EXPORT_METHOD = b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"

#: Fills an ``AnyValue`` in from a stream.
Fill = Callable[[Any, "Stream"], None]


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """What stands in a record."""

    body: Fill | None
    #: By key, in order.
    attributes: Sequence[tuple[str, Fill]]
    custom_tags: Sequence[Callable[[Any, Stream], None]] = ()
    filter_state: Sequence[tuple[str, Callable[[Stream], Any]]] = ()


def make_attributes(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """``KeyValue`` messages of texts."""
    return [
        common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value)) for key, value in pairs
    ]


def compile_value(value: Any, compile_text: Callable[[str, str], Callable[[Stream], str]], path: str) -> Fill:
    """What an ``AnyValue`` of the configuration makes of a stream; texts are formats.

    ``compile_text(text, path)`` compiles one.  Raises: ConfigError.
    """
    kind = value.WhichOneof("value")
    if kind == "string_value":
        line = compile_text(value.string_value, f"{path}.string_value")

        def fill_text(target: Any, stream: Stream) -> None:
            target.string_value = line(stream)

        return fill_text
    if kind == "kvlist_value":
        inner = compile_pairs(value.kvlist_value, compile_text, f"{path}.kvlist_value")

        def fill_pairs(target: Any, stream: Stream) -> None:
            target.kvlist_value.SetInParent()
            for key, fill in inner:
                fill(target.kvlist_value.values.add(key=key).value, stream)

        return fill_pairs
    if kind == "array_value":
        items = [
            compile_value(each, compile_text, f"{path}.array_value.values[{index}]")
            for index, each in enumerate(value.array_value.values)
        ]

        def fill_items(target: Any, stream: Stream) -> None:
            target.array_value.SetInParent()
            for fill in items:
                fill(target.array_value.values.add(), stream)

        return fill_items
    raise ConfigError(path, "only string values, nested key value lists and nested array lists are supported")


def compile_pairs(
    values: Any, compile_text: Callable[[str, str], Callable[[Stream], str]], path: str
) -> list[tuple[str, Fill]]:
    """The same for a ``KeyValueList``.  Raises: ConfigError."""
    return [
        (each.key, compile_value(each.value, compile_text, f"{path}.values[{index}].value"))
        for index, each in enumerate(values.values)
    ]


class LogRecords:
    """An ``ExportLogsServiceRequest`` that is being filled in."""

    __slots__ = ("_records", "_request", "size")

    def __init__(self, resource: Sequence[Any]) -> None:
        """``resource``: attributes of what logs."""
        self._request = logs_service_pb2.ExportLogsServiceRequest()
        logs = self._request.resource_logs.add()
        logs.resource.attributes.extend(resource)
        logs.resource.SetInParent()
        self._records = logs.instrumentation_library_logs.add().logs
        #: Bytes of the records, about.
        self.size = 0

    def add(self, stream: Stream, settings: RecordSettings) -> None:
        """Add a record about ``stream``."""
        record = self._records.add(time_unix_nano=int(stream.start_time * 1e9))
        if settings.body is not None:
            settings.body(record.body, stream)
        for key, fill in settings.attributes:
            fill(record.attributes.add(key=key).value, stream)
        span = stream.span
        if span is not None:
            record.trace_id = bytes.fromhex(span.trace_id)
            record.span_id = bytes.fromhex(span.span_id)
        for name, read in settings.filter_state:
            value = read(stream)
            if value is not None:
                record.attributes.add(key=name).value.string_value = value
        if settings.custom_tags:
            tags = _Tags(record.attributes)
            for tag in settings.custom_tags:
                tag(tags, stream)
        self.size += record.ByteSize()

    def encode(self) -> bytes:
        """The request's bytes."""
        data: bytes = self._request.SerializeToString()
        return data


class _Tags:
    """Takes custom tags, as a span does."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def set_tag(self, name: str, value: str) -> None:
        """Keep a tag."""
        self._target.add(key=name).value.string_value = value
