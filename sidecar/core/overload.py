"""Overload: how much of an action pressure asks for, and whether a load-shed point sheds.

A trigger makes a number from 0 to 1 of a resource's pressure; the largest of its triggers is the state of an
action or a point.  Who measures is :mod:`sidecar.server.overload_manager`.  What serves asks the objects
here, which are None where the configuration has none, so that nothing is asked then.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError

__all__ = [
    "LoadShedPoint",
    "Overload",
    "OverloadAction",
    "OverloadClose",
    "ScaledTimers",
    "StreamMemory",
    "Trigger",
]

#: Classes of streams by their memory, each twice as much as the one before.
_MEMORY_CLASSES = 8
#: So many streams are reset at once at most.
_MOST_RESETS = 50


class OverloadClose(SidecarError):
    """A connection is closed since the proxy has too much to do."""


class Trigger:
    """``threshold`` where both thresholds are the same, else ``scaled``."""

    __slots__ = ("saturation", "scaling", "state")

    def __init__(self, scaling: float, saturation: float) -> None:
        self.scaling = scaling
        self.saturation = saturation
        self.state = 0.0

    def update(self, pressure: float) -> None:
        if pressure >= self.saturation:
            self.state = 1.0
        elif pressure <= self.scaling:
            self.state = 0.0
        else:
            self.state = _single((pressure - self.scaling) / (self.saturation - self.scaling))


def _single(value: float) -> float:
    """As Envoy keeps it: in single precision, which shows in percentages."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


class _Triggered:
    """What is common to actions and points."""

    __slots__ = ("_draw", "_scale_percent", "triggers", "value")

    def __init__(
        self, triggers: dict[str, Trigger], scope: Any, draw: Callable[[], float] = random.random
    ) -> None:
        #: By the name of the resource monitor.
        self.triggers = triggers
        #: From 0 (nothing) to 1 (saturated).
        self.value = 0.0
        self._draw = draw
        self._scale_percent = scope.gauge("scale_percent")

    def update(self, resource: str, pressure: float) -> bool:
        """Take the pressure of a resource; whether that changes anything."""
        trigger = self.triggers.get(resource)
        if trigger is None:
            return False
        before = trigger.state
        trigger.update(pressure)
        if trigger.state == before:
            return False
        before = self.value
        self.value = max(each.state for each in self.triggers.values())
        self._show(trigger.state)
        return self.value != before

    def _show(self, state: float) -> None:
        raise NotImplementedError

    def draw(self) -> bool:
        """Whether it is to happen this time."""
        value = self.value
        return value > 0 and (value == 1 or self._draw() < value)


class OverloadAction(_Triggered):
    """``envoy.overload_actions.*``; ``followers`` hear of every change of the value."""

    __slots__ = ("_active", "followers")

    def __init__(
        self, triggers: dict[str, Trigger], scope: Any, draw: Callable[[], float] = random.random
    ) -> None:
        super().__init__(triggers, scope, draw)
        self._active = scope.gauge("active")
        self.followers: list[Callable[[float], None]] = []

    def _show(self, state: float) -> None:
        # Of the trigger that moved, not of all of them: so does Envoy.
        self._active.set(int(state == 1))
        self._scale_percent.set(int(state * 100))

    def update(self, resource: str, pressure: float) -> bool:
        is_changed = super().update(resource, pressure)
        if is_changed:
            for follower in self.followers:
                follower(self.value)
        return is_changed


class ScaledTimers:
    """The timers that ``reduce_timeouts`` scales, by Envoy's names (``HTTP_DOWNSTREAM_CONNECTION_IDLE``)."""

    __slots__ = ("_least", "action", "sweeps")

    def __init__(self, action: OverloadAction, least: dict[str, Callable[[float], float]]) -> None:
        self.action = action
        #: From the configured seconds to the fewest.
        self._least = least
        #: Called often while there is pressure.
        self.sweeps: list[Callable[[], None]] = []

    def scales(self, name: str) -> bool:
        return name in self._least

    def scaled(self, name: str, configured_s: float) -> float:
        """What is left of ``configured_s`` under the pressure of now."""
        least_s = min(self._least[name](configured_s), configured_s)
        return least_s + (configured_s - least_s) * (1 - self.action.value)

    def follow(
        self, name: str, configured_s: float, move: Callable[[float, float], None]
    ) -> Callable[[], None]:
        """Call ``move(seconds, more_s)``, now and with every change; returns what ends that.

        ``more_s`` is how much later than before a timer ends that runs already.
        """
        before_s = configured_s

        def follower(_value: float) -> None:
            nonlocal before_s
            seconds = self.scaled(name, configured_s)
            more_s, before_s = seconds - before_s, seconds
            move(seconds, more_s)

        followers = self.action.followers
        followers.append(follower)
        follower(0.0)
        return lambda: followers.remove(follower)

    def sweep(self) -> None:
        if self.action.value:
            for each in self.sweeps:
                each()


