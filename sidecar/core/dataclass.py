"""Data classes whose methods are made when they are first called.

``dataclasses.dataclass`` writes and compiles six methods for each class while its module is imported, which
took a seventh of a start that calls few of them.  Here a class gets what all classes share, and of its own
``__init__``, ``__eq__`` and ``__hash__`` that replace themselves at the first call.  Everything else (fields,
slots, ``replace``, ``asdict``, ``match``) is the standard library's, and so it is for type checkers.

Modules that are compiled (ADR 0014) take the standard one, which mypyc knows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

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
                cls.__init__ = _later(cls, "__init__", _init_of, frozen)
            if not has_repr:
                cls.__repr__ = _repr
            if eq:
                if not has_eq:
                    cls.__eq__ = _later(cls, "__eq__", _eq_of, frozen)
                if not has_hash:
                    cls.__hash__ = _later(cls, "__hash__", _hash_of, frozen) if frozen else None
            if frozen:
                cls.__setattr__ = _refuse_to_set
                cls.__delattr__ = _refuse_to_delete
                if slots:
                    cls.__getstate__ = _get_state
                    cls.__setstate__ = _set_state
            return cls

        return make


def _later(cls: Any, name: str, make: Any, frozen: bool) -> Any:
    """The method of ``cls``, which is made in its own place when it is first called."""

    def method(*arguments: Any, **named: Any) -> Any:
        code, names = make(cls, frozen)
        exec(code, names)  # noqa: S102 - written here, of names of fields
        made = names[name]
        made.__qualname__ = f"{cls.__qualname__}.{name}"
        made.__module__ = cls.__module__
        setattr(cls, name, made)
        return made(*arguments, **named)

    return method


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
