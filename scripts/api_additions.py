"""Writes ``sidecar/config/api_additions.txt``: what Envoy's API has and ``xds-protos`` lacks.

    python scripts/api_additions.py [ENVOY] > sidecar/config/api_additions.txt

The Envoy program carries the serialized FileDescriptorProto of every file of its API; they are found by the
way they begin (field 1, the file's name).  Files that xds-protos lacks altogether (new extensions) are left
out, and so are fields whose number means something else there.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envoy.annotations import deprecation_pb2
from google.protobuf import descriptor_pb2, text_format
from udpa.annotations import sensitive_pb2
from validate import validate_pb2

_START = re.compile(rb"\n.((?:envoy|xds|udpa)/[a-z0-9_/]+\.proto)\x12")
_FIELD = descriptor_pb2.FieldDescriptorProto
_REPLACED = (
    validate_pb2.rules,
    validate_pb2.required,
    deprecation_pb2.deprecated_at_minor_version,
    deprecation_pb2.disallowed_by_default,
)


def descriptors(program: bytes) -> dict[str, Any]:
    """The files of the API inside ``program``, by name."""
    found: dict[str, tuple[int, Any]] = {}
    for match in _START.finditer(program):
        if program[match.start() + 1] != len(match[1]):
            continue
        blob = program[match.start() : _end(program, match.start())]
        file = descriptor_pb2.FileDescriptorProto.FromString(blob)
        # Some stand there twice, once without their options.
        if len(blob) > found.get(file.name, (0, None))[0]:
            found[file.name] = len(blob), file
    return {name: file for name, (_, file) in sorted(found.items())}


def _end(data: bytes, at: int) -> int:
    """Where the FileDescriptorProto that begins at ``at`` ends: behind ``syntax``, its last field."""
    first = at
    while True:
        tag, after = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind != 2 or number > 12 or (number == 1 and at != first):
            return at
        size, after = _varint(data, after)
        at = after + size
        if number == 12:
            return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
        at, shift = at + 1, shift + 7


def additions(new: Any, old: Any, known: set[str]) -> Iterator[str]:
    """The lines for one file: what ``new`` has and ``old`` has not."""
    imports = {name for name in new.dependency if name not in old.dependency}
    missing = {name for name in imports if name not in known}
    for name in sorted(imports - missing):
        yield f"import {name}"
    absent = tuple("." + name.rpartition("/")[0].replace("/", ".") + "." for name in missing)
    old_messages, new_messages = dict(_messages(old.message_type)), dict(_messages(new.message_type))
    for name, message in new_messages.items():
        if name not in old_messages:
            yield f"message {name}{' map' if message.options.map_entry else ''}"
    old_enums, new_enums = dict(_enums(old)), dict(_enums(new))
    for name, enum in new_enums.items():
        if name not in old_enums:
            yield f"enum {name}"
        have = {value.number for value in old_enums[name].value} if name in old_enums else set()
        for value in enum.value:
            if value.number not in have:
                yield f"value {name}.{value.name} = {value.number}"
    for name, message in new_messages.items():
        yield from _of_message(name, message, old_messages.get(name), absent)


def _of_message(name: str, new: Any, old: Any, absent: tuple[str, ...]) -> Iterator[str]:
    oneofs = {oneof.name for oneof in old.oneof_decl} if old else set()
    for oneof in new.oneof_decl:
        if oneof.name not in oneofs:
            yield f"oneof {name}.{oneof.name}{_options(oneof)}"
    have = {field.number: field for field in old.field} if old else {}
    names = {field.name for field in have.values()}
    for field in new.field:
        before = have.get(field.number)
        if before is None:
            if not field.type_name.startswith(absent or (" ",)) and field.name not in names:
                yield f"field {name}.{_declaration(field, new)}{_options(field)}"
        elif before.name == field.name and _options(before, alone=False) != _options(field, alone=False):
            yield f"options {name}.{field.name}{_options(field, alone=False) or ' {}'}"


def _declaration(field: Any, message: Any) -> str:
    words = [field.name, "=", str(field.number)]
    words += ["repeated"] if field.label == _FIELD.LABEL_REPEATED else []
    kind = _FIELD.Type.Name(field.type).removeprefix("TYPE_").lower()
    words += {"message": [field.type_name], "enum": ["enum", field.type_name]}.get(kind, [kind])
    if field.HasField("oneof_index"):
        words += ["oneof", message.oneof_decl[field.oneof_index].name]
    return " ".join(words)


def _options(target: Any, *, alone: bool = True) -> str:
    """What of the options a configuration is judged by, as text; not ``alone``: what can be replaced."""
    kept = type(target.options)()
    if getattr(target.options, "deprecated", False):
        kept.deprecated = True
    for extension in (*_REPLACED, sensitive_pb2.sensitive) if alone else _REPLACED:
        if extension.containing_type is kept.DESCRIPTOR and target.options.HasExtension(extension):
            if extension.message_type is not None:
                kept.Extensions[extension].CopyFrom(target.options.Extensions[extension])
            else:
                kept.Extensions[extension] = target.options.Extensions[extension]
    text = text_format.MessageToString(kept, as_one_line=True)
    return f" {{{text}}}" if text else ""


def _messages(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for message in group:
        yield prefix + message.name, message
        yield from _messages(message.nested_type, f"{prefix}{message.name}.")


def _enums(file: Any) -> Iterator[tuple[str, Any]]:
    yield from ((enum.name, enum) for enum in file.enum_type)
    for name, message in _messages(file.message_type):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def main() -> None:
    """Print the data file."""
    default = Path(importlib.import_module("envoy._main").__file__ or "").parent / "_bin" / "envoy"
    files = descriptors((Path(sys.argv[1]) if len(sys.argv) > 1 else default).read_bytes())
    print("# What Envoy 1.40's API has and xds-protos 1.85 lacks; written by scripts/api_additions.py.")
    modules: dict[str, Any] = {}
    for name in files:
        try:
            modules[name] = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        except ImportError:
            continue
    for name, module in modules.items():
        old = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(old)
        known = set(modules) | {
            each for each in files[name].dependency if each.startswith(("google/", "validate/"))
        }
        lines = list(additions(files[name], old, known))
        if lines:
            print(f"file {name}", *lines, sep="\n")


if __name__ == "__main__":
    main()
