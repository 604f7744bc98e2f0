"""Expressions in CEL over a stream."""

from __future__ import annotations

import pytest
from cel.expr import syntax_pb2

from sidecar.api.message import RequestMessage
from sidecar.api.plain_connection import PlainConnection
from sidecar.api.stream import Stream
from sidecar.core.cel_options import CelOptions
from sidecar.core.headers import RequestHeaders
from sidecar.observability.attributes import Duration, Unsigned
from sidecar.observability.cel import FAILED, Cel, CelFault, compile_cel, compile_cel_tree
from sidecar.observability.cel_text import cel_json, cel_text


def a_stream(*fields: tuple[bytes, bytes]) -> Stream:
    connection = PlainConnection(7, "10.0.0.1:1234", "10.0.0.2:80")
    headers = RequestHeaders()
    for name, value in fields:
        headers.add(name, value)
    stream = Stream(connection, None, RequestMessage(headers), "HTTP/1.1")
    stream.resolve_route = False
    return stream


def test_one_attribute_is_read_without_the_library() -> None:
    stream = a_stream((b"x-bad", b"a\xff"))
    assert compile_cel("request.headers['X-Bad']").value(stream) == "a\udcff"
    assert compile_cel("request.headers['none']").value(stream) is FAILED
    assert compile_cel("connection.id").value(stream) == Unsigned(7)


def test_byte_that_is_no_text_is_replaced_inside_an_expression() -> None:
    stream = a_stream((b"x-bad", b"a\xff"))
    assert compile_cel("request.headers['x-bad'] == 'a\\uFFFD'").value(stream) is True
    assert compile_cel("request.headers['x-bad'].size()").value(stream) == 2


def test_computed_time_is_whole_microseconds() -> None:
    assert compile_cel("duration('1500ns') + duration('0s')").value(a_stream()) == Duration(1000)


def test_error_is_a_value_and_not_true() -> None:
    stream = a_stream()
    for text in ("nope", "request.headers['none'] == 'a'", "1/0", "{'a': 1, 'a': 2}", "'a' + 'b'"):
        expression = compile_cel(text)
        assert expression.value(stream) is FAILED
        assert not expression.matches(stream)
    assert compile_cel("nope || true").matches(stream)


def test_values_that_are_not_true_do_not_match() -> None:
    for text in ("'true'", "1", "null", "request.headers['x']"):
        assert not compile_cel(text).matches(a_stream((b"x", b"true")))


def test_tree_is_an_expression_like_its_text() -> None:
    expr = syntax_pb2.Expr()
    expr.call_expr.function = "_==_"
    expr.call_expr.args.add().select_expr.operand.ident_expr.name = "source"
    expr.call_expr.args[0].select_expr.field = "port"
    expr.call_expr.args.add().const_expr.int64_value = 1234
    assert compile_cel_tree(expr.SerializeToString()).matches(a_stream())


def test_empty_tree_and_unknown_function_are_refused() -> None:
    with pytest.raises(CelFault, match="Invalid empty expression"):
        compile_cel_tree(b"")
    with pytest.raises(CelFault, match="No overload found in reference resolve step for split"):
        compile_cel("'a'.split('b')")
    assert compile_cel("'a b'.split(' ')", CelOptions(string_functions=True)).value(a_stream()) == ["a", "b"]


def test_deep_expression_is_an_expression_or_refused() -> None:
    assert compile_cel("!" * 50 + "true").matches(a_stream())
    with pytest.raises(CelFault):
        compile_cel("(" * 5000 + "true" + ")" * 5000)


@pytest.mark.parametrize(
    ("text", "as_text", "as_json"),
    [
        ("duration('-90m')", "-1h30m", "-5400s"),
        ("duration('1.5ms')", "1.5ms", "0.001500s"),
        ("timestamp('2024-01-02T03:04:05.12Z')", "2024-01-02T03:04:05.12+00:00", "2024-01-02T03:04:05.120Z"),
        ("1234567.5", "1.23457e+06", 1234567.5),
        ("b'\\xff'", "\udcff", "/w=="),
        ("type(1)", "CelType value", None),
    ],
)
def test_value_shows_as_envoy_shows_it(text: str, as_text: str, as_json: object) -> None:
    value = compile_cel(text).value(a_stream())
    assert cel_text(value) == as_text
    assert cel_json(value) == as_json


def test_pattern_of_a_request_has_a_limit() -> None:
    expression: Cel = compile_cel("'a'.matches(request.headers['re'])")
    assert expression.value(a_stream((b"re", b"(a|b|c){40}"))) is FAILED
    assert expression.value(a_stream((b"re", b"("))) is FAILED
    assert expression.value(a_stream((b"re", b"a|b"))) is True
