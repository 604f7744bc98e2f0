"""Gives the generated API modules the fields of Envoy 1.40 that ``xds-protos`` does not have yet.

``api_additions.txt`` lists them, taken from the descriptors inside the Envoy program by
``scripts/api_additions.py``.  A generated module adds its file descriptor to protobuf's pool when it is
imported, and a file in the pool cannot change any more; so a finder of imports hands out these modules with
the additions already in the bytes of their descriptor.  What a newer xds-protos has by itself is left as it
is there (docs/adr/0009).

The lines of the data: ``file`` begins a file of the API; ``import`` names another that it needs; ``message``,
``oneof``, ``enum`` and ``field`` declare; ``value`` adds to an enum; ``options`` replaces those of a field.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

__all__ = ["apply_additions", "install", "table"]

_REPEATED = "repeated"


@cache
def table() -> dict[str, tuple[str, ...]]:
    """The lines of each file of the API, by the module generated from it."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines():
        if line.startswith("file "):
            lines = found[_module_name(line.removeprefix("file "))] = []
        elif line and not line.startswith("#"):
            lines.append(line)
    return {name: tuple(each) for name, each in found.items()}


@cache
def install() -> None:
    """Let every later import see the additions.

    Raises: ImportError when one of the modules has been imported before.
    """
    early = sorted(table().keys() & sys.modules.keys())
    if early:
        raise ImportError(
            f"import sidecar.config before {early[0]}: it lacks what Envoy 1.40 has", name=early[0]
        )
    sys.meta_path.insert(0, _Finder())


def _module_name(file: str) -> str:
    return file.removesuffix(".proto").replace("/", ".") + "_pb2"


class _Finder:
    """Finds the modules that have additions, and no others.

    It has no base of ``importlib.abc``, which brings archives and temporary files along.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        lines = table().get(fullname)
        if lines is None:
            return None
        spec = _find_spec(self, fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = cast("Loader", _Loader(spec.loader, lines))
        return spec


def _find_spec(
    but: object, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """What the other finders say."""
    for finder in sys.meta_path:
        if finder is not but and (spec := finder.find_spec(fullname, path, target)) is not None:
            return spec
    return None


class _Loader:
    """Runs a generated module with another file descriptor in it."""

    def __init__(self, source: SourceFileLoader, lines: tuple[str, ...]) -> None:
        self.source = source
        self._lines = lines

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: Python makes the module itself."""

    def exec_module(self, module: ModuleType) -> None:
        code = self.source.get_code(module.__name__)
        assert code is not None
        for line in self._lines:
            if line.startswith("import "):
                importlib.import_module(_module_name(line.removeprefix("import ")))
        exec(_with_additions(code, self._lines), module.__dict__)  # noqa: S102 - the package's own code


def _with_additions(code: CodeType, lines: tuple[str, ...]) -> CodeType:
    """The code of a generated module, in which the descriptor is the one constant of bytes that names it."""
    from google.protobuf import descriptor_pb2

    file = code.co_filename
    for index, constant in enumerate(code.co_consts):
        if isinstance(constant, bytes) and constant[:1] == b"\n" and b".proto\x12" in constant[:200]:
            descriptor = descriptor_pb2.FileDescriptorProto.FromString(constant)
            apply_additions(descriptor, lines)
            changed = descriptor.SerializeToString()
            return code.replace(co_consts=(*code.co_consts[:index], changed, *code.co_consts[index + 1 :]))
    raise ImportError(f"{file} has no file descriptor in it", path=file)


def apply_additions(file: Any, lines: Sequence[str]) -> int:
    """Add to a FileDescriptorProto what it lacks; the number of lines that changed something."""
    return sum(_APPLY[line.partition(" ")[0]](file, line.partition(" ")[2]) for line in lines)


def _import(file: Any, name: str) -> bool:
    if name in file.dependency:
        return False
    file.dependency.append(name)
    return True


def _message(file: Any, text: str) -> bool:
    name, _, kind = text.partition(" ")
    parent, _, own = name.rpartition(".")
    group = _find_message(file, parent).nested_type if parent else file.message_type
    if any(each.name == own for each in group):
        return False
    added = group.add(name=own)
    if kind == "map":
        added.options.map_entry = True
    return True


