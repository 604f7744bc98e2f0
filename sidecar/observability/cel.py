"""Expressions in CEL over the attributes of a stream, compiled once and asked for many streams.

The library is Google's in C++, which is Envoy's (docs/adr/0013-cel.md); :mod:`sidecar.observability.cel_tree`
makes of an expression what the library is to run, :mod:`sidecar.observability.cel_data` what it is told of a
stream.  An expression that is one attribute (``request.headers['x-user']``) is read without the library.

Errors are values: what fails is :data:`FAILED`.  There are no loops in Envoy's CEL, so what an evaluation can
cost is bounded by the expression and by what it looks at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import re2
from cel.expr import syntax_pb2

from sidecar.api.stream import Stream
from sidecar.core.cel_options import CelOptions
from sidecar.observability.attributes import Duration, Timestamp, Unsigned
from sidecar.observability.cel_data import compile_data, compile_path, without_surrogates
from sidecar.observability.cel_tree import (
    LOWER,
    MATCHES,
    NUMBER,
    REGEX_LIMIT,
    TEXT,
    CelFault,
    adapt,
)

__all__ = ["FAILED", "Cel", "CelFault", "CelOptions", "compile_cel", "compile_cel_tree"]

#: What an evaluation gives that fails: an attribute is missing, a type is wrong, a number too large.
FAILED: Any = type("Failed", (), {"__slots__": (), "__repr__": lambda self: "FAILED"})()
_ENVELOPE = b"type.googleapis.com/cel.expr.ParsedExpr"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULTS = CelOptions()


class Cel:
    """One expression."""

    __slots__ = ("_data", "_program", "_read")

    def __init__(
        self, program: Any, data: Callable[[Stream], dict[str, Any]], read: Callable[[Stream], Any] | None
    ) -> None:
        self._program = program
        self._data = data
        #: Of one attribute.
        self._read = read

    def value(self, stream: Stream, more: Mapping[str, Any] | None = None) -> Any:
        """What it is for ``stream``; FAILED for an error.  ``more`` are further names with their values.

        None is ``null``; times, durations and unsigned numbers are those of
        :mod:`sidecar.observability.attributes`; a message is one of protobuf.
        """
        if self._read is not None:
            return self._read(stream)
        result = self._run(stream, more)
        if result is None:
            return FAILED
        kind = result.type().name()
        value = result.plain_value() if kind != "ERROR" else FAILED
        if isinstance(value, bytearray):
            return bytes(value)
        if kind == "UINT":
            return Unsigned(value)
        return _plain(value)

    def matches(self, stream: Stream) -> bool:
        """Whether it is ``true``; an error and anything else is not."""
        if self._read is not None:
            return self._read(stream) is True
        result = self._run(stream)
        return result is not None and result.value() is True

    def _run(self, stream: Stream, more: Mapping[str, Any] | None = None) -> Any:
        data = self._data(stream)
        if more:
            data.update(more)
        try:
            return self._program.eval(data=data)
        except RuntimeError:
            # Bytes that are no UTF-8, which the library does not take.
            data = without_surrogates(data)
        try:
            return self._program.eval(data=data)
        except RuntimeError:
            return None  # no value at all, as of a map with one key twice


def compile_cel(text: str, options: CelOptions = _DEFAULTS, *, has_node: bool = True) -> Cel:
    """An expression in its text form; ``has_node`` where ``xds.node`` is known.  Raises: CelFault."""
    try:
        packed = _environment().compile(text, disable_check=True).serialize()
    except RuntimeError as error:
        raise CelFault(f"Not able to parse expression: {error}") from error
    parsed = syntax_pb2.ParsedExpr.FromString(_unwrap(packed))
    return _compile(parsed.expr, options, has_node=has_node)


def compile_cel_tree(serialized: bytes, options: CelOptions = _DEFAULTS, *, has_node: bool = True) -> Cel:
    """An expression as a serialized ``Expr`` of ``cel.expr`` or ``google.api.expr.v1alpha1``.

    Raises: CelFault.
    """
    return _compile(syntax_pb2.Expr.FromString(serialized), options, has_node=has_node)


def _compile(expr: Any, options: CelOptions, *, has_node: bool) -> Cel:
    if expr.WhichOneof("expr_kind") is None:
        raise CelFault("failed to create an expression: Invalid empty expression")
    needs = adapt(expr, options)
    if not has_node:
        needs.messages.discard(("xds", "node"))
    parsed = syntax_pb2.ParsedExpr(expr=expr).SerializeToString()
    try:
        program = _environment().deserialize(_wrap(parsed))
        program.eval(data={})
    except RuntimeError as error:
        # A message of an unknown type, say.  Others are errors of the evaluation.
        if "[INVALID_ARGUMENT]" in str(error):
            raise CelFault(f"failed to create an expression: {error}") from error
    return Cel(program, compile_data(needs), compile_path(needs.path, FAILED))


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return Duration(value // timedelta(microseconds=1) * 1000)
    if isinstance(value, datetime):
        return Timestamp((value - _EPOCH) // timedelta(microseconds=1) * 1000)
    return value


# -- the envelope: a google.protobuf.Any ----------------------------------------------------------------
def _wrap(parsed: bytes) -> bytes:
    return b"\n" + _varint(len(_ENVELOPE)) + _ENVELOPE + b"\x12" + _varint(len(parsed)) + parsed


def _unwrap(packed: bytes) -> bytes:
    at = 1 + len(_varint(len(_ENVELOPE))) + len(_ENVELOPE) + 1
    while packed[at] & 0x80:
        at += 1
    return packed[at + 1 :]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# -- the library -----------------------------------------------------------------------------------------
@cache
def _environment() -> Any:
    """The one environment: the library has it that functions are its, and variables need no declaration."""
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_strings

    kinds = cel.Type

    def function(name: str, returns: Any, parameters: list[Any], impl: Callable[..., Any]) -> Any:
        return cel.FunctionDecl(name, [cel.Overload(name, returns, parameters, impl=impl)])

    def same(name: str, types: tuple[str, ...]) -> Any:
        found = [getattr(kinds, each) for each in types]
        return cel.FunctionDecl(
            name, [cel.Overload(f"{name}_{each}", each, [each], impl=_identity) for each in found]
        )

    numbers = ("INT", "UINT", "DOUBLE", "TIMESTAMP", "DURATION")
    text = kinds.STRING
    return cel.NewEnv(
        extensions=[ext_strings.ExtStrings()],
        functions=[
            same(NUMBER, numbers),
            same(TEXT, (*numbers, "STRING", "BYTES")),
            function(LOWER, text, [text], _lower),
            function(MATCHES, kinds.BOOL, [text, text], _matches),
            function("re.extract", text, [text, text, text], _extract),
            function("re.capture", text, [text, text], _capture),
            function("re.captureN", kinds.Map(text, text), [text, text], _capture_all),
        ],
    )


def _identity(value: Any) -> Any:
    return value


def _lower(name: str) -> str:
    lower = name.lower()
    return ":authority" if lower == "host" else lower


# An exception in one of them is an error of the evaluation.
@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _program(pattern: str) -> Any:
    program = re2.compile(pattern, _options())
    if program.programsize > REGEX_LIMIT:
        raise ValueError("regular expression exceeds max allowed size")
    return program


def _matches(text: str, pattern: str) -> bool:
    return _program(pattern).search(text) is not None


def _extract(text: str, pattern: str, rewrite: str) -> str:
    found = _program(pattern).search(text)
    if found is None:
        raise ValueError("Unable to extract string for the given regex")
    groups = found.re.groups

    def part(escape: re.Match[str]) -> str:
        name = escape.group(1)
        if name == "\\":
            return name
        if not name.isdigit() or int(name) > groups:
            raise ValueError("Unable to extract string for the given regex")
        return found.group(int(name)) or ""

    return re.sub(r"\\(.)", part, rewrite)


def _capture(text: str, pattern: str) -> str:
    found = _program(pattern).fullmatch(text)
    if found is None or not found.re.groups:
        raise ValueError("Unable to capture groups from the string using the given regex")
    return str(found.group(1))


def _capture_all(text: str, pattern: str) -> dict[str, str]:
    program = _program(pattern)
    found = program.fullmatch(text)
    if found is None or not program.groups:
        raise ValueError("Unable to capture groups from the string using the given regex")
    names = {number: name for name, number in program.groupindex.items()}
    return {
        names.get(number, str(number)): found.group(number) or "" for number in range(1, program.groups + 1)
    }
