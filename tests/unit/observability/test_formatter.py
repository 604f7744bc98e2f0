"""What formats become, operator by operator; the expectations were seen on Envoy 1.40."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sidecar.api.stream import Flag
from sidecar.core.errors import SidecarError
from sidecar.core.headers import HeaderMap
from sidecar.observability.formatter import (
    DEFAULT_FORMAT,
    compile_header_value,
    compile_json,
    compile_text,
    encoded,
    unrecorded_operators,
)
from sidecar.observability.metadata_operators import StateMessage
from sidecar.observability.operators import OPERATORS
from sidecar.observability.unset_operators import NOT_RECORDED
from sidecar.router.upstream_log import TryFacts

from .streams import START_NS, Cluster, Host, Route, make_stream

#: Formats that Envoy refuses, and its words.
FORMAT_ERRORS = [
    tuple(line.split("\t"))
    for line in Path(__file__).with_name("format_errors.tsv").read_text("utf-8").splitlines()
]

QUERY = b"/d?a=1&b=xyz&c=&a=2&e=%41+1%20x"


def finished() -> Any:
    stream = make_stream(
        path=QUERY,
        fields=[(b"x-a", b"va"), (b"x-b", b"vbvb"), (b"x-a", b"second")],
        response=[(b"content-type", b"text/html")],
    )
    stream.route = Route()
    stream.cluster = Cluster()
    stream.upstream_host = Host()
    stream.upstream_local_address = "10.0.0.1:5555"
    stream.upstream_protocol = "HTTP/2"
    stream.upstream_transport_failure = "TLS error: bad cert"
    stream.details = "via upstream"
    stream.flags = Flag.UPSTREAM_CONNECTION_FAILURE | Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    stream.bytes_received = 5
    stream.bytes_sent = 6
    stream.attempt_count = 2
    stream.request_id = b"rid"
    stream.dynamic_metadata = {
        "ns": {"s": "str ing", "n": 1.5, "b": True, "k": {"z": 'q"x', "j": 1.0, "l": [1, 2]}}
    }
    stream.filter_state = {"k": "v", "m": StateMessage({"headers": [{"key": "a", "value": "b"}]})}
    stream.request_last_rx_ns = START_NS + 498_700
    stream.upstream_first_tx_ns = START_NS + 600_000
    stream.upstream_last_tx_ns = START_NS + 900_000
    stream.upstream_first_rx_ns = START_NS + 22_000_000
    return stream


@pytest.mark.parametrize(
    ("operator", "value", "text"),
    [
        ("START_TIME", "2026-11-22T21:37:23.595Z", None),
        ("START_TIME(%s.%3f %Y/%m %z %Z%%)", "1795383443.595 2026/11 +0000 UTC%", None),
        ("START_TIME(%f %1f %9f %3s)", "595921000 5 595921000 1795383443", None),
        ("START_TIME(%E4S %E*S %E*f %Ez %E*z)", "23.5959 23.595921 595921 +00:00 +00:00:00", None),
        ("START_TIME(%E4Y %EZ)", "2026 UTC", None),
        ("DURATION", 22, "22"),
        ("COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)", 498, "498"),
        ("COMMON_DURATION(foo:DS_RX_BEG)", None, "-"),
        ("REQUEST_DURATION", 0, "0"),
        ("RESPONSE_DURATION", 22, "22"),
        ("RESPONSE_TX_DURATION", 0, "0"),
        ("BYTES_RECEIVED", 5, "5"),
        ("BYTES_SENT()", 6, "6"),
        ("PROTOCOL", "HTTP/1.1", None),
        ("UPSTREAM_PROTOCOL", "HTTP/2", None),
        ("RESPONSE_CODE", 200, "200"),
        ("RESPONSE_CODE_DETAILS", "via_upstream", None),
        ("RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)", "via upstream", None),
        ("RESPONSE_FLAGS", "URX,UF", None),
        ("RESPONSE_FLAGS_LONG", "UpstreamRetryLimitExceeded,UpstreamConnectionFailure", None),
        ("GRPC_STATUS", None, "-"),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", 2, "2"),
        ("LOCAL_REPLY_BODY", "", None),
        ("ACCESS_LOG_TYPE", "DownstreamEnd", None),
        ("ROUTE_NAME", "rw", None),
        ("UPSTREAM_CLUSTER", "alt", None),
        ("UPSTREAM_CLUSTER_RAW", "up", None),
        ("UPSTREAM_HOST", "10.0.0.9:80", None),
        ("UPSTREAM_HOST_NAME", "up.example:80", None),
        ("UPSTREAM_HOST_NAME_WITHOUT_PORT", "up.example", None),
        ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(24)", "10.0.0.0/24", None),
        ("UPSTREAM_REMOTE_PORT", 80, "80"),
        ("UPSTREAM_CONNECTION_ID", 0, "0"),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", "TLS_error:_bad_cert", None),
        ("FILTER_CHAIN_NAME", None, "-"),
        ("DOWNSTREAM_REMOTE_ADDRESS", "10.1.2.3:4567", None),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "127.0.0.1", None),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "2001:db8::1", None),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(32)", "2001:db8::/32", None),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(x)", "2001:db8::1", None),
        ("DOWNSTREAM_LOCAL_PORT", 8080, "8080"),
        ("CONNECTION_ID", 7, "7"),
        ("STREAM_ID", "rid", None),
        ("HOSTNAME", socket.gethostname(), None),
        ("ENVIRONMENT(HOME):2", os.environ.get("HOME", "-")[:2], None),
        ("ENVIRONMENT(SIDECAR_NO_SUCH_VARIABLE)", "-", None),
        ("REQ(:METHOD)", "GET", None),
        ("REQ(x-a)", "va", None),
        ("REQ(X-A?X-B):3", "va", None),
        ("REQ(nope?X-B):3", "vbv", None),
        ("REQ(nope)", None, "-"),
        ("REQ(host)", "h:1", None),
        ("RESP(:STATUS)", "200", None),
        ("RESP(content-type):4", "text", None),
        ("TRAILER(x)", None, "-"),
        ("PATH", QUERY.decode(), None),
        ("PATH(NQ)", "/d", None),
        ("PATH(NQ:ORIG)", None, "-"),
        ("PATH(WQ:ORIG_OR_PATH):3", "/d?", None),
        ("QUERY_PARAM(a)", "1", None),
        ("QUERY_PARAM(b):2", "xy", None),
        ("QUERY_PARAM(c)", "", None),
        ("QUERY_PARAM(e)", "A+1 x", None),
        ("QUERY_PARAMS", QUERY.decode()[3:], None),
        ("QUERY_PARAMS(DECODED):60", "a=1&b=xyz&c=&a=2&e=A+1%20x", None),
        ("DYNAMIC_METADATA(ns:k)", {"j": 1, "l": [1, 2], "z": 'q"x'}, '{"j":1,"l":[1,2],"z":"q\\"x"}'),
        ("DYNAMIC_METADATA(ns:s)", "str ing", None),
        ("DYNAMIC_METADATA(ns:s):2", "st", None),
        ("DYNAMIC_METADATA(ns:n)", 1.5, "1.5"),
        ("DYNAMIC_METADATA(ns:b)", True, "true"),
        ("DYNAMIC_METADATA(nope:x)", None, "-"),
        ("METADATA(ROUTE:ns:r)", {"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        ("METADATA(VIRTUAL_HOST:ns:v)", "vhost", None),
        ("UPSTREAM_METADATA(ns:k)", "host", None),
        ("CLUSTER_METADATA(ns:k)", None, "-"),
        ("FILTER_STATE(k:PLAIN)", "v", None),
        ("FILTER_STATE(k)", "v", '"v"'),
        (
            "FILTER_STATE(m)",
            {"headers": [{"key": "a", "value": "b"}]},
            '{"headers":[{"key":"a","value":"b"}]}',
        ),
        ("FILTER_STATE(m:PLAIN)", None, "-"),
        ("REQUESTED_SERVER_NAME", None, "-"),
        ("REQUESTED_SERVER_NAME(HOST_FIRST)", "h:1", None),
        ("DOWNSTREAM_TLS_VERSION", None, "-"),
        ('COALESCE({"operators":["ROUTE_NAME"]}):1', "r", None),
        (
            'COALESCE({"operators":[{"command":"REQ","param":"nope"},'
            '{"command":"REQ","param":"x-b","max_length":1}]})',
            "v",
            None,
        ),
        ("CUSTOM_FLAGS", "", None),
    ],
)
def test_operator_of_a_finished_stream_gives_the_oracles_value(
    operator: str, value: Any, text: str | None
) -> None:
    stream = finished()
    assert json.loads(compile_json({"v": f"%{operator}%"})(stream)) == {"v": value}
    assert compile_text(f"%{operator}%")(stream) == (value if text is None else text)


def test_default_format_is_the_oracles_line() -> None:
    assert compile_text(DEFAULT_FORMAT)(finished()) == (
        '[2026-11-22T21:37:23.595Z] "GET /d?a=1&b=xyz&c=&a=2&e=%41+1%20x HTTP/1.1" 200 URX,UF 5 6 22 - '
        '"-" "-" "-" "h:1" "10.0.0.9:80"\n'
    )


def test_every_known_operator_works_on_a_stream_that_never_got_anywhere() -> None:
    stream = make_stream()
    arguments = {
        "COMMON_DURATION": "(DS_RX_BEG:DS_TX_END)",
        "METADATA": "(DYNAMIC:a:b)",
        "COALESCE": '({"operators":["PROTOCOL"]})',
    }
    for name in OPERATORS:
        for argument in (arguments.get(name), "(A)", ""):
            try:
                line = compile_text(f"%{name}{argument or ''}%")
            except SidecarError:
                continue
            assert isinstance(line(stream), str)
            break
        else:
            pytest.fail(name)
    for name in NOT_RECORDED:
        assert compile_text(f"%{name}%")(stream) in ("-", "0")  # a connection that carried nothing


def test_duration_of_a_running_stream_counts_until_now() -> None:
    stream = make_stream()
    stream.start_ns = time.monotonic_ns() - 5_000_000
    assert int(compile_text("%DURATION%")(stream)) >= 5


@pytest.mark.parametrize(("text_format", "message"), FORMAT_ERRORS)
def test_wrong_format_is_refused_in_the_oracles_words(text_format: str, message: str) -> None:
    with pytest.raises(SidecarError) as caught:
        compile_text(text_format)
    assert str(caught.value) == message


def test_percent_sign_is_written_twice() -> None:
    assert compile_text("%REQ(x-a)%%%%REQ(x-b)%100%%")(finished()) == "va%vbvb100%"


def test_header_bytes_come_out_as_they_came_in() -> None:
    stream = make_stream(fields=[(b"x-b", b"caf\xe9\xc3\xa9")])
    assert encoded(compile_text("é%REQ(x-b)%|%REQ(x-b):5%")(stream)) == b"\xc3\xa9caf\xe9\xc3\xa9|caf\xe9\xc3"


def test_json_escapes_each_byte_of_a_value_that_is_not_utf8() -> None:
    stream = make_stream(
        fields=[(b"a", b"val\xc3\xa9id/"), (b"b", b'in\xe9val\xc3\xa9id"'), (b"c", b'a\t"\\')]
    )
    line = compile_json({"m": "é%REQ(a)%%REQ(b)%", "a": "%REQ(a)%", "c": "%REQ(c)%"})(stream)
    assert encoded(line) == (
        b'{"a":"val\xc3\xa9id/","c":"a\\t\\"\\\\",'
        b'"m":"\xc3\xa9val\xc3\xa9id/in\\u00e9val\\u00c3\\u00a9id\\u0022"}\n'
    )


TREE = {
    "zeta": "%PROTOCOL%",
    "alpha": {"n": "%BYTES_SENT%", "m": "x%BYTES_SENT%y", "nul": "%REQ(nope)%", "mix": "a%REQ(nope)%b",
              "e": {"q": "%REQ(nope)%"}},
    "list": ["%REQ(nope)%", "%RESPONSE_CODE%", {"a": "%REQ(nope)%"}, []],
    "const": "x", "num": 5.0, "f": 1.5, "b": True, "null": None, "pct": "%%", "emp": "", "o": {},
    "flags": "%RESPONSE_FLAGS%",
}  # fmt: skip


def test_json_keeps_types_and_sorts_keys() -> None:
    stream = make_stream(response=[])
    assert compile_json(TREE)(stream) == (
        '{"alpha":{"e":{"q":null},"m":"x0y","mix":"a-b","n":0,"nul":null},"b":true,"const":"x","emp":"",'
        '"f":1.5,"flags":"-","list":[null,200,{"a":null},[]],"null":null,"num":5,"o":{},"pct":"%",'
        '"zeta":"HTTP/1.1"}\n'
    )


def test_json_without_empty_values_drops_what_is_unset_and_what_is_left_empty() -> None:
    stream = make_stream(response=[])
    assert compile_json(TREE, omit_empty=True)(stream) == (
        '{"alpha":{"m":"x0y","mix":"ab","n":0},"b":true,"const":"x","emp":"","f":1.5,"flags":"-",'
        '"list":[200,[]],"num":5,"pct":"%","zeta":"HTTP/1.1"}\n'
    )
    assert compile_json({"a": {"b": "%REQ(nope)%"}}, omit_empty=True)(stream) == "{}\n"


def test_text_without_empty_values_leaves_unset_operators_out() -> None:
    line = compile_text("%REQ(nope)%|%RESPONSE_FLAGS%|%ENVIRONMENT(SIDECAR_NO)%", omit_empty=True)
    assert line(make_stream()) == "|-|-"


@pytest.mark.parametrize(
    ("text_format", "value"),
    [
        ("%REQ(nope)%", b""),
        ("a%REQ(nope)%b", b"ab"),
        ('%DYNAMIC_METADATA(["ns","s"])%', b"str ing"),
        ('%DYNAMIC_METADATA(["ns", "k", "j"])%', b"1"),
        ('%UPSTREAM_METADATA(["ns","k"])%', b"host"),
        ("%PER_REQUEST_STATE(k)%", b"v"),
        ("%PROTOCOL% %%", b"HTTP/1.1 %"),
        ("%RESPONSE_CODE%", b"200"),
    ],
)
def test_header_value_of_an_operator_is_bytes_and_nothing_when_unset(text_format: str, value: bytes) -> None:
    compiled = compile_header_value(text_format)
    assert not isinstance(compiled, bytes)
    assert compiled(finished()) == value


def test_header_value_without_operators_is_constant() -> None:
    assert compile_header_value("100%% é") == "100% é".encode()


@pytest.mark.parametrize(
    ("status", "name", "snake", "number"),
    [
        (b"0", "OK", "OK", 0),
        (b"1", "Canceled", "CANCELLED", 1),
        (b"5", "NotFound", "NOT_FOUND", 5),
        (b"99", "99", "99", 99),
    ],
)
def test_grpc_status_is_that_of_the_trailers(status: bytes, name: str, snake: str, number: int) -> None:
    stream = make_stream(
        fields=[(b"content-type", b"application/grpc+proto")],
        response=[(b"grpc-status", b"7")],
        trailers=HeaderMap([(b"grpc-status", status)]),
    )
    line = compile_json(
        {"c": "%GRPC_STATUS%", "s": "%GRPC_STATUS(SNAKE_STRING)%", "n": "%GRPC_STATUS_NUMBER%"}
    )
    assert json.loads(line(stream)) == {"c": name, "s": snake, "n": number}


def test_unrecorded_operators_are_named() -> None:
    assert unrecorded_operators("%UPSTREAM_WIRE_BYTES_SENT% %PROTOCOL%") == ["UPSTREAM_WIRE_BYTES_SENT"]


def test_extension_operator_needs_its_extension() -> None:
    with pytest.raises(SidecarError, match="Not supported field in StreamInfo: REQ_WITHOUT_QUERY"):
        compile_text("%REQ_WITHOUT_QUERY(:PATH)%")
    line = compile_text("%REQ_WITHOUT_QUERY(:PATH):3%", extensions=["REQ_WITHOUT_QUERY"])
    assert line(make_stream(path=b"/abcd?x")) == "/ab"


def test_points_that_are_not_marked_are_unset() -> None:
    stream = make_stream()
    for points in ("US_CX_BEG:US_CX_END", "US_RX_BODY_BEG:US_RX_END", "DS_TX_BEG:DS_TX_END"):
        assert compile_text(f"%COMMON_DURATION({points})%")(stream) == "-"
    assert compile_text("%DOWNSTREAM_DETECTED_CLOSE_TYPE%")(stream) == "Normal"
    assert compile_text("%UPSTREAM_LOCAL_CLOSE_REASON%")(stream) == "-"


def test_try_without_a_connection_has_the_host_of_its_request() -> None:
    tried: Any = TryFacts(make_stream())
    assert tried.upstream_host is None
    assert compile_text("%REQUESTED_SERVER_NAME(HOST_FIRST:HOST)%")(tried).strip() == "h:1"