def _oneof(file: Any, text: str) -> bool:
    name, options = _split(text)
    owner, _, own = name.rpartition(".")
    message = _find_message(file, owner)
    if any(each.name == own for each in message.oneof_decl):
        return False
    _set_options(message.oneof_decl.add(name=own), options)
    return True


def _field(file: Any, text: str) -> bool:
    """``Message.name = number [repeated] type [oneof name] [{options}]``."""
    declaration, options = _split(text)
    words = declaration.split()
    owner, _, own = words[0].rpartition(".")
    message = _find_message(file, owner)
    number = int(words[2])
    if any(each.name == own or each.number == number for each in message.field):
        return False
    words = words[3:]
    field = message.field.add(name=own, number=number)
    field.label = field.LABEL_REPEATED if words[0] == _REPEATED else field.LABEL_OPTIONAL
    if words[0] == _REPEATED:
        del words[0]
    if words[0].startswith("."):
        field.type, field.type_name = field.TYPE_MESSAGE, words[0]
    elif words[0] == "enum":
        field.type, field.type_name = field.TYPE_ENUM, words.pop(1)
    else:
        field.type = getattr(field, "TYPE_" + words[0].upper())
    if "oneof" in words:
        field.oneof_index = [each.name for each in message.oneof_decl].index(words[words.index("oneof") + 1])
        _move_beside_members(message, field.oneof_index)
    _set_options(field, options)
    return True


def _move_beside_members(message: Any, oneof: int) -> None:
    """The members of a oneof stand together; the last field has just been added."""
    fields = list(message.field)
    added = fields.pop()
    members = [
        at for at, each in enumerate(fields) if each.HasField("oneof_index") and each.oneof_index == oneof
    ]
    fields.insert(members[-1] + 1 if members else len(fields), added)
    copies = [type(added).FromString(each.SerializeToString()) for each in fields]
    del message.field[:]
    message.field.extend(copies)


def _enum(file: Any, name: str) -> bool:
    owner, _, own = name.rpartition(".")
    group = _find_message(file, owner).enum_type if owner else file.enum_type
    if any(each.name == own for each in group):
        return False
    group.add(name=own)
    return True


def _value(file: Any, text: str) -> bool:
    name, _, number = text.partition(" = ")
    owner, _, own = name.rpartition(".")
    outer, _, enum_name = owner.rpartition(".")
    group = _find_message(file, outer).enum_type if outer else file.enum_type
    enum = next(each for each in group if each.name == enum_name)
    if any(each.name == own or each.number == int(number) for each in enum.value):
        return False
    enum.value.add(name=own, number=int(number))
    return True


def _options(file: Any, text: str) -> bool:
    name, options = _split(text)
    owner, _, own = name.rpartition(".")
    field = next((each for each in _find_message(file, owner).field if each.name == own), None)
    if field is None:
        return False
    from envoy.annotations import deprecation_pb2
    from validate import validate_pb2

    before = field.options.SerializeToString(deterministic=True)
    field.options.ClearField("deprecated")
    for extension in (
        validate_pb2.rules,
        deprecation_pb2.deprecated_at_minor_version,
        deprecation_pb2.disallowed_by_default,
    ):
        field.options.ClearExtension(extension)
    _set_options(field, options)
    return bool(field.options.SerializeToString(deterministic=True) != before)


def _split(text: str) -> tuple[str, str]:
    declaration, brace, options = text.partition(" {")
    return declaration, options.removesuffix("}") if brace else ""


def _set_options(target: Any, text: str) -> None:
    if text.strip():
        from envoy.annotations import deprecation_pb2  # noqa: F401
        from google.protobuf import text_format  # few files need it
        from udpa.annotations import sensitive_pb2  # noqa: F401
        from validate import validate_pb2  # noqa: F401 - registers the extensions that options name

        text_format.Merge(text, target.options)


def _find_message(file: Any, name: str) -> Any:
    group, found = file.message_type, None
    for part in name.split("."):
        found = next(each for each in group if each.name == part)
        group = found.nested_type
    return found


_APPLY: dict[str, Callable[[Any, str], bool]] = {
    "import": _import,
    "message": _message,
    "oneof": _oneof,
    "field": _field,
    "enum": _enum,
    "value": _value,
    "options": _options,
}
