"""Lines made in large steps are those made piece by piece."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.observability.formatter import DEFAULT_FORMAT, compile_text, encoded

from .streams import Host, make_stream

FORMAT = (
    "100%%s|%REQ(:METHOD)%|%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%|%PROTOCOL%|%RESPONSE_CODE%|%BYTES_SENT%|"
    "%REQ(X-A)%|%REQ(:AUTHORITY)%|%RESP(X-R)%|%UPSTREAM_HOST%|%REQ(X-NONE)%%RESPONSE_FLAGS%\n"
)


def usual(**more: Any) -> Any:
    fields = more.pop("fields", [(b"x-a", b"va"), (b"x-b", b"b")])
    response = more.pop("response", [(b"x-r", b"r")])
    stream = make_stream(path=b"/p", fields=fields, response=response)
    stream.upstream_host = Host()
    stream.bytes_sent = 6
    stream.response_code = 200
    for name, value in more.items():
        setattr(stream, name, value)
    return stream


def line(stream: Any) -> bytes:
    """The line, checked against the one of a format too short for large steps, operator by operator."""
    whole = compile_text(FORMAT)(stream)
    literal, _, operators = FORMAT.partition("|")
    apart = [compile_text(part)(stream) for part in operators.split("|")]
    assert compile_text(FORMAT).program()(stream) == encoded(whole)
    assert whole == literal.replace("%%", "%") + "|" + "|".join(apart)
    return encoded(whole)


def authority(stream: Any) -> bytes:
    return bytes(stream.request.headers.authority)


def test_line_of_a_usual_stream_has_every_value_in_its_place():
    stream = usual()
    expected = b"100%s|GET|/p|HTTP/1.1|200|6|va|" + authority(stream) + b"|r|"
    assert line(stream) == expected + stream.upstream_host.address.encode() + b"|--\n"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ([(b"x-a", b"first"), (b"x-a", b"second")], b"first"),
        ([(b"x-a", b"\xff\xe2")], b"\xff\xe2"),
        ([(b"x-a", b"one\0two")], b"one\0two"),
        ([(b"x-a", "\N{SNOWMAN}%s".encode())], "\N{SNOWMAN}%s".encode()),
        ([(b"x-a", b"")], b""),
        ([], b"-"),
    ],
)
def test_header_of_any_bytes_comes_out_as_it_came_in(fields, shown):
    assert line(usual(fields=fields)).split(b"|")[6] == shown


def test_original_path_is_preferred_to_the_path():
    assert line(usual(fields=[(b"x-envoy-original-path", b"/before")])).split(b"|")[2] == b"/before"


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [("upstream_host", None, 9), ("response", None, 8), ("protocol", "", 3)],
)
def test_value_that_is_missing_is_a_dash(name, value, column):
    assert line(usual(**{name: value})).split(b"|")[column] == b"-"


def test_pseudo_header_that_is_missing_is_a_dash():
    stream = usual()
    stream.request.headers.authority = stream.request.headers.path = None
    assert line(stream).split(b"|")[7] == b"-"
    assert line(stream).split(b"|")[2] == b"-"


def test_empty_values_are_left_out_of_a_line_that_omits_them():
    stream = usual(fields=[], upstream_host=None)
    assert compile_text(DEFAULT_FORMAT, omit_empty=True)(stream).count('""') == 4
