"""The ``validate.rules`` that the API's descriptors carry, checked on a whole message.

Each message type's rules are compiled once into plain functions; :func:`check` runs them on one
message and its own fields, and :mod:`sidecar.config.walk` brings every message past it, those
inside ``Any`` too.  Reasons are worded as Envoy words them (protoc-gen-validate, C++).  Only the
rules that the API uses exist here; a test fails when a new kind of rule turns up in the API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import re2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

from sidecar.config.errors import Path

__all__ = ["KNOWN_RULES", "Violation", "check"]

#: Where, from the message on, and what.
Violation = tuple[Path, str]
_Check = Callable[[Any], str | None]

_NUMBERS = frozenset(("float", "double", "int32", "int64", "uint32", "uint64"))
_LENGTHS = {"min_len": ("at least", "characters"), "max_len": ("at most", "characters")}
_BYTES = {"min_bytes": ("at least", "bytes"), "max_bytes": ("at most", "bytes")}
KNOWN_RULES = frozenset(
    (
        *(
            f"string.{rule}"
            for rule in (*_LENGTHS, *_BYTES, "pattern", "prefix", "suffix", "in", "not_in", "const")
        ),
        *(f"string.{rule}" for rule in ("well_known_regex", "strict", "ignore_empty")),
        *(f"bytes.{rule}" for rule in _LENGTHS),
        *(
            f"{kind}.{rule}"
            for kind in (*sorted(_NUMBERS), "duration")
            for rule in ("gt", "gte", "lt", "lte")
        ),
        *("bool.const", "enum.defined_only", "enum.not_in"),
        *("message.required", "message.skip", "any.required", "duration.required"),
        *(f"{kind}.ignore_empty" for kind in sorted(_NUMBERS)),
        *(f"repeated.{rule}" for rule in ("min_items", "max_items", "unique", "items")),
        *(f"map.{rule}" for rule in ("min_pairs", "max_pairs", "keys", "values")),
    )
)


def check(message: Message) -> list[Violation]:
    """The rules that the message's own fields break; its sub-messages are not entered."""
    found: list[Violation] = []
    for rule in _compiled(message.DESCRIPTOR):
        rule(message, found)
    return found


@cache
def _compiled(descriptor: Descriptor) -> tuple[Callable[[Any, list[Violation]], None], ...]:
    compiled: list[Callable[[Any, list[Violation]], None]] = []
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(validate_pb2.rules):
            compiled.append(_field_rule(field, options.Extensions[validate_pb2.rules]))
    compiled.extend(
        _oneof_rule(oneof.name, [field.name for field in oneof.fields])
        for oneof in descriptor.oneofs
        if oneof.GetOptions().Extensions[validate_pb2.required]
    )
    return tuple(compiled)


def _oneof_rule(name: str, members: list[str]) -> Callable[[Any, list[Violation]], None]:
    def rule(message: Any, found: list[Violation]) -> None:
        if message.WhichOneof(name) is None:
            found.append(((), f"{name}: is required: one of {', '.join(members)} must be set"))

    return rule


def _field_rule(field: FieldDescriptor, rules: Any) -> Callable[[Any, list[Violation]], None]:
    name = field.name
    kind: str | None = rules.WhichOneof("type")
    if kind == "repeated":
        return _repeated_rule(field, rules.repeated)
    if kind == "map":
        return _map_rule(field, rules.map)
    checks = _value_checks(field, kind, rules)
    required = rules.message.required or (
        kind in ("any", "duration", "timestamp") and getattr(rules, kind).required
    )
    # A member of a oneof is judged only when it is the one that is set.
    required = required and field.containing_oneof is None
    has_presence = field.has_presence
    is_message = field.message_type is not None
    is_wrapper = is_message and kind in (*_NUMBERS, "string", "bytes", "bool")

    def rule(message: Any, found: list[Violation]) -> None:
        if has_presence and not message.HasField(name):
            if required:
                found.append(((name,), "value is required"))
            return
        value = getattr(message, name)
        if is_wrapper:
            value = value.value
        for one in checks:
            reason = one(value)
            if reason is not None:
                found.append(((name,), reason))

    return rule


