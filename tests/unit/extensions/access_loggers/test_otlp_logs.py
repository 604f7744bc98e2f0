"""Access logs as records of OTLP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2

from sidecar.core.errors import ConfigError
from sidecar.extensions.access_loggers.otlp_log_messages import (
    LogRecords,
    RecordSettings,
    compile_value,
    make_attributes,
)
from tests.unit.observability.streams import make_stream


def _text(line: str, path: str) -> Any:
    return lambda stream: line.upper()


def _record(settings: RecordSettings, **attributes: Any) -> Any:
    stream = make_stream()
    for name, value in attributes.items():
        setattr(stream, name, value)
    records = LogRecords(make_attributes([("node_name", "one")]))
    assert records.size == 0
    records.add(stream, settings)
    request = logs_service_pb2.ExportLogsServiceRequest.FromString(records.encode())
    (logs,) = request.resource_logs
    assert logs.resource.attributes[0].value.string_value == "one"
    (record,) = logs.instrumentation_library_logs[0].logs
    assert records.size == record.ByteSize()
    return record


def test_texts_in_lists_and_pairs_are_formats() -> None:
    value = common_pb2.AnyValue()
    inner = value.kvlist_value.values.add(key="list").value.array_value.values
    inner.add(string_value="a")
    inner.add().kvlist_value.values.add(key="k").value.string_value = "b"
    body = _record(RecordSettings(compile_value(value, _text, "body"), ())).body
    (pair,) = body.kvlist_value.values
    first, second = pair.value.array_value.values
    assert (pair.key, first.string_value) == ("list", "A")
    assert second.kvlist_value.values[0].value.string_value == "B"


@pytest.mark.parametrize(
    "value",
    [
        common_pb2.AnyValue(int_value=1),
        common_pb2.AnyValue(bool_value=True),
        common_pb2.AnyValue(double_value=1.5),
        common_pb2.AnyValue(),
    ],
    ids=["integer", "boolean", "number", "nothing"],
)
def test_other_values_are_refused(value: Any) -> None:
    outer = common_pb2.AnyValue()
    outer.array_value.values.append(value)
    with pytest.raises(ConfigError) as caught:
        compile_value(outer, _text, "body")
    assert caught.value.path == "body.array_value.values[0]"


def test_record_of_a_traced_stream_names_its_span() -> None:
    record = _record(RecordSettings(None, ()), span=SimpleNamespace(trace_id="0a" * 16, span_id="0b" * 8))
    assert (record.trace_id, record.span_id) == (b"\x0a" * 16, b"\x0b" * 8)
    assert not record.HasField("body")


def test_filter_state_and_tags_are_attributes_behind_those_of_the_configuration() -> None:
    settings = RecordSettings(
        None,
        [("first", lambda target, stream: setattr(target, "string_value", "1"))],
        [lambda tags, stream: tags.set_tag("tag", "3")],
        [("state", lambda stream: "2"), ("missing", lambda stream: None)],
    )
    attributes = _record(settings).attributes
    assert [(each.key, each.value.string_value) for each in attributes] == [
        ("first", "1"),
        ("state", "2"),
        ("tag", "3"),
    ]
