"""Data classes whose methods are made when they are first called.

``dataclasses.dataclass`` writes and compiles six methods for each class while its module is imported, which
took a seventh of a start that calls few of them.  Here a class gets what all classes share, and of its own
``__init__``, ``__eq__`` and ``__hash__`` that look the fields up for the first few calls and then replace
themselves by written ones: of most classes a configuration makes a few objects, and to write and compile a
method takes as long as fifty such calls.  Everything else (fields, slots, ``replace``, ``asdict``, ``match``)
is the standard library's, and so it is for type checkers.

Modules that are compiled (ADR 0014) take the standard one, which mypyc knows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

#: So often a method is called before it is written.
_FEW = 8

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        *, frozen: bool = False, slots: bool = False, eq: bool = True, weakref_slot: bool = False
    ) -> Any:
        """What :func:`dataclasses.dataclass` makes with the same arguments."""

        def make(cls: Any) -> Any:
            own = vars(cls)
            has_init, has_repr, has_eq = ("__init__" in own, "__repr__" in own, "__eq__" in own)
            has_hash = own.get("__hash__") is not None
            cls = dataclasses.dataclass(
                init=False, repr=False, eq=False, slots=slots, weakref_slot=weakref_slot
            )(cls)
            if not has_init:
                cls.__init__ = _later(cls, "__init__", _init, _init_of, frozen)
            if not has_repr:
                cls.__repr__ = _repr
            if eq:
                if not has_eq:
                    cls.__eq__ = _later(cls, "__eq__", _eq, _eq_of, frozen)
                if not has_hash:
                    cls.__hash__ = _later(cls, "__hash__", _hash, _hash_of, frozen) if frozen else None
            if frozen:
                cls.__setattr__ = _refuse_to_set
                cls.__delattr__ = _refuse_to_delete
                if slots:
                    cls.__getstate__ = _get_state
                    cls.__setstate__ = _set_state
            return cls

        return make


def _later(cls: Any, name: str, look_up: Any, make: Any, frozen: bool) -> Any:
    """The method of ``cls``, which is made in its own place when it is called often.

    What ``look_up`` gives does the same, and says ``NotImplemented`` of a call that it cannot do.
    """
    left = _FEW
    look: Any = None

    def method(*arguments: Any, **named: Any) -> Any:
        nonlocal left, look
        left -= 1
        if left >= 0:
            look = look or look_up(cls, frozen)
            result = look(*arguments, **named)
            if result is not NotImplemented:
                return result
        code, names = make(cls, frozen)
        exec(code, names)  # noqa: S102 - written here, of names of fields
        made = names[name]
        made.__qualname__ = f"{cls.__qualname__}.{name}"
        made.__module__ = cls.__module__
        setattr(cls, name, made)
        return made(*arguments, **named)

    return method


def _init(cls: Any, frozen: bool) -> Any:
    names = [each.name for each in fields(cls) if each.init]
    known = frozenset(names)
    needed = {
        each.name
        for each in fields(cls)
        if each.init and each.default is MISSING and each.default_factory is MISSING
    }
    defaults = {each.name: each.default for each in fields(cls) if each.default is not MISSING}
    factories = [
        (each.name, each.default_factory) for each in fields(cls) if each.default_factory is not MISSING
    ]
    put = object.__setattr__ if frozen else setattr
    has_post_init = hasattr(cls, "__post_init__")

    def look(self: Any, /, *arguments: Any, **named: Any) -> Any:
        given = dict(zip(names, arguments, strict=False))
        is_plain = len(arguments) <= len(names) and known.issuperset(named) and given.keys().isdisjoint(named)
        given.update(named)
        if not is_plain or not given.keys() >= needed:
            return NotImplemented  # the written one says what is wrong
        for name, factory in factories:
            if given.get(name, MISSING) is MISSING:
                given[name] = factory()
        for name, value in {**defaults, **given}.items():
            put(self, name, value)
        if has_post_init:
            self.__post_init__()
        return None

    return look


def _eq(cls: Any, _frozen: bool) -> Any:
    names = [each.name for each in fields(cls) if each.compare]

    def look(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return [getattr(self, name) for name in names] == [getattr(other, name) for name in names]

    return look


def _hash(cls: Any, _frozen: bool) -> Any:
    names = [each.name for each in fields(cls) if _is_hashed(each)]
    return lambda self: hash(tuple([getattr(self, name) for name in names]))


def _init_of(cls: Any, frozen: bool) -> tuple[str, dict[str, Any]]:
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    parameters, lines = ["self"], []
    for each in fields(cls):
        value = each.name
        if each.default_factory is not MISSING:
            names[f"_make_{value}"] = each.default_factory
            made = f"_make_{value}()"
            if each.init:
                parameters.append(f"{value}=_missing")
                made = f"{made} if {value} is _missing else {value}"
        elif each.init:
            made = value
            if each.default is not MISSING:
                names[f"_default_{value}"] = each.default
                parameters.append(f"{value}=_default_{value}")
            else:
                parameters.append(value)
        elif each.default is not MISSING:
            names[f"_default_{value}"] = each.default
            made = f"_default_{value}"
        else:
            continue
        lines.append(f" _set(self, {value!r}, {made})" if frozen else f" self.{value} = {made}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    return f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), names


def _eq_of(cls: Any, frozen: bool) -> tuple[str, dict[str, Any]]:
    compared = [each.name for each in fields(cls) if each.compare]
    mine, others = ("".join(f"{who}.{name}, " for name in compared) for who in ("self", "other"))
    return (
        "def __eq__(self, other):\n"
        " if other.__class__ is self.__class__:\n"
        f"  return ({mine}) == ({others})\n"
        " return NotImplemented"
    ), {}


def _hash_of(cls: Any, frozen: bool) -> tuple[str, dict[str, Any]]:
    hashed = "".join(f"self.{each.name}, " for each in fields(cls) if _is_hashed(each))
    return f"def __hash__(self):\n return hash(({hashed}))", {}


def _is_hashed(each: Field[Any]) -> bool:
    return each.compare if each.hash is None else each.hash


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({shown})"


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    if "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _refuse_to_delete(self: Any, name: str) -> None:
    if "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
