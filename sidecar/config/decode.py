"""Turns the tree of a configuration text into protobuf messages, gathering every mistake.

``google.protobuf.json_format`` stops at the first error and knows no lines, so the walk is done
here; what it accepts is what Envoy's parser accepts (protobuf's C++ JSON parser in its legacy mode,
seen on Envoy 1.40), and for what both accept the result equals that of ``json_format``.

Leniencies of that parser: snake_case and camelCase names; enums by name in any case, or by number;
numbers as strings, also in hexadecimal; booleans as strings; a single value for a list, nested lists
opened; null for "not set".
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from sidecar.config import hints, known_extensions
from sidecar.config.errors import Mark, Path, Problem, format_path
from sidecar.config.messages import message_class, type_name
from sidecar.config.nodes import TYPED_STRUCTS, Mapping, Node, Scalar, Sequence, as_text, flatten
from sidecar.config.scalars import WRAPPERS, ScalarError, UnknownEnumValue, parse_scalar, parse_well_known

__all__ = ["Decoder", "fields_by_name", "message_from_struct"]

_STRUCTS = frozenset(("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"))
_TEXTUAL = frozenset(("google.protobuf.Duration", "google.protobuf.Timestamp", "google.protobuf.FieldMask"))
_ANY = "google.protobuf.Any"


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by both their names."""
    return {name: field for field in descriptor.fields for name in (field.name, field.json_name)}


