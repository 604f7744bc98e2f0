"""Settings of Python filters: a configuration's plain data, checked and made into the filter's own type.

A dataclass is checked here, field by field; a model that has ``model_validate`` (pydantic) checks itself.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

from sidecar.config.nearest import nearest
from sidecar.core.errors import SidecarError

__all__ = ["SettingsError", "make_settings"]


class SettingsError(SidecarError):
    """``path`` is the field below the settings."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


def make_settings(described: Any, values: dict[str, Any]) -> Any:
    """The settings of a filter; ``described`` is its ``Settings``, None for a filter that takes none.

    Raises: SettingsError.
    """
    if described is None:
        if values:
            raise SettingsError(next(iter(values)), "this filter takes no settings")
        return None
    validate = getattr(described, "model_validate", None)
    if validate is not None:
        try:
            return validate(values)
        except ValueError as error:  # pydantic.ValidationError is one
            raise _of_model(error) from error
    return _dataclass(described, values, "")


def _of_model(error: ValueError) -> SettingsError:
    errors = getattr(error, "errors", None)
    if errors is None:
        return SettingsError("", str(error))
    first = errors()[0]
    return SettingsError(".".join(map(str, first.get("loc", ()))), first.get("msg", str(error)))


def _dataclass(described: Any, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise SettingsError(path, "an object is expected")
    hints = typing.get_type_hints(described)
    fields = {field.name: field for field in dataclasses.fields(described) if field.init}
    for name in values:
        if name not in fields:
            meant = nearest(name, fields)
            raise SettingsError(
                _at(path, name), "no such field" + (f"; did you mean '{meant}'?" if meant else "")
            )
    made = {}
    for name, field in fields.items():
        if name in values:
            made[name] = _value(hints[name], values[name], _at(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(_at(path, name), "the field is required")
    try:
        return described(**made)
    except (TypeError, ValueError) as error:  # what __post_init__ finds
        raise SettingsError(path, str(error)) from error


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, path)
    if origin is typing.Literal:
        for each in arguments:
            if value == each and type(value) is not bool:
                return each
        raise SettingsError(path, f"one of {', '.join(map(repr, arguments))} is expected")
    if origin in (list, tuple, set, frozenset) or hint in (list, tuple, set, frozenset):
        if not isinstance(value, list):
            raise SettingsError(path, "a list is expected")
        item = arguments[0] if arguments else Any
        return (origin or hint)(_value(item, each, f"{path}[{index}]") for index, each in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise SettingsError(path, "an object is expected")
        item = arguments[1] if arguments else Any
        return {key: _value(item, each, _at(path, key)) for key, each in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for member in hint:
            if value in (member.name, member.value):
                return member
        raise SettingsError(path, f"one of {', '.join(member.name for member in hint)} is expected")
    return _scalar(hint, value, path)


def _union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    last: SettingsError | None = None
    for each in arguments:
        if each is type(None):
            continue
        try:
            return _value(each, value, path)
        except SettingsError as error:
            last = error
    assert last is not None
    raise last


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise SettingsError(path, "true or false is expected")
    if hint is int:
        if not isinstance(value, bool) and isinstance(value, int | float) and value == int(value):
            return int(value)
        raise SettingsError(path, "a whole number is expected")
    if hint is float:
        if not isinstance(value, bool) and isinstance(value, int | float):
            return float(value)
        raise SettingsError(path, "a number is expected")
    if hint is str:
        if isinstance(value, str):
            return value
        raise SettingsError(path, "text is expected")
    if hint is bytes:
        if isinstance(value, str):
            return value.encode()
        raise SettingsError(path, "text is expected")
    raise SettingsError(path, f"settings cannot be of the type {hint!r}")
