"""What is known of the filters in Python that a process runs: for the status page of the admin interface.

The filter's guard (:mod:`sidecar.extensions.http.python_filter`) writes it, the admin interface reads it.
Counters are the stats', which workers share; the last exceptions of workers are told beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, field
from typing import Any

from sidecar.core.dataclass import dataclass

__all__ = ["LastException", "PythonFilterStatus", "PythonFilters"]


@dataclass(frozen=True, slots=True)
class LastException:
    """The last exception of a filter."""

    #: Wall clock.
    time_s: float
    #: ``x-request-id`` of the request that it harmed; empty where there is none.
    request_id: str
    #: The hook that it came out of: ``decode_headers``, ``encode_headers``, ``on_complete``, ``body``.
    hook: str
    #: Its type and text.
    text: str
    traceback: str


@dataclass(slots=True)
class PythonFilterStatus:
    """One filter of the configuration."""

    #: Its field of the configuration, and the prefix of its stats: they tell it from others.
    path: str
    stat_prefix: str
    #: ``filter`` of the configuration.
    filter: str
    class_name: str
    #: The file that the class stands in.
    source: str
    #: As they were loaded: a dataclass's or model's fields, defaults among them.
    settings: Any
    #: Its name in the chain, once it has one.
    name: Callable[[], str]
    requests: Any
    exceptions: Any
    last: LastException | None = None

    @property
    def key(self) -> str:
        """Tells it from others, in each process alike."""
        return f"{self.path} {self.stat_prefix}"


@dataclass(slots=True)
class PythonFilters:
    """Those of a process."""

    statuses: list[PythonFilterStatus] = field(default_factory=list)
    #: Last exceptions that workers told of, by :attr:`PythonFilterStatus.key`.
    told: dict[str, LastException] = field(default_factory=dict)

    def add(self, status: PythonFilterStatus) -> Callable[[], None]:
        """Show a filter, until what this gives is called."""
        self.statuses.append(status)

        def remove() -> None:
            self.statuses = [each for each in self.statuses if each is not status]

        return remove

    def last_of(self, status: PythonFilterStatus) -> LastException | None:
        """The last exception of a filter, in whatever process."""
        found = [each for each in (status.last, self.told.get(status.key)) if each is not None]
        return max(found, key=lambda each: each.time_s, default=None)

    def tell(self) -> dict[str, Any]:
        """What a worker tells, as plain data."""
        return {each.key: asdict(each.last) for each in self.statuses if each.last is not None}

    def take(self, told: Mapping[str, Any]) -> None:
        """What a worker told; what is newer stays."""
        for key, values in told.items():
            last = LastException(**values)
            before = self.told.get(key)
            if before is None or before.time_s < last.time_s:
                self.told[key] = last

    def shown(self) -> Iterable[tuple[PythonFilterStatus, LastException | None]]:
        """What there is to show, in the order of the configuration."""
        for each in self.statuses:
            yield each, self.last_of(each)
