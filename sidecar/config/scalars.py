"""Scalars of a configuration text as values of proto fields, as lenient as Envoy's JSON parser.

Called by :mod:`sidecar.config.decode`; every rule here was tried on Envoy 1.40
(``tests/integration/config/test_oracle_verdicts.py`` keeps the cases).
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from datetime import datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from sidecar.config.nearest import nearest
from sidecar.config.nodes import Mapping, Node, Scalar, Sequence
from sidecar.core.late_pattern import late_pattern

__all__ = ["WRAPPERS", "ScalarError", "UnknownEnumValue", "parse_scalar", "parse_well_known"]

WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: ("a 32-bit integer", -(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: ("an integer from 0 to 4294967295", 0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: ("a 64-bit integer", -(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: ("an integer from 0 to 18446744073709551615", 0, 2**64 - 1),
}
_TRUE = frozenset(("true", "t", "yes", "y", "1"))
_FALSE = frozenset(("false", "f", "no", "n", "0"))
_DECIMAL = late_pattern(r"[+-]?[0-9]+\Z")
_HEXADECIMAL = late_pattern(r"([+-]?)0[xX]([0-9a-fA-F]+)\Z")
_FLOAT = late_pattern(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_DURATION = late_pattern(r"(-?)([0-9]+)(?:\.([0-9]{1,9}))?s\Z")
_OTHER_UNIT = late_pattern(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|m|min|h|d|us)?\Z")
_UNITS = {"us": 1e-6, "ms": 1e-3, None: 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_TIMESTAMP = late_pattern(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\Z")
_MAX_DURATION_S = 315_576_000_000


class ScalarError(ValueError):
    """``str()`` says what was expected; ``hint`` what to write."""

    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.hint = hint


class UnknownEnumValue(ScalarError):
    """Envoy counts a value it does not know as an unknown field, which a flag allows."""


def parse_scalar(field: FieldDescriptor, node: Node) -> Any:
    """The Python value of ``node`` for a field that is no message.

    Raises:
        ScalarError: it has no value of the field's type.
    """
    value = node.value if isinstance(node, Scalar) else node
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if not isinstance(value, str):
            raise ScalarError("expected a string", _quote_it(node))
        return _from_base64(value) if field.type == FieldDescriptor.TYPE_BYTES else value
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean(value)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, value)
    if kind in _RANGES:
        return _integer(value, *_RANGES[kind])
    return _float(value, single=kind == FieldDescriptor.CPPTYPE_FLOAT)


def parse_well_known(name: str, node: Node, message: Any) -> None:
    """Fill a Duration, Timestamp or FieldMask from its text.

    Raises:
        ScalarError: it is none.
    """
    text = node.value if isinstance(node, Scalar) else None
    if name == "google.protobuf.Duration":
        _duration(node, message)
    elif not isinstance(text, str):
        raise ScalarError("expected a string", _quote_it(node))
    elif name == "google.protobuf.Timestamp":
        match = _TIMESTAMP.match(text)
        if match is None:
            raise ScalarError("expected a time as in 2030-01-31T12:00:00Z")
        try:
            moment = datetime.fromisoformat(match.group(1) + match.group(3).replace("Z", "+00:00"))
        except ValueError as error:
            raise ScalarError("expected a time as in 2030-01-31T12:00:00Z") from error
        message.seconds = int(moment.timestamp())
        message.nanos = int((match.group(2) or "0").ljust(9, "0"))
    else:
        message.FromJsonString(text)


def _duration(node: Node, message: Any) -> None:
    text = node.value if isinstance(node, Scalar) else None
    expected = "expected a duration: seconds and an 's', as in 1.5s"
    if not isinstance(text, str):
        written = node.text if isinstance(node, Scalar) and isinstance(node.value, int | float) else ""
        raise ScalarError(expected, f"write {written}s" if written and not isinstance(text, bool) else None)
    match = _DURATION.match(text)
    if match is None:
        other = _OTHER_UNIT.match(text)
        hint = None
        if other is not None:
            seconds = float(other.group(1)) * _UNITS[other.group(2)]
            hint = f"write {seconds:.9f}".rstrip("0").rstrip(".") + "s"
        raise ScalarError(expected, hint)
    sign, seconds_text, fraction = match.groups()
    factor = -1 if sign else 1
    whole = int(seconds_text)
    if whole > _MAX_DURATION_S:
        raise ScalarError("expected a duration of at most 315576000000s")
    message.seconds = factor * whole
    message.nanos = factor * int((fraction or "").ljust(9, "0"))


def _quote_it(node: Node) -> str | None:
    if not isinstance(node, Scalar) or node.value is None or not node.text:
        return None
    if isinstance(node.value, bool) and node.text.lower() not in ("true", "false"):
        return f"{node.text} without quotes is a boolean: write '{node.text}'"
    return f"write '{node.text}'"


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        folded = value.lower()
        if folded in _TRUE:
            return True
        if folded in _FALSE:
            return False
    raise ScalarError("expected true or false")


def _enum(field: FieldDescriptor, value: Any) -> int:
    kind: Any = field.enum_type
    names = kind.values_by_name
    if isinstance(value, str):
        known = names.get(value)
        if known is not None:
            return int(known.number)
        folded = value.upper()
        for name, known in names.items():
            if name.upper() == folded:
                return int(known.number)
        if _DECIMAL.match(value) and -(2**31) <= int(value) < 2**31:
            return int(value)
        near = nearest(value, names)
        listed = f"one of {', '.join(names)}" if len(names) <= 12 else None
        hint = f"did you mean {near}?" if near else listed
        raise UnknownEnumValue(f"{kind.full_name} has no value '{value}'", hint)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**31:
        return int(value)
    raise ScalarError(
        "expected the name of a value", f"one of {', '.join(names)}" if len(names) <= 12 else None
    )


def _integer(value: Any, expected: str, low: int, high: int) -> int:
    number: int | None = None
    if isinstance(value, bool | Mapping | Sequence):
        pass
    elif isinstance(value, int):
        number = value
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, str):
        hexadecimal = _HEXADECIMAL.match(value)
        if hexadecimal is not None:
            number = int(hexadecimal.group(1) + hexadecimal.group(2), 16)
        elif _DECIMAL.match(value):
            number = int(value)
        elif _FLOAT.match(value):
            real = float(value)
            number = int(real) if math.isfinite(real) and real.is_integer() else None
    if number is None or not low <= number <= high:
        raise ScalarError(f"expected {expected}")
    return number


def _float(value: Any, *, single: bool) -> float:
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value.replace("Infinity", "inf"))
        if _FLOAT.match(value):
            number = float(value)
        elif _HEXADECIMAL.match(value):
            number = float(int(value, 16))
    if number is None or not math.isfinite(number):
        raise ScalarError("expected a number")
    if single:
        try:
            struct.pack("<f", number)
        except OverflowError as error:
            raise ScalarError("expected a number that fits 32 bits") from error
    return number


def _from_base64(text: str) -> bytes:
    padded = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except binascii.Error as error:
        raise ScalarError("expected bytes in base64") from error