def _repeated_rule(field: FieldDescriptor, rules: Any) -> Callable[[Any, list[Violation]], None]:
    name = field.name
    low = rules.min_items if rules.HasField("min_items") else None
    high = rules.max_items if rules.HasField("max_items") else None
    item_kind = rules.items.WhichOneof("type") if rules.HasField("items") else None
    item_checks = _value_checks(field, item_kind, rules.items) if item_kind is not None else []

    def rule(message: Any, found: list[Violation]) -> None:
        values = getattr(message, name)
        count = len(values)
        if low is not None and count < low:
            found.append(((name,), f"value must contain at least {low} item(s)"))
        if high is not None and count > high:
            found.append(((name,), f"value must contain no more than {high} item(s)"))
        if rules.unique:
            seen = set()
            for index, value in enumerate(values):
                key = value.SerializeToString(deterministic=True) if field.message_type is not None else value
                if key in seen:
                    found.append(((name, index), "repeated value must contain unique items"))
                seen.add(key)
        for index, value in enumerate(values if item_checks else ()):
            for one in item_checks:
                reason = one(value)
                if reason is not None:
                    found.append(((name, index), reason))

    return rule


def _map_rule(field: FieldDescriptor, rules: Any) -> Callable[[Any, list[Violation]], None]:
    name = field.name
    low = rules.min_pairs if rules.HasField("min_pairs") else None
    high = rules.max_pairs if rules.HasField("max_pairs") else None
    kind: Any = field.message_type
    entry = kind.fields_by_name
    key_kind, value_kind = rules.keys.WhichOneof("type"), rules.values.WhichOneof("type")
    key_checks = _value_checks(entry["key"], key_kind, rules.keys) if key_kind is not None else []
    value_checks = _value_checks(entry["value"], value_kind, rules.values) if value_kind is not None else []

    def rule(message: Any, found: list[Violation]) -> None:
        pairs = getattr(message, name)
        if low is not None and len(pairs) < low:
            found.append(((name,), f"value must contain at least {low} pair(s)"))
        if high is not None and len(pairs) > high:
            found.append(((name,), f"value must contain no more than {high} pair(s)"))
        for key in pairs:
            reasons = [one(key) for one in key_checks]
            if value_checks:
                reasons += [one(pairs[key]) for one in value_checks]
            found.extend(((name, key), reason) for reason in reasons if reason is not None)

    return rule


def _value_checks(field: FieldDescriptor, kind: str | None, rules: Any) -> list[_Check]:
    """The checks of one value (a wrapper's inner value) by the rules of its kind."""
    if kind is None:
        return []
    rule = getattr(rules, kind)
    if kind in _NUMBERS:
        numbers = _number_checks(rule, lambda value: value, str)
        return [_unless_empty(one) for one in numbers] if rule.ignore_empty else numbers
    if kind == "duration":
        return _number_checks(rule, _nanoseconds, _seconds_text)
    if kind == "string":
        return _string_checks(rule)
    if kind == "bytes":
        return [
            _length(rule, name, word, "bytes", len)
            for name, (word, _) in _LENGTHS.items()
            if rule.HasField(name)
        ]
    if kind == "bool":
        return [lambda value: None if value == rule.const else f"value must equal {str(rule.const).lower()}"]
    if kind == "enum":
        return _enum_checks(field, rule)
    return []


def _nanoseconds(duration: Any) -> int:
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


def _seconds_text(duration: Any) -> str:
    return f"{_nanoseconds(duration) / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


