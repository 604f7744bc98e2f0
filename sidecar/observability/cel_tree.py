"""The tree of a CEL expression: what Envoy refuses of it, which attributes it asks for, and what it becomes.

Trees are protobuf (``cel.expr.Expr``) wherever they come from: a configuration may carry one, and the library
has no other form for what it parsed.  A tree is changed in place, so that the library, which has every option
of the language on, answers as Envoy, which has most of them off:

- ``+`` gives no text and no list (:data:`NUMBER`), unless ``enable_string_concat`` says so;
- a pattern that is only known when it is used is compiled under Envoy's limit (:data:`MATCHES`);
- names of headers are in lower case, as Envoy looks them up, and ``host`` is ``:authority``;
- attributes that are unsigned numbers are made ones, which plain data cannot say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

import re2

from sidecar.core.cel_options import CelOptions
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError
from sidecar.observability.attributes import HEADER_MAPS, METADATA, ROOTS

__all__ = ["AS_MESSAGES", "LOWER", "MATCHES", "NUMBER", "REGEX_LIMIT", "TEXT", "CelFault", "Needs", "adapt"]

#: Functions of ours that stand in an adapted tree.
NUMBER, TEXT, MATCHES, LOWER = "@number", "@number_or_text", "@matches", "@lower"
#: ``regex_max_program_size`` of Envoy.
REGEX_LIMIT = 100

Path = tuple[str, ...]


class CelFault(SidecarError):
    """An expression that Envoy refuses."""


@dataclass(slots=True)
class Needs:
    """What an expression asks of a stream."""

    #: root → name → the keys below it; None for all of them.
    names: dict[str, dict[str, set[str] | None]] = field(default_factory=dict)
    #: Roots that are used as a whole.
    roots: set[str] = field(default_factory=set)
    #: Paths whose message is used as one, and not for one of its fields.
    messages: set[Path] = field(default_factory=set)
    #: The path that the whole expression is.
    path: Path | None = None

    def add(self, path: Path) -> None:
        """The value at ``path`` is used."""
        if path in _MESSAGES or path[:2] in AS_MESSAGES:
            self.messages.add(path[:2])
            path = path[:2]
        if len(path) == 1:
            self.roots.add(path[0])
            return
        keys = self.names.setdefault(path[0], {}).setdefault(path[1], set())
        if len(path) == 2 or path[:2] not in _HAS_KEYS:
            self.names[path[0]][path[1]] = None
        elif keys is not None:
            keys.add(path[2])


_MESSAGES = frozenset(
    {*METADATA, ("xds", "node"), ("upstream", "locality"), ("xds", "upstream_host_locality_metadata")}
)
#: Of which a field is read from the message, too.
AS_MESSAGES = frozenset({("xds", "node"), ("upstream", "locality")})
_HAS_KEYS = frozenset({*HEADER_MAPS, ("metadata", "filter_metadata"), ("metadata", "typed_filter_metadata")})
_UNSIGNED = frozenset(
    {("connection", "id"), ("upstream", "request_attempt_count"), ("upstream", "num_endpoints")}
)

#: Functions that are called alone, and those that are called on a value, by how many arguments they take.
_PLAIN: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_"), (2,)),
    **dict.fromkeys(("_+_", "_-_", "_*_", "_/_", "_%_", "@in", "_in_", "in", "_[_]"), (2,)),
    **dict.fromkeys(("-_", "!_", "@not_strictly_false", "__not_strictly_false__"), (1,)),
    **dict.fromkeys(("size", "int", "uint", "double", "bool", "bytes", "dyn", "type"), (1,)),
    **dict.fromkeys(("duration", "timestamp"), (1,)),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), (2,)),
    "_?_:_": (3,),
    "re.extract": (3,),
    "re.capture": (2,),
    "re.captureN": (2,),
}
_OF_TIMES = (
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
)
_ON_VALUES: dict[str, tuple[int, ...]] = {
    "size": (0,),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), (1,)),
    **dict.fromkeys(_OF_TIMES, (0, 1)),
}
#: With ``enable_string_functions``.
_ON_TEXTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("lowerAscii", "upperAscii", "trim", "reverse"), (0,)),
    **dict.fromkeys(("split", "indexOf", "lastIndexOf", "substring"), (1, 2)),
    "replace": (2, 3),
    "charAt": (1,),
    "join": (0, 1),
    "format": (1,),
}
_REGULAR = ("re.extract", "re.capture", "re.captureN")


def adapt(expr: Any, options: CelOptions) -> Needs:
    """Make ``expr`` what the library is to run.  Raises: CelFault for what Envoy refuses."""
    adapter = _Adapter(options)
    adapter.needs.path = _path(expr)
    adapter.visit(expr)
    return adapter.needs


class _Adapter:
    """One tree."""

    def __init__(self, options: CelOptions) -> None:
        self.needs = Needs()
        self._options = options

    def visit(self, expr: Any) -> None:
        path = _path(expr)
        if path is not None:
            self._use(expr, path)
            if path in _UNSIGNED:
                _wrap("uint", expr)
            return
        kind = expr.WhichOneof("expr_kind")
        if kind == "comprehension_expr":
            self._loop(expr.comprehension_expr)
        if kind == "select_expr":
            self._select(expr.select_expr, expr)
        elif kind == "call_expr":
            self._call(expr.call_expr, expr)
        elif kind == "list_expr":
            self._all(expr.list_expr.elements)
        elif kind == "struct_expr":
            for entry in expr.struct_expr.entries:
                if entry.WhichOneof("key_kind") == "map_key":
                    self.visit(entry.map_key)
                self.visit(entry.value)

    def _loop(self, loop: Any) -> None:
        if not self._options.for_guests:
            raise CelFault("failed to create an expression: Comprehension support is disabled")
        self._all((loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result))

    def _all(self, exprs: Iterable[Any]) -> None:
        for each in exprs:
            self.visit(each)

    def _use(self, expr: Any, path: Path) -> None:
        if path[:2] in HEADER_MAPS and len(path) > 2:
            while len(_path(expr) or ()) > 3:
                kind = expr.WhichOneof("expr_kind")
                expr = expr.select_expr.operand if kind == "select_expr" else expr.call_expr.args[0]
            key = _header_name(path)
            if expr.WhichOneof("expr_kind") == "select_expr":
                expr.select_expr.field = key
            else:
                expr.call_expr.args[1].const_expr.string_value = key
            path = (*path[:2], key, *path[3:])
        self.needs.add(path)

    def _select(self, select: Any, expr: Any) -> None:
        operand = _path(select.operand)
        if operand is None or not select.test_only:
            self.visit(select.operand)
        elif operand in _MESSAGES:
            self.needs.add(operand)
        else:
            path = (*operand, select.field)
            if operand in HEADER_MAPS:
                select.field = _header_name(path)
                path = (*operand, select.field)
            self.needs.add(path)

    def _call(self, call: Any, expr: Any) -> None:
        target = call.target if call.HasField("target") else None
        name = call.function
        if target is not None and f"{_dotted(target)}.{name}" in _REGULAR:
            name = call.function = f"{_dotted(target)}.{name}"
            call.ClearField("target")
            target = None
        self._check(name, len(call.args), has_target=target is not None)
        if name == "matches":
            self._matches(call, expr)
            return
        if name in ("@in", "_in_", "in") and self._is_looked_up(call):
            return
        if name == "_[_]" and _path(call.args[0]) in HEADER_MAPS:
            self.needs.add(_path(call.args[0]) or ())
            self.visit(call.args[1])
            _wrap(LOWER, call.args[1])
            return
        if name == "size":
            _empty(target if target is not None else call.args[0])
        if target is not None:
            self.visit(target)
        self._all(call.args)
        if name == "_+_" and not self._options.for_guests and not any(map(_is_number, call.args)):
            _wrap(TEXT if self._options.string_concat else NUMBER, expr)

    def _check(self, name: str, count: int, *, has_target: bool) -> None:
        options = self._options
        known = _ON_VALUES if has_target else _PLAIN
        if count in known.get(name, ()):
            return
        if options.string_conversion and name == "string" and count == 1 and not has_target:
            return
        if options.string_functions:
            if has_target and count in _ON_TEXTS.get(name, ()):
                return
            if name == "strings.quote" and count == 1:
                return
        raise CelFault(
            f"failed to create an expression: No overload found in reference resolve step for {name}"
        )

    def _matches(self, call: Any, expr: Any) -> None:
        """Patterns that are known are compiled now."""
        pattern = call.args[-1]
        if pattern.const_expr.WhichOneof("constant_kind") == "string_value" and not self._options.for_guests:
            _check_pattern(pattern.const_expr.string_value)
            if call.HasField("target"):
                self.visit(call.target)
            self._all(call.args)
            return
        arguments = [call.target, *call.args] if call.HasField("target") else list(call.args)
        copies = []
        for each in arguments:
            self.visit(each)
            copies.append(type(expr).FromString(each.SerializeToString()))
        expr.ClearField("call_expr")
        expr.call_expr.function = MATCHES
        expr.call_expr.args.extend(copies)

    def _is_looked_up(self, call: Any) -> bool:
        """``'key' in map`` where the map is one of ours asks for that key alone."""
        key, path = call.args[0].const_expr, _path(call.args[1])
        if path is None or path in _MESSAGES or key.WhichOneof("constant_kind") != "string_value":
            return False
        whole = (*path, key.string_value)
        if path in HEADER_MAPS:
            key.string_value = _header_name(whole)
            whole = (*path, key.string_value)
        self.needs.add(whole)
        return True


def _path(expr: Any) -> Path | None:
    """The names that lead to an attribute; None for any other expression."""
    kind = expr.WhichOneof("expr_kind")
    if kind == "ident_expr":
        name = expr.ident_expr.name
        return (name,) if name in ROOTS else None
    if kind == "select_expr":
        select = expr.select_expr
        inner = None if select.test_only else _path(select.operand)
        return None if inner is None else (*inner, select.field)
    if kind == "call_expr" and expr.call_expr.function == "_[_]":
        call = expr.call_expr
        if len(call.args) != 2 or call.args[1].const_expr.WhichOneof("constant_kind") != "string_value":
            return None
        inner = _path(call.args[0])
        return None if inner is None or inner in _MESSAGES else (*inner, call.args[1].const_expr.string_value)
    return None


def _empty(expr: Any) -> None:
    """A table of attributes has the size 0, whatever is in it."""
    path = _path(expr)
    if path is not None and len(path) == 1 and path not in _MESSAGES:
        expr.Clear()
        expr.struct_expr.SetInParent()


def _dotted(expr: Any) -> str:
    return str(expr.ident_expr.name)


def _header_name(path: Path) -> str:
    name = path[2].lower()
    return ":authority" if name == "host" and path[0] == "request" else name


def _wrap(function: str, expr: Any) -> None:
    """Make it the argument of a call."""
    inner = type(expr).FromString(expr.SerializeToString())
    expr.Clear()
    expr.call_expr.function = function
    expr.call_expr.args.append(inner)


def _is_number(expr: Any) -> bool:
    """Whether it is a number for sure, so that a sum with it is one or an error."""
    kind = expr.const_expr.WhichOneof("constant_kind")
    if kind is not None:
        return kind in ("int64_value", "uint64_value", "double_value")
    return expr.call_expr.function in ("duration", "timestamp", "size", "int", "uint", "double", NUMBER)


def _check_pattern(pattern: str) -> None:
    try:
        program = re2.compile(pattern, _QUIET)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        text = text.decode() if isinstance(text, bytes) else str(text)
        raise CelFault(f"failed to create an expression: invalid regular expression: {text}") from error
    if program.programsize > REGEX_LIMIT:
        raise CelFault("failed to create an expression: regular expression exceeds max allowed size")


_QUIET = re2.Options()
_QUIET.log_errors = False