def fields_by_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by their proto names and by their JSON names."""
    return _fields(descriptor)


class Decoder:
    """Decodes documents; ``problems`` grows, and ``failed`` names the fields that got no value."""

    def __init__(self, *, allow_unknown_fields: bool = False) -> None:
        self.problems: list[Problem] = []
        self.failed: set[Path] = set()
        self._allow_unknown = allow_unknown_fields
        #: The ``name`` beside the field being decoded: in an extension's entry, the extension's name.
        self._extension_name: str | None = None

    def decode(
        self,
        node: Node,
        message: Message,
        path: Path = (),
        parent: Descriptor | None = None,
        *,
        typed: bool = False,
    ) -> None:
        """Fill ``message`` from ``node``; ``typed`` when ``@type`` stands among its fields."""
        descriptor: Any = message.DESCRIPTOR
        if not isinstance(node, Mapping):
            self._wrong(node, path, f"expected a mapping of the fields of {descriptor.full_name}")
            return
        fields = _fields(descriptor)
        taken: dict[str, tuple[str, Mark]] = {}
        extension_name = as_text(node.entries["name"][1]) if "name" in node.entries else None
        for name, (mark, value) in node.entries.items():
            field = fields.get(name)
            if field is None:
                if name != "@type" or not typed:
                    self._unknown_field(name, mark, value, descriptor, path, parent)
                continue
            oneof = field.containing_oneof
            if oneof is not None and not _is_null(value, field):
                first = taken.get(oneof.name)
                if first is not None and first[0] != field.name:
                    self._error(
                        mark,
                        (*path, field.name),
                        f"'{field.name}' and '{first[0]}' (line {first[1].line}) are both members of"
                        f" the oneof '{oneof.name}': only one may be set",
                        "remove one of them",
                    )
                    continue
                taken[oneof.name] = (field.name, mark)
            self._extension_name = extension_name
            self._field(field, value, message, (*path, field.name))

    # One field

    def _field(self, field: FieldDescriptor, node: Node, message: Any, path: Path) -> None:
        if _is_null(node, field):
            return
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            self._map(kind, node, getattr(message, field.name), path, field.containing_type)
        elif field.is_repeated:
            self._list(field, node, getattr(message, field.name), path)
        elif kind is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            self._message(kind, node, child, path, field.containing_type)
        else:
            value = self._scalar(field, node, path)
            if value is not None:
                setattr(message, field.name, value)

    def _list(self, field: FieldDescriptor, node: Node, target: Any, path: Path) -> None:
        kind = field.message_type
        for index, item in enumerate(flatten(node)):
            here = (*path, index)
            if kind is not None:
                child = target.add()
                if not (
                    isinstance(item, Scalar)
                    and item.value is None
                    and kind.full_name != "google.protobuf.Value"
                ):
                    self._message(kind, item, child, here, field.containing_type)
            elif isinstance(item, Scalar) and item.value is None:
                target.append(_zero(field))
            else:
                value = self._scalar(field, item, here)
                target.append(_zero(field) if value is None else value)

    def _map(self, kind: Descriptor, node: Node, target: Any, path: Path, parent: Descriptor | None) -> None:
        if not isinstance(node, Mapping):
            self._wrong(node, path, "expected a mapping")
            return
        key_field, value_field = kind.fields_by_name["key"], kind.fields_by_name["value"]
        for name, (mark, value) in node.entries.items():
            here = (*path, name)
            key = self._scalar(key_field, Scalar(name, mark, name, mark, quoted=True), here)
            if key is None:
                continue
            if value_field.message_type is not None:
                child = target[key]
                if not _is_null(value, value_field):
                    self._message(value_field.message_type, value, child, here, parent)
            elif not _is_null(value, value_field):
                decoded = self._scalar(value_field, value, here)
                if decoded is not None:
                    target[key] = decoded

    def _message(
        self, kind: Descriptor, node: Node, message: Any, path: Path, parent: Descriptor | None
    ) -> None:
        name = kind.full_name
        if name == _ANY:
            self._any(node, message, path)
        elif name in _STRUCTS:
            self._struct(name, node, message, path)
        elif isinstance(node, Mapping):
            # Durations and wrappers too may be written as the messages that they are.
            self.decode(node, message, path, parent)
        elif name in WRAPPERS:
            value = self._scalar(kind.fields_by_name["value"], node, path)
            if value is not None:
                message.value = value
        elif name in _TEXTUAL:
            try:
                parse_well_known(name, node, message)
            except ScalarError as error:
                self._wrong(node, path, str(error), error.hint)
        else:
            self.decode(node, message, path, parent)

    # Any

    def _any(self, node: Node, message: Any, path: Path) -> None:
        if not isinstance(node, Mapping):
            self._wrong(node, path, "expected a mapping with '@type'")
            return
        if not node.entries:
            return
        entry = node.entries.get("@type")
        if entry is None:
            self._error(
                node.mark,
                path,
                "'@type' is missing: it says of which message these are the fields",
                hints.missing_type(self._extension_name),
            )
            return
        url = entry[1].value if isinstance(entry[1], Scalar) else None
        here = (*path, "@type")
        if not isinstance(url, str):
            self._wrong(entry[1], here, "expected a string")
            return
        host, _, name = url.rpartition("/")
        if not host:
            self._error(
                entry[1].mark,
                here,
                f"'{url}' has no '/': a type URL has a host before the message name",
                f"write type.googleapis.com/{url}",
            )
            return
        message.type_url = url
        cls = message_class(name)
        if cls is None:
            if name not in known_extensions.types():
                self._error(entry[1].mark, here, f"could not find @type '{url}'", hints.unknown_type(name))
            return
        inner: Any = cls()
        if name in _STRUCTS or name in _TEXTUAL or name in WRAPPERS or name == _ANY:
            value = node.entries.get("value")
            if value is not None:
                self._message(inner.DESCRIPTOR, value[1], inner, (*path, "value"), None)
        else:
            self.decode(node, inner, path, typed=True)
            if name in TYPED_STRUCTS:
                self._check_typed_struct(inner, node, path)
        # Deterministic, so that equal files give equal bytes (and equal hashes of the configuration).
        message.value = inner.SerializeToString(deterministic=True)

    def _check_typed_struct(self, typed_struct: Any, node: Mapping, path: Path) -> None:
        """Decode the struct as the message it stands for, for its mistakes only."""
        cls = message_class(type_name(typed_struct.type_url))
        value = node.entries.get("value")
        if cls is not None and value is not None:
            self.decode(value[1], cls(), path)

    def _struct(self, name: str, node: Node, message: Any, path: Path) -> None:
        if name == "google.protobuf.Struct" and not isinstance(node, Mapping):
            self._wrong(node, path, "expected a mapping")
        elif name == "google.protobuf.ListValue" and not isinstance(node, Sequence):
            self._wrong(node, path, "expected a list")
        elif name == "google.protobuf.Value":
            _fill_value(message, node)
        elif isinstance(node, Mapping):
            for key, (_, value) in node.entries.items():
                _fill_value(message.fields[key], value)
        elif isinstance(node, Sequence):
            for item in node.items:
                _fill_value(message.values.add(), item)

    # Scalars and problems

    def _scalar(self, field: FieldDescriptor, node: Node, path: Path) -> Any:
        """The value for ``field``, or None when it has been reported as wrong."""
        try:
            return parse_scalar(field, node)
        except UnknownEnumValue as error:
            report = self._warning if self._allow_unknown else self._error
            report(node.mark, path, str(error), error.hint)
        except ScalarError as error:
            self._wrong(node, path, str(error), error.hint)
        return None

    def _unknown_field(
        self,
        name: str,
        mark: Mark,
        value: Node,
        descriptor: Descriptor,
        path: Path,
        parent: Descriptor | None,
    ) -> None:
        report = self._warning if self._allow_unknown else self._error
        hint = hints.unknown_field(name, value, descriptor, parent, path)
        report(mark, (*path, name), f"{descriptor.full_name} has no field '{name}'", hint)

    def _wrong(self, node: Node, path: Path, expected: str, hint: str | None = None) -> None:
        self._error(node.mark, path, f"{expected}, not {describe(node)}", hint)

    def _error(self, mark: Mark, path: Path, reason: str, hint: str | None = None) -> None:
        self.failed.add(path)
        self.problems.append(Problem("error", mark, format_path(path), reason, hint))

    def _warning(self, mark: Mark, path: Path, reason: str, hint: str | None = None) -> None:
        self.problems.append(Problem("warning", mark, format_path(path), reason, hint))


def message_from_struct(struct: Any, message: Message) -> None:
    """Fill ``message`` from a ``google.protobuf.Struct``, for a TypedStruct (whose mistakes were told)."""
    Decoder(allow_unknown_fields=True).decode(_struct_node(struct), message)


def describe(node: Node) -> str:
    """What is written, for a message: ``the number 5``."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    value = node.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {node.text}"
    if isinstance(value, int | float):
        return f"the number {node.text}"
    text = value if len(value) <= 60 else value[:57] + "..."
    return f"the string {text!r}"