def _number_checks(rule: Any, number: Callable[[Any], Any], text: Callable[[Any], str]) -> list[_Check]:
    bounds = {name: getattr(rule, name) for name in ("gt", "gte", "lt", "lte") if rule.HasField(name)}
    low_name = next((name for name in ("gt", "gte") if name in bounds), None)
    high_name = next((name for name in ("lt", "lte") if name in bounds), None)
    if low_name is None and high_name is None:
        return []
    low = number(bounds[low_name]) if low_name else None
    high = number(bounds[high_name]) if high_name else None

    def below(value: Any) -> bool:
        return low is not None and (value < low or (value == low and low_name == "gt"))

    def above(value: Any) -> bool:
        return high is not None and (value > high or (value == high and high_name == "lt"))

    if low_name and high_name:
        left, right = "[" if low_name == "gte" else "(", "]" if high_name == "lte" else ")"
        reason = (
            f"value must be inside range {left}{text(bounds[low_name])}, {text(bounds[high_name])}{right}"
        )
    else:
        words = {
            "gt": "greater than",
            "gte": "greater than or equal to",
            "lt": "less than",
            "lte": "less than or equal to",
        }
        name = low_name or high_name or ""
        reason = f"value must be {words[name]} {text(bounds[name])}"

    def one(value: Any) -> str | None:
        measured = number(value)
        return reason if below(measured) or above(measured) or measured != measured else None

    return [one]


def _length(rule: Any, name: str, word: str, unit: str, measure: Callable[[Any], int]) -> _Check:
    limit = int(getattr(rule, name))
    at_least = word == "at least"

    def one(value: Any) -> str | None:
        size = measure(value)
        wrong = size < limit if at_least else size > limit
        return f"value length must be {word} {limit} {unit}" if wrong else None

    return one


def _string_checks(rule: Any) -> list[_Check]:
    checks: list[_Check] = []
    for name, (word, unit) in _LENGTHS.items():
        if rule.HasField(name):
            checks.append(_length(rule, name, word, unit, len))
    for name, (word, unit) in _BYTES.items():
        if rule.HasField(name):
            checks.append(
                _length(rule, name, word, unit, lambda value: len(value.encode("utf-8", "surrogatepass")))
            )
    if rule.HasField("const"):
        checks.append(lambda value: None if value == rule.const else f"value must equal {rule.const}")
    if rule.HasField("prefix"):
        checks.append(
            lambda value: None if value.startswith(rule.prefix) else f"value must start with {rule.prefix}"
        )
    if rule.HasField("suffix"):
        checks.append(
            lambda value: None if value.endswith(rule.suffix) else f"value must end with {rule.suffix}"
        )
    if getattr(rule, "in"):
        allowed = list(getattr(rule, "in"))
        checks.append(
            lambda value: (
                None if value in allowed else f"value must be one of {', '.join(map(repr, allowed))}"
            )
        )
    if rule.not_in:
        checks.append(lambda value: f"value must not be {value!r}" if value in rule.not_in else None)
    pattern = rule.pattern if rule.HasField("pattern") else _well_known_pattern(rule)
    if pattern is not None:
        compiled = re2.compile(pattern)
        shown = pattern.replace("\x00", "\\x00")
        checks.append(
            lambda value: (
                None if compiled.fullmatch(value) else f'value does not match regex pattern "{shown}"'
            )
        )
    if rule.ignore_empty:
        return [_unless_empty(one) for one in checks]
    return checks


def _unless_empty(one: _Check) -> _Check:
    return lambda value: one(value) if value else None


def _well_known_pattern(rule: Any) -> str | None:
    if not rule.HasField("well_known_regex"):
        return None
    if rule.HasField("strict") and not rule.strict:
        return r"^[^\x00\n\r]*$"
    if rule.well_known_regex == validate_pb2.KnownRegex.HTTP_HEADER_NAME:
        return r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$"
    return r"^[^\x00-\x08\x0A-\x1F\x7F]*$"


def _enum_checks(field: FieldDescriptor, rule: Any) -> list[_Check]:
    checks: list[_Check] = []
    names: Any = field.enum_type
    if rule.defined_only:
        defined = frozenset(names.values_by_number)
        checks.append(
            lambda value: None if value in defined else "value must be one of the defined enum values"
        )
    if rule.not_in:
        refused = {number: names.values_by_number[number].name for number in rule.not_in}
        checks.append(lambda value: f"value must not be {refused[value]}" if value in refused else None)
    return checks
