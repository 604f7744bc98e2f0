"""Values that change while serving: layers of keys and values, and what follows them (Envoy's ``Runtime``).

Of two layers with a key the later one counts.  Who uses a value at each request asks for it once and keeps
the cell that it is given, which is written anew when a layer changes.  Cells of the same key and default are
one, and live as long as somebody keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from random import randrange
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sidecar.core.dataclass import dataclass

__all__ = ["OFF", "ON", "Entry", "Fraction", "Layer", "Number", "Runtime", "Switch"]

_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One value, as everything that it can be read as."""

    text: str
    boolean: bool | None = None
    integer: int | None = None
    double: float | None = None
    #: Numerator and denominator.
    fraction: tuple[int, int] | None = None


@dataclass(slots=True)
class Layer:
    """One layer; ``values`` is replaced as a whole."""

    name: str
    values: Mapping[str, Entry] = field(default_factory=dict)
    #: A directory that is not there has no layer.
    is_there: bool = True


class _Cell:
    __slots__ = ("__weakref__", "_default", "_key")

    def __init__(self, key: str, default: Any) -> None:
        self._key = key
        self._default = default

    def renew(self, entry: Entry | None) -> None:
        """Be what the key says now."""
        raise NotImplementedError


class Fraction(_Cell):
    """A share of requests; called, it is drawn anew (``Snapshot::featureEnabled``)."""

    __slots__ = ("denominator", "numerator")

    def __init__(self, key: str, default: tuple[int, int]) -> None:
        super().__init__(key, default)
        self.numerator, self.denominator = default

    def renew(self, entry: Entry | None) -> None:
        found = self._default
        if entry is not None and entry.fraction is not None:
            found = entry.fraction
        elif entry is not None and entry.integer is not None:
            found = entry.integer, _HUNDRED  # a number above it is always
        self.numerator, self.denominator = found

    def __call__(self) -> bool:
        numerator = self.numerator
        return numerator >= self.denominator or randrange(self.denominator) < numerator  # noqa: S311 - load

    def covers(self, number: int) -> bool:
        """Whether a number that was drawn falls into the share."""
        return number % self.denominator < self.numerator


class Switch(_Cell):
    """Yes or no."""

    __slots__ = ("value",)

    def __init__(self, key: str, default: bool) -> None:
        super().__init__(key, default)
        self.value: bool = default

    def renew(self, entry: Entry | None) -> None:
        self.value = self._default if entry is None or entry.boolean is None else entry.boolean


class Number(_Cell):
    """A whole number that is not negative, or, with a float as default, any."""

    __slots__ = ("value",)

    def __init__(self, key: str, default: Any) -> None:
        super().__init__(key, default)
        self.value: Any = default

    def renew(self, entry: Entry | None) -> None:
        found: Any = None
        if entry is not None:
            found = entry.double if isinstance(self._default, float) else entry.integer
        self.value = self._default if found is None else found


ON = Switch("", True)
OFF = Switch("", False)
C = TypeVar("C", bound=_Cell)


class Runtime:
    """See the module."""

    def __init__(self, layers: Sequence[Layer] = (), *, is_live: bool = False) -> None:
        """``is_live``: layers may change."""
        self.layers = tuple(layers)
        self.is_live = is_live
        self.entries: dict[str, Entry] = {}
        self._cells: WeakValueDictionary[tuple[type, str, Any], Any] = WeakValueDictionary()
        #: The keys that somebody has asked about.
        self.asked: set[str] = set()
        #: Called after each change.
        self.followers: list[Callable[[], None]] = []
        self._merge()

    def _merge(self) -> None:
        merged: dict[str, Entry] = {}
        for layer in self.layers:
            merged.update(layer.values)
        self.entries = merged

    def changed(self) -> None:
        """Layers are others now."""
        self._merge()
        get = self.entries.get
        for (_, key, _), cell in list(self._cells.items()):
            cell.renew(get(key))
        for follower in self.followers:
            follower()

    def unread(self) -> list[str]:
        """The keys that layers say something of, and that nobody has asked about."""
        return sorted(self.entries.keys() - self.asked)

    # -- values that are kept --------------------------------------------------------------------------
    def fraction(self, key: str, numerator: int, denominator: int) -> Fraction:
        """The share at ``key``."""
        return self._cell(Fraction, key, (numerator, denominator))

    def flag(self, key: str, default: bool) -> Switch:
        """The flag at ``key``."""
        return self._cell(Switch, key, default)

    def number(self, key: str, default: float) -> Number:
        """The number at ``key``, of the default's type."""
        return self._cell(Number, key, default)

    def follows(self, key: str) -> bool:
        """Whether what is at ``key`` may be another than its default, now or later."""
        self.asked.add(key)
        return bool(key) and (self.is_live or key in self.entries)

    def _cell(self, kind: type[C], key: str, default: Any) -> C:
        self.asked.add(key)
        # 1 == True == 1.0, which are defaults of different kinds.
        found: C | None = self._cells.get((kind, key, (type(default), default)))
        if found is None:
            found = kind(key, default)
            found.renew(self.entries.get(key) if key else None)
            if key and self.is_live:
                self._cells[kind, key, (type(default), default)] = found
        return found

    # -- values of the moment --------------------------------------------------------------------------
    def integer(self, key: str, default: int) -> int:
        """The whole number at ``key`` now, which is not negative; else ``default``."""
        self.asked.add(key)
        entry = self.entries.get(key)
        return default if entry is None or entry.integer is None else entry.integer
