"""Lines made by the function that was written for their format are those made operator by operator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import SidecarError
from sidecar.observability import line_program
from sidecar.observability.formatter import DEFAULT_FORMAT, Line, compile_json, compile_text, encoded
from sidecar.observability.operators import OPERATORS
from sidecar.observability.time_format import is_coarse

from .streams import Cluster, Host, Route, make_stream

#: Operators that give something else with each call.
_CHANGING = {"UNIQUE_ID", "EMIT_TIME", "EMIT_TIME_LOCAL"}
_ARGUMENTS = ("", "(A)", "(ns:s)", "(x-a)", "(x-a?x-b)", "(none?:path)", "(none?x-a):3", "(content-type)")
_SPECIAL = {
    "COMMON_DURATION": ("(DS_RX_BEG:DS_TX_END:ns)", "(DS_RX_BEG:US_RX_BEG)"),
    "METADATA": ("(DYNAMIC:ns:s)", "(ROUTE:ns)", "(VIRTUAL_HOST:ns:v)"),
    "DYNAMIC_METADATA": ("(ns)", "(ns:n)", "(ns:b)", "(ns:e)", "(ns:k:l)"),
    "COALESCE": ('({"operators":["PROTOCOL"]})',),
    "START_TIME": ("(%s)", "(%3f)", "(%H:%M:%E*S)", "(%9f)", '("%Y")'),
}
_VALUES = [b"va", b"", b'q"uote\\', b"\xff\xe2", b"\x01\0\x7f", "\N{SNOWMAN}%s".encode(), b"100%"]


def formats() -> Iterator[str]:
    """Each operator with the arguments that it takes."""
    for name in OPERATORS:
        if name in _CHANGING:
            continue
        for argument in (*_ARGUMENTS, *_SPECIAL.get(name, ())):
            text = f"%{name}{argument}%"
            try:
                compile_text(text)
            except SidecarError:
                continue
            yield text


FORMATS = list(formats())


def whole(value: bytes = b"va", **more: Any) -> Stream:
    stream = make_stream(
        path=b"/p?a=1&A=2",
        fields=more.pop("fields", [(b"x-a", value), (b"x-b", b"b")]),
        response=[(b"content-type", b"text/plain"), (b"x-a", value)],
    )
    stream.route = Route()
    stream.cluster = Cluster()
    stream.upstream_host = Host()
    stream.upstream_local_address = "10.0.0.1:5555"
    stream.details = "via upstream"
    stream.flags = Flag.UPSTREAM_CONNECTION_FAILURE | Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    stream.bytes_received, stream.bytes_sent = 5, 123_456_789
    stream.dynamic_metadata = {
        "ns": {"s": "str ing", "n": 1.5, "b": True, "e": "", "k": {"z": 'q"x', "l": [1, 2]}}
    }
    stream.filter_state = {"A": "v"}
    stream.upstream_first_tx_ns = stream.start_ns + 600_000
    stream.upstream_first_rx_ns = stream.start_ns + 1_800_000
    for name, each in more.items():
        setattr(stream, name, each)
    return stream


def at_start() -> Stream:
    stream = make_stream()
    stream.downstream_last_tx_ns = stream.start_ns + 1
    return stream


def headless() -> Stream:
    stream = at_start()
    headers = stream.request.headers
    headers.method = headers.path = headers.authority = headers.scheme = None
    return stream


STREAMS: list[Callable[[], Stream]] = [
    *(lambda value=value: whole(value) for value in _VALUES),
    lambda: whole(fields=[(b"x-a", b"first"), (b"x-b", b"b"), (b"x-a", b"second")]),
    lambda: whole(protocol="", upstream_host=None, flags=0),
    at_start,
    headless,
]


def check(line: Line, streams: list[Stream]) -> None:
    program = line.program()
    for stream in streams:
        expected = encoded(line(stream))
        assert program(stream) == expected
        assert program(stream) == expected  # from the tables


@pytest.mark.parametrize("text", FORMATS)
def test_operator_alone_and_inside_text_gives_the_same(text: str) -> None:
    streams = [make() for make in STREAMS]
    check(compile_text(f"{text}|"), streams)
    check(compile_text(text, omit_empty=True), streams)
    check(compile_json({"alone": text, "inside": f'"é {text}', "two": [text + text]}), streams)


def test_all_operators_in_one_line_give_the_same() -> None:
    streams = [make() for make in STREAMS]
    check(compile_text("%%é" + "|".join(FORMATS)), streams)
    check(compile_json({text: text for text in FORMATS}), streams)
    check(compile_json({text: text for text in FORMATS}, omit_empty=True), streams)


def test_each_set_of_absent_headers_has_its_own_nulls() -> None:
    names = [b"a", b"b", b"c"]
    line = compile_json({name.decode(): f"%REQ({name.decode()})%" for name in names}).program()
    for present in itertools.product((False, True), repeat=3):
        fields = [(name, name) for name, there in zip(names, present, strict=True) if there]
        shown = [
            f'"{name.decode()}"' if there else "null" for name, there in zip(names, present, strict=True)
        ]
        expected = '{{"a":{},"b":{},"c":{}}}\n'.format(*shown).encode()
        assert line(make_stream(fields=fields)) == expected


def test_the_usual_line_is_not_made_the_long_way() -> None:
    def refuse(stream: Stream) -> str:
        raise AssertionError(stream)

    for line in (
        compile_text(DEFAULT_FORMAT),
        compile_json({"a": "%REQ(x-a)% %PROTOCOL%", "b": "%REQ(nope)%"}),
    ):
        line.text = refuse
        assert line.program()(whole())


def test_tables_of_texts_and_templates_are_bounded() -> None:
    texts = line_program._Texts(str)
    for number in range(5000):
        assert texts[number] == b"%d" % number
        assert len(texts) <= 1024
    before = len(texts)
    assert texts["x" * 300] == b"x" * 300
    assert len(texts) == before
    templates = line_program._Templates([1 << bit for bit in range(10)])
    for absent in range(1024):
        assert templates[absent].count(b"null") == absent.bit_count()
        assert len(templates) <= 256


@pytest.mark.parametrize("milliseconds", [0, 1, 122, 123, 999])
def test_start_time_of_every_part_of_a_millisecond_is_the_same(milliseconds: int) -> None:
    line = compile_text("%START_TIME%").program()
    stream = make_stream()
    for part in (0.01, 0.3, 0.99):
        stream.start_time = 1_795_383_443 + (milliseconds + part) / 1000
        assert line(stream) == b"2026-11-22T21:37:23.%03dZ" % milliseconds


def test_finer_times_than_milliseconds_are_not_kept() -> None:
    assert [is_coarse(each) for each in ("%Y %3f", "%s", "%6f", "%E*S")] == [True, True, False, False]
