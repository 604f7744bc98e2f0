"""The attributes of an object, also where its class was compiled, which leaves it no ``__dict__``."""

from __future__ import annotations

__all__ = ["copy_state", "state_names"]

_names: dict[type, tuple[str, ...]] = {}


def state_names(owner: object) -> tuple[str, ...]:
    """The names of the attributes that can be set on ``owner``: all but methods and read-only properties.

    They are looked up once for each class: what is set of them later has to be declared in it.
    """
    kind = type(owner)
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(name for name in dir(owner) if _is_state(owner, kind, name))
    return names


def _is_state(owner: object, kind: type, name: str) -> bool:
    if name.startswith("__") or callable(getattr(kind, name, None)):
        return False
    try:
        setattr(owner, name, getattr(owner, name))
    except (AttributeError, TypeError):
        return False
    return True


def copy_state(source: object, target: object, names: tuple[str, ...]) -> None:
    """Let ``target`` have these attributes of ``source``."""
    for name in names:
        setattr(target, name, getattr(source, name))
