"""One stream of the incremental protocol, without I/O: what is asked for, and what an answer confirms.

envoy.service.discovery.v3.DeltaDiscoveryRequest and DeltaDiscoveryResponse, several types on one stream (ADS)
or one alone.  A request says what is wanted more, and less, than before; the first of a type on a stream says
all of it, with the versions that are here.  Whoever wants all says nothing in the first request, or ``*``.
An answer is confirmed by a request with its nonce (ACK), and the reason where it was not taken (NACK); these
go before all others (Envoy's ``NewGrpcMuxImpl`` and ``DeltaSubscriptionState``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from sidecar.core.dataclass import dataclass
from sidecar.xds.mux import Watch

__all__ = ["VIRTUAL_HOST", "WILDCARD", "DeltaMux", "DeltaRequest", "DeltaState"]

T = TypeVar("T")
WILDCARD = "*"
#: Who wants one by a name wants all whose names begin with it and a slash.
VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """What a ``DeltaDiscoveryRequest`` says."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: tuple[tuple[str, str], ...] = ()
    #: Why the answer of this nonce was refused; empty where it was taken, or where none is answered.
    error: str = ""


class DeltaState(Generic[T]):
    """One type on one stream."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.watches: list[Watch[T]] = []
        #: Who wants what by name.
        self._wildcards: list[Watch[T]] = []
        self._interest: dict[str, list[Watch[T]]] = {}
        #: What was asked for by name, ``*`` among it, and in which version it is here; None: not yet.
        self.requested: dict[str, str | None] = {}
        #: What came besides, for those who want all.
        self.others: dict[str, str] = {}
        #: What was asked for and is not any more, while all are wanted: the control plane will say.
        self.doubtful: dict[str, str] = {}
        self._added: set[str] = set()
        self._removed: set[str] = set()
        self._has_asked = False
        self._asks_for_all = True

    # -- who wants what --------------------------------------------------------------------------------
    def add(self, watch: Watch[T]) -> None:
        """Somebody wants something."""
        self.watches.append(watch)
        if watch.names is None:
            self._wildcards.append(watch)
        new = []
        for name in dict.fromkeys(watch.names or ()):
            interested = self._interest.setdefault(name, [])
            if not interested:
                new.append(name)
            interested.append(watch)
        if self.type_url != VIRTUAL_HOST:  # of these, those are sent that a control plane wants to send
            self.want(new)

    def remove(self, watch: Watch[T]) -> None:
        """Somebody wants nothing any more."""
        self.watches.remove(watch)
        if watch.names is None:
            self._wildcards.remove(watch)
        old = []
        for name in dict.fromkeys(watch.names or ()):
            self._interest[name].remove(watch)
            if not self._interest[name]:
                del self._interest[name]
                old.append(name)
        if self.type_url != VIRTUAL_HOST:
            self.leave(old)

    def request_more(self, watch: Watch[T], names: Iterable[str]) -> None:
        """Who wants something wants more.  What it is known to want is not asked for again."""
        if self.type_url == VIRTUAL_HOST:
            self.want(names)
            return
        new = []
        for name in names:
            interested = self._interest.setdefault(name, [])
            if not interested:
                new.append(name)
            if watch not in interested:
                interested.append(watch)
        watch.names = tuple(dict.fromkeys((*(watch.names or ()), *names)))
        self.want(new)

    def interested_in(self, name: str) -> list[Watch[T]]:
        """Those who want a resource."""
        if self.type_url == VIRTUAL_HOST:
            name = name.rpartition("/")[0] or name
        return [*self._wildcards, *self._interest.get(name, ())]

    def is_wanted(self, name: str) -> bool:
        """Whether anybody asked for a resource by its name."""
        return name in self._interest

    def want(self, names: Iterable[str]) -> None:
        """These are wanted, too."""
        for name in names:
            self._asks_for_all = self._asks_for_all and name == WILDCARD
            known = self.others.pop(name, None)
            self.requested[name] = self.doubtful.pop(name, None) if known is None else known
            # Who does not want it and then does has forgotten it: it is asked for once more.
            self._removed.discard(name)
            self._added.add(name)

    def leave(self, names: Iterable[str]) -> None:
        """These are not wanted any more."""
        for name in names:
            if name in self.requested:
                version = self.requested.pop(name)
                if version is not None and WILDCARD in self.requested:
                    self.doubtful[name] = version
                self._removed.add(name)
                self._asks_for_all = False
            self._added.discard(name)

    # -- requests --------------------------------------------------------------------------------------
    @property
    def has_news(self) -> bool:
        """Whether there is something to ask, besides confirming."""
        if self._added or self._removed:
            return True
        return not self._has_asked and (bool(self.requested) or self._asks_for_all)

    def opened(self) -> None:
        """A stream is there, which knows nothing."""
        self._has_asked = False

    def request(self, nonce: str = "", error: str = "") -> DeltaRequest:
        """The next request."""
        versions: list[tuple[str, str]] = []
        if not self._has_asked:
            self._has_asked = True
            is_silent = self._is_only_for_all()
            for name, version in self.requested.items():
                if version is not None:
                    versions.append((name, version))
                self._added.add(name)
            versions += self.others.items()
            versions += self.doubtful.items()
            if is_silent:
                self._added.clear()
            self._removed.clear()
        added, removed = tuple(sorted(self._added)), tuple(sorted(self._removed))
        self._added.clear()
        self._removed.clear()
        return DeltaRequest(self.type_url, nonce, added, removed, tuple(versions), error)

    def _is_only_for_all(self) -> bool:
        if self._asks_for_all:
            self.requested[WILDCARD] = None
            return True
        return not self._added and not self._removed and list(self.requested) == [WILDCARD]

    # -- answers ---------------------------------------------------------------------------------------
    def version_of(self, name: str) -> str | None:
        """The version of a resource that is here."""
        if name in self.requested:
            return self.requested[name]
        return self.others.get(name) or self.doubtful.get(name)

    def take(self, versions: Iterable[tuple[str, str]], removed: Iterable[str]) -> list[str]:
        """Resources came and went; which of those that came are looked after."""
        taken = []
        for name, version in versions:
            if name in self.requested:
                self.requested[name] = version
            elif WILDCARD in self.requested:
                self.others[name] = version
                self.doubtful.pop(name, None)
            else:
                continue
            taken.append(name)
        self.forget(removed)
        return taken

    def forget(self, names: Iterable[str]) -> None:
        """These are gone; who asked for them waits for them."""
        for name in names:
            if name in self.requested:
                self.requested[name] = None
            elif self.doubtful.pop(name, None) is None:
                self.others.pop(name, None)


class DeltaMux(Generic[T]):
    """See the module.  ``T`` is what its owner keeps of a watch."""

    def __init__(self) -> None:
        self._types: dict[str, DeltaState[T]] = {}
        self._acks: list[tuple[str, str, str]] = []
        #: What is to be sent before the ACK of the answer that brought it up.
        self._ready: list[DeltaRequest] = []
        #: Types that nothing is said of for now.
        self.paused: set[str] = set()
        self.is_open = False

    # -- who wants what --------------------------------------------------------------------------------
    def watch(self, type_url: str, names: tuple[str, ...] | None, owner: T) -> Watch[T]:
        """Want resources, all of them without ``names``."""
        state = self._types.get(type_url)
        if state is None:
            state = self._types[type_url] = DeltaState(type_url)
        made: Watch[T] = Watch(state, names, owner)
        state.add(made)
        return made

    def unwatch(self, watch: Watch[T]) -> None:
        """Want them no more."""
        state = self._types[watch.of.type_url]
        if watch in state.watches:
            state.remove(watch)

    def state_of(self, type_url: str) -> DeltaState[T] | None:
        """A type that was asked for."""
        return self._types.get(type_url)

    def types(self) -> Iterator[DeltaState[T]]:
        """All types."""
        return iter(self._types.values())

    # -- the stream ------------------------------------------------------------------------------------
    def opened(self) -> None:
        """A stream is there: all is asked for again, with the versions that there are."""
        self.is_open = True
        self._forget()
        for state in self._types.values():
            state.opened()

    def closed(self) -> None:
        """The stream is over."""
        self.is_open = False
        self._forget()

    def _forget(self) -> None:
        self._acks.clear()
        self._ready.clear()

    def confirm(self, state: DeltaState[T], nonce: str, error: str = "") -> None:
        """The answer of this nonce was taken, or there is an ``error``."""
        if self.is_open:
            self._ready = self._collect(self._ready)
            self._acks.append((state.type_url, nonce, error))

    def take_requests(self) -> list[DeltaRequest]:
        """What is to be sent now: what confirms first, then types in the order in which they came up."""
        if not self.is_open:
            return []
        ready, self._ready = self._ready, []
        return self._collect(ready)

    def _collect(self, requests: list[DeltaRequest]) -> list[DeltaRequest]:
        waiting = []
        for type_url, nonce, error in self._acks:
            if type_url in self.paused:
                waiting.append((type_url, nonce, error))
            else:
                requests.append(self._types[type_url].request(nonce, error))
        self._acks = waiting
        requests.extend(
            state.request()
            for state in self._types.values()
            if state.has_news and state.type_url not in self.paused
        )
        return requests