class StreamMemory:
    """``reset_high_memory_stream``: streams that hold much memory are reset, those that hold most first.

    The smallest class begins at half of what ``minimum_account_to_track_power_of_two`` says, as in Envoy,
    which resets whenever the action's value changes, and nothing while it stays.
    """

    __slots__ = ("_count", "_shift", "holders")

    def __init__(self, power_of_two: int, count: Any) -> None:
        self._shift = power_of_two - 1
        self._count = count
        #: Each gives streams with the bytes that they hold, and what resets one.
        self.holders: list[Callable[[], Iterable[tuple[int, Callable[[], None]]]]] = []

    def relieve(self, value: float) -> None:
        """Reset what the action asks for at ``value``."""
        classes = min(int(value * _MEMORY_CLASSES) + 1, _MEMORY_CLASSES)
        least = _MEMORY_CLASSES - classes
        found: list[list[Callable[[], None]]] = [[] for _ in range(_MEMORY_CLASSES)]
        for holder in self.holders:
            for held, reset in holder():
                number = min((held >> self._shift).bit_length(), _MEMORY_CLASSES) - 1
                if number >= least:
                    found[number].append(reset)
        resets = [reset for group in reversed(found) for reset in group][:_MOST_RESETS]
        for reset in resets:
            reset()
        self._count.value += len(resets)


class LoadShedPoint(_Triggered):
    """``envoy.load_shed_points.*``."""

    __slots__ = ("_count",)

    def __init__(
        self, triggers: dict[str, Trigger], scope: Any, draw: Callable[[], float] = random.random
    ) -> None:
        super().__init__(triggers, scope, draw)
        self._count = scope.counter("shed_load_count")

    def _show(self, state: float) -> None:
        self._scale_percent.set(int(self.value * 100))

    def shed(self) -> bool:
        """Whether to shed the load at hand, counted."""
        if not self.draw():
            return False
        self._count.value += 1
        return True


@dataclass(slots=True)
class Overload:
    """What listeners, connection managers, TCP proxies and pools ask; None for what is not configured."""

    stop_accepting_requests: OverloadAction | None = None
    stop_accepting_connections: OverloadAction | None = None
    reject_incoming_connections: OverloadAction | None = None
    disable_http_keepalive: OverloadAction | None = None
    reduce_timeouts: OverloadAction | None = None
    #: What ``reduce_timeouts`` scales; also where a listener bypasses the rest.
    timers: ScaledTimers | None = None
    shrink_heap: OverloadAction | None = None
    shrink_interval_s: float = 10.0
    #: So much may stay free and not be given back to the system.
    shrink_unfreed_bytes: int = 100 << 20
    reset_high_memory_stream: OverloadAction | None = None
    #: What that resets; also where a listener bypasses the rest.
    memory: StreamMemory | None = None
    #: Of QUIC alone, which nothing here speaks.
    close_idle_http_connections: OverloadAction | None = None
    tcp_listener_accept: LoadShedPoint | None = None
    http_connection_manager_decode_headers: LoadShedPoint | None = None
    http1_server_abort_dispatch: LoadShedPoint | None = None
    http2_server_go_away_on_dispatch: LoadShedPoint | None = None
    http2_server_go_away_and_close_on_dispatch: LoadShedPoint | None = None
    http3_server_go_away_on_dispatch: LoadShedPoint | None = None
    http3_server_go_away_and_close_on_dispatch: LoadShedPoint | None = None
    hcm_ondata_creating_codec: LoadShedPoint | None = None
    http_downstream_filter_check: LoadShedPoint | None = None
    connection_pool_new_connection: LoadShedPoint | None = None
    tcp_proxy_on_data: LoadShedPoint | None = None
    tcp_proxy_upstream_connect: LoadShedPoint | None = None