def _is_null(node: Node, field: FieldDescriptor) -> bool:
    if not isinstance(node, Scalar) or node.value is not None:
        return False
    kind = field.message_type
    return kind is None or kind.full_name != "google.protobuf.Value"


def _zero(field: FieldDescriptor) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"" if field.type == FieldDescriptor.TYPE_BYTES else ""
    return False if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else 0


def _fill_value(value: Any, node: Node) -> None:
    if isinstance(node, Mapping):
        value.struct_value.SetInParent()
        for key, (_, child) in node.entries.items():
            _fill_value(value.struct_value.fields[key], child)
    elif isinstance(node, Sequence):
        value.list_value.SetInParent()
        for child in node.items:
            _fill_value(value.list_value.values.add(), child)
    elif node.value is None:
        value.null_value = 0
    elif isinstance(node.value, bool):
        value.bool_value = node.value
    elif isinstance(node.value, int | float):
        value.number_value = node.value
    else:
        value.string_value = node.value


_NOWHERE = Mark("", 1, 1)


def _struct_node(value: Any) -> Node:
    """The node that a Struct or Value was read from, without its places."""
    if hasattr(value, "fields"):
        return Mapping({key: (_NOWHERE, _struct_node(value.fields[key])) for key in value.fields}, _NOWHERE)
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct_node(value.struct_value)
    if kind == "list_value":
        return Sequence([_struct_node(item) for item in value.list_value.values], _NOWHERE)
    plain = None if kind in (None, "null_value") else getattr(value, kind)
    return Scalar(plain, _NOWHERE, str(plain), _NOWHERE, quoted=isinstance(plain, str))
