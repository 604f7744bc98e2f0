"""From configuration messages to lines in files, and what filters let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from google.protobuf import json_format

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.api.message import RequestMessage, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.config.compile.substitution_format import compile_text_format
from sidecar.config.data_source import read_data_source
from sidecar.core.errors import ConfigError
from sidecar.core.headers import Field, RequestHeaders, ResponseHeaders
from sidecar.extensions.access_loggers.file_config import FileFactory, StdoutFactory
from sidecar.observability.stats import Store

WARNINGS: list[tuple[str, str]] = []


@pytest.fixture
def context() -> FactoryContext:
    WARNINGS.clear()
    store = Store()
    return FactoryContext(
        stats=store.scope("http.x"),
        root_stats=store,
        node=NodeInfo(),
        path="log",
        warn=lambda path, reason: WARNINGS.append((path, reason)),
        read_data_source=read_data_source,
        on_close=lambda callback: None,
        find_cluster=lambda name: None,
    )


class Connection:
    connection_id = 1
    filter_state = dynamic_metadata = None
    remote_address = direct_remote_address = local_address = direct_local_address = "127.0.0.1:1"
    listener_name = filter_chain_name = requested_server_name = ""
    detected_close_type = "Normal"
    agent: Any = False
    local_close_reason = ""
    tls = None
    transport_failure_reason = ""
    start_ns = 1


def make_stream(
    status: int = 200, fields: list[Field] | None = None, response: list[Field] | None = None
) -> Stream:
    headers = RequestHeaders(b"GET", b"/", b"h", b"http", fields or [])
    stream = Stream(Connection(), None, RequestMessage(headers), "HTTP/1.1")
    stream.response = ResponseMessage(ResponseHeaders(status, response or []))
    stream.response_code = status
    stream.start_ns = 1
    stream.downstream_last_tx_ns = 50_000_001
    return stream


def file_message(path: Path, **fields: Any) -> Any:
    return json_format.ParseDict({"path": str(path), **fields}, FileAccessLog())


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"log_format": {"text_format_source": {"inline_string": "%PROTOCOL% %REQ(x)%\n"}}}, "HTTP/1.1 -\n"),
        (
            {
                "log_format": {
                    "text_format_source": {"inline_string": "%REQ(x)%|\n"},
                    "omit_empty_values": True,
                }
            },
            "|\n",
        ),
        ({"log_format": {"text_format": "%RESPONSE_CODE%\n"}}, "200\n"),
        (
            {"log_format": {"json_format": {"b": "%RESPONSE_CODE%", "a": {"c": "%REQ(x)%"}}}},
            '{"a":{"c":null},"b":200}\n',
        ),
        ({"json_format": {"b": "%RESPONSE_CODE%"}}, '{"b":200}\n'),
        ({"typed_json_format": {"b": "%RESPONSE_CODE%"}}, '{"b":200}\n'),
        ({"format": "%DURATION%\n"}, "50\n"),
    ],
)
def test_format_of_a_file_logger_makes_the_line(
    tmp_path: Path, context: FactoryContext, fields: dict[str, Any], line: str
) -> None:
    path = tmp_path / "log"
    logger = FileFactory().compile(file_message(path, **fields), context)
    logger.log(make_stream())
    logger.flush()
    assert path.read_text() == line
    logger.close()


def test_default_format_is_used_when_there_is_none(tmp_path: Path, context: FactoryContext) -> None:
    path = tmp_path / "log"
    logger = FileFactory().compile(file_message(path), context)
    logger.log(make_stream())
    logger.close()
    assert path.read_text().endswith('"GET / HTTP/1.1" 200 - 0 0 50 - "-" "-" "-" "h" "-"\n')


def test_loggers_of_one_path_share_the_file_until_the_last_closes(
    tmp_path: Path, context: FactoryContext
) -> None:
    path = tmp_path / "log"
    factory = FileFactory()
    first = factory.compile(file_message(path, format="1\n"), context)
    second = factory.compile(file_message(path, format="2\n"), context)
    for _ in range(2):
        first.log(make_stream())
        second.log(make_stream())
    first.close()
    second.log(make_stream())
    second.close()
    assert path.read_text() == "1\n2\n1\n2\n2\n"


def test_formatter_extension_brings_its_operator(tmp_path: Path, context: FactoryContext) -> None:
    type_url = "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"
    log_format = {
        "text_format_source": {"inline_string": "%REQ_WITHOUT_QUERY(:PATH)%"},
        "formatters": [{"name": "f", "typed_config": {"@type": type_url}}],
    }
    # The type is not loaded here, so the Any is made by hand.
    message = file_message(
        tmp_path / "log", log_format={"text_format_source": log_format["text_format_source"]}
    )
    message.log_format.formatters.add(name="f").typed_config.type_url = type_url
    FileFactory().compile(message, context).close()
    message.log_format.formatters.add(name="g").typed_config.type_url = "x/y.Z"
    with pytest.raises(
        ConfigError, match=r"log_format.formatters\[1\]: formatter 'g' \(y.Z\) is not supported"
    ):
        FileFactory().compile(message, context)


def test_operator_of_wire_bytes_has_them_counted(tmp_path: Path, context: FactoryContext) -> None:
    for text_format, is_read in (("%UPSTREAM_WIRE_BYTES_SENT%", True), ("%BYTES_SENT%", False)):
        logger = FileFactory().compile(file_message(tmp_path / "log", format=text_format), context)
        assert logger.reads_wire is is_read
        logger.close()
    assert WARNINGS == []


def test_operator_of_wire_bytes_is_warned_about_where_nothing_counts_for_it(context: FactoryContext) -> None:
    compile_text_format("%UPSTREAM_WIRE_BYTES_SENT%", context, "format")
    said = "%UPSTREAM_WIRE_BYTES_SENT% is counted for access logs alone: it stays unset"
    assert [("log.format", said)] == WARNINGS


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"format": "%NOPE%"}, "format", "Not supported field in StreamInfo: NOPE"),
        (
            {"log_format": {"json_format": {"a": "%REQ%"}}},
            "log_format.json_format",
            "REQ requires parameters",
        ),
        (
            {"log_format": {"text_format_source": {"inline_string": "%"}}},
            "log_format.text_format_source",
            "Incorrect configuration: %. Couldn't find valid command at position 0",
        ),
        (
            {"path": "/nonexistent/x"},
            "path",
            "unable to open file '/nonexistent/x': No such file or directory",
        ),
    ],
)
def test_wrong_configuration_is_refused_at_its_place(
    tmp_path: Path, context: FactoryContext, fields: dict[str, Any], path: str, reason: str
) -> None:
    message = json_format.ParseDict({"path": str(tmp_path / "log"), **fields}, FileAccessLog())
    with pytest.raises(ConfigError) as caught:
        FileFactory().compile(message, context)
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_stdout_logger_is_prompt_and_writes_to_standard_output(
    context: FactoryContext, capfd: pytest.CaptureFixture[str]
) -> None:
    message = json_format.ParseDict(
        {"log_format": {"text_format_source": {"inline_string": "hello %PROTOCOL%\n"}}}, StdoutAccessLog()
    )
    logger = StdoutFactory().compile(message, context)
    assert logger.is_prompt
    logger.log(make_stream())
    logger.flush()
    assert capfd.readouterr().out == "hello HTTP/1.1\n"
    logger.close()


def compare(op: str, value: int) -> dict[str, Any]:
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}


FAILED = make_stream(503, [(b"x-a", b"1")], [(b"grpc-status", b"14")])
FAILED.flags = Flag.UPSTREAM_OVERFLOW
FAILED.request_id = b"0000000a-e3a7-4e36-9b69-7c27b67067d0"
HALF = {"numerator": 11, "denominator": "HUNDRED"}


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"status_code_filter": compare("GE", 500)}, True),
        ({"status_code_filter": compare("EQ", 500)}, False),
        ({"status_code_filter": compare("LE", 503)}, True),
        ({"status_code_filter": compare("NE", 503)}, False),
        ({"duration_filter": compare("GE", 50)}, True),
        ({"duration_filter": compare("GE", 51)}, False),
        ({"not_health_check_filter": {}}, True),
        ({"header_filter": {"header": {"name": "X-A", "present_match": True}}}, True),
        ({"header_filter": {"header": {"name": "x-b", "present_match": True}}}, False),
        ({"response_flag_filter": {}}, True),
        ({"response_flag_filter": {"flags": ["UO", "NR"]}}, True),
        ({"response_flag_filter": {"flags": ["NR"]}}, False),
        ({"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}, True),
        ({"grpc_status_filter": {"statuses": ["UNAVAILABLE"], "exclude": True}}, False),
        ({"log_type_filter": {"types": ["DownstreamEnd"]}}, True),
        ({"log_type_filter": {"types": ["DownstreamStart"]}}, False),
        ({"runtime_filter": {"runtime_key": "k", "percent_sampled": HALF}}, True),
        ({"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 10}}}, False),
        ({"runtime_filter": {"runtime_key": "k"}}, False),
        (
            {
                "and_filter": {
                    "filters": [{"response_flag_filter": {}}, {"duration_filter": compare("GE", 99)}]
                }
            },
            False,
        ),
        (
            {
                "or_filter": {
                    "filters": [{"response_flag_filter": {}}, {"duration_filter": compare("GE", 99)}]
                }
            },
            True,
        ),
    ],
)
def test_filter_decides_about_a_failed_request(context: FactoryContext, message: Any, wanted: bool) -> None:
    compiled = compile_log_filter(json_format.ParseDict(message, AccessLogFilter()), context, "filter")
    assert compiled(FAILED) is wanted


@pytest.mark.parametrize("kind", ["extension_filter"])
def test_filter_that_is_still_to_come_lets_everything_pass(context: FactoryContext, kind: str) -> None:
    message = json_format.ParseDict({"or_filter": {"filters": [{kind: {}}]}}, AccessLogFilter())
    assert compile_log_filter(message, context, "filter")(FAILED)


def test_filtered_logger_writes_what_the_filter_wants(tmp_path: Path, context: FactoryContext) -> None:
    path = tmp_path / "log"
    factory = FileFactory()
    message = json_format.ParseDict({"status_code_filter": compare("GE", 500)}, AccessLogFilter())
    logger = factory.compile(file_message(path, format="%RESPONSE_CODE%\n"), context)
    logger = factory.with_filter(logger, message, context)
    for status in (200, 500, 404, 503):
        logger.log(make_stream(status))
    logger.close()
    assert path.read_text() == "500\n503\n"
