"""One stream of the state of the world, without I/O: what is asked for, and what an answer confirms.

envoy.service.discovery.v3.DiscoveryRequest and DiscoveryResponse, several types on one stream (ADS) or one
alone.  A request says the whole of what is wanted of its type; an answer is confirmed by a request with its
nonce, and with its version where it was taken (ACK) or the version before and the reason where it was not
(NACK).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Generic, Protocol, TypeVar

from sidecar.core.dataclass import dataclass

__all__ = ["Mux", "Request", "TypeState", "Watch"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What a ``DiscoveryRequest`` says."""

    type_url: str
    version: str
    nonce: str
    names: tuple[str, ...]
    #: Why the last answer was refused; empty where it was taken, or where none is answered.
    error: str = ""


class _State(Protocol):
    type_url: str

    def is_wanted(self, name: str) -> bool: ...


class Watch(Generic[T]):
    """Somebody who wants resources of one type."""

    __slots__ = ("names", "of", "owner")

    def __init__(self, of: _State, names: tuple[str, ...] | None, owner: T) -> None:
        self.of = of
        #: None for all that there are.
        self.names = names
        self.owner = owner

    def wants(self, name: str) -> bool:
        """Whether a resource is for it."""
        return self.names is None or name in self.names


@dataclass(slots=True)
class TypeState(Generic[T]):
    """One type on one stream."""

    type_url: str
    watches: list[Watch[T]] = field(default_factory=list)
    #: Of the last answer that was taken.
    version: str = ""
    #: Of the last answer on this stream.
    nonce: str = ""
    error: str = ""

    def is_wanted(self, name: str) -> bool:
        """Whether anybody asked for a resource by its name."""
        return any(name in (watch.names or ()) for watch in self.watches)

    def names(self) -> tuple[str, ...]:
        """What is asked for by name, each once; nothing where somebody wants all."""
        if any(watch.names is None for watch in self.watches):
            return ()
        return tuple(sorted({name for watch in self.watches for name in watch.names or ()}))


class Mux(Generic[T]):
    """See the module.  ``T`` is what its owner keeps of a watch."""

    def __init__(self) -> None:
        self._types: dict[str, TypeState[T]] = {}
        self._pending: dict[str, None] = {}
        #: Types that nothing is said of for now.
        self.paused: set[str] = set()
        self.is_open = False

    # -- who wants what --------------------------------------------------------------------------------
    def watch(self, type_url: str, names: tuple[str, ...] | None, owner: T) -> Watch[T]:
        """Want resources, all of them without ``names``."""
        state = self._types.get(type_url)
        if state is None:
            state = self._types[type_url] = TypeState(type_url)
        made = Watch(state, names, owner)
        state.watches.append(made)
        self._ask(state)
        return made

    def unwatch(self, watch: Watch[T]) -> None:
        """Want them no more: where nobody does, no name is asked for.  Nothing is said of who wanted all."""
        state = self._types[watch.of.type_url]
        if watch in state.watches:
            state.watches.remove(watch)
            if watch.names:
                self._ask(state)

    def state_of(self, type_url: str) -> TypeState[T] | None:
        """A type that was asked for."""
        return self._types.get(type_url)

    def types(self) -> Iterator[TypeState[T]]:
        """All types."""
        return iter(self._types.values())

    # -- the stream ------------------------------------------------------------------------------------
    def opened(self) -> None:
        """A stream is there: all is asked for again, with the versions that there are."""
        self.is_open = True
        self._pending.clear()
        for state in self._types.values():
            state.nonce = state.error = ""
            self._ask(state)

    def closed(self) -> None:
        """The stream is over."""
        self.is_open = False
        self._pending.clear()

    def answered(self, type_url: str, nonce: str) -> TypeState[T] | None:
        """An answer is here; None for a type that nobody asked for, whose answer is passed over."""
        state = self._types.get(type_url)
        if state is not None:
            state.nonce = nonce
        return state

    def pass_over(self, state: TypeState[T], version: str, *, is_empty: bool) -> None:
        """Nobody wants anything of that type any more: only an empty answer is taken."""
        if is_empty:
            state.version = version
        else:
            self._ask(state)

    def accept(self, state: TypeState[T], version: str) -> None:
        """The answer was taken."""
        state.version = version
        state.error = ""
        self._ask(state)

    def refuse(self, state: TypeState[T], error: str) -> None:
        """It was not."""
        state.error = error
        self._ask(state)

    def take_requests(self) -> list[Request]:
        """What is to be sent now, in the order in which it came up."""
        if not self.is_open:
            return []
        requests = []
        for type_url in list(self._pending):
            if type_url in self.paused:
                continue
            del self._pending[type_url]
            state = self._types[type_url]
            requests.append(Request(type_url, state.version, state.nonce, state.names(), state.error))
            state.error = ""
        return requests

    def _ask(self, state: TypeState[T]) -> None:
        if self.is_open:
            self._pending[state.type_url] = None
