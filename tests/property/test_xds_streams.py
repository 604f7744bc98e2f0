"""Whatever order answers, losses and reconnects come in, a stream ends in the last state that was accepted.

The muxes and the transports above them talk to a control plane made here, one message at a time; what is on
its way is lost when a stream ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.messages import message_class
from sidecar.config.registry import Registry
from sidecar.core.errors import ConfigError, XdsError
from sidecar.observability.stats import Store
from sidecar.xds.delta_stream import DeltaTransport
from sidecar.xds.grpc_stream import GrpcSubscription, StreamSettings, discovery_message, type_url_of
from sidecar.xds.sotw_stream import GrpcTransport
from sidecar.xds.subscription import Resource, ResourceKind, SubscriptionStats

KIND = "envoy.config.endpoint.v3.ClusterLoadAssignment"
NAMES = ("a", "b", "c")
#: A factor that the API refuses, and one that only who uses it does.
WRONG = 0
UNUSABLE = 1000


def assignment(name: str, factor: int) -> Any:
    cls = message_class(KIND)
    assert cls is not None
    made: Any = cls(cluster_name=name)
    made.policy.overprovisioning_factor.value = factor
    return made


def _compile(message: Any, path: str) -> int:
    factor: int = message.policy.overprovisioning_factor.value
    if factor == UNUSABLE:
        raise ConfigError(path, "cannot be used")
    return factor


class Watcher:
    """Wants some names, or all, and knows what it was given."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self.kind = ResourceKind(KIND, "cluster_name", _compile, is_partial=names is None)
        self.names = names
        self.has: dict[str, int] = {}

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        if self.names is None:
            self.has.clear()
        self._take(resources)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        for name in removed:
            self.has.pop(name, None)
        self._take(added)

    def _take(self, resources: Sequence[Resource]) -> None:
        """Who wants all takes what can be used, as clusters are taken."""
        self.has.update((each.name, each.value) for each in resources if not each.error)
        errors = [each.error for each in resources if each.error]
        if errors:
            raise XdsError(errors[0])

    def on_failure(self) -> None:
        pass


class Plane:
    """A control plane that sends what is there whenever it is not what it sent last."""

    def __init__(self) -> None:
        self.version = 1
        self.has: dict[str, int] = {"a": 1, "b": 1}
        #: What there was, by version.
        self.history: dict[str, dict[str, int]] = {"1": dict(self.has)}

    def change(self, name: str, factor: int | None) -> None:
        self.version += 1
        if factor is None:
            self.has.pop(name, None)
        else:
            self.has[name] = factor
        self.history[str(self.version)] = dict(self.has)


class SotwStream:
    """What a plane knows of one stream, the state of the world."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._asked: tuple[str, ...] | None = None
        #: Version and names of the last answer, or of what the client says that it has.
        self._sent: tuple[int, tuple[str, ...]] | None = None
        self._nonce = 0

    def take(self, data: bytes) -> None:
        request: Any = discovery_message("DiscoveryRequest")
        request.MergeFromString(data)
        names = tuple(request.resource_names)
        # What it says that it has was right in what it asked for.
        had = self._plane.history[request.version_info] if request.version_info else {}
        assert all(
            factor not in (WRONG, UNUSABLE) for name, factor in had.items() if name in names or not names
        )
        assert self._asked is not None or not (request.response_nonce or request.HasField("error_detail"))
        if request.response_nonce and request.response_nonce != str(self._nonce):
            return  # it is about an older answer
        if self._asked is None and request.version_info:
            self._sent = int(request.version_info), names
        self._asked = names

    def answer(self) -> bytes | None:
        if self._asked is None or self._sent == (self._plane.version, self._asked):
            return None
        self._sent = self._plane.version, self._asked
        self._nonce += 1
        response: Any = discovery_message("DiscoveryResponse")
        response.version_info, response.nonce = str(self._plane.version), str(self._nonce)
        response.type_url = type_url_of(KIND)
        for name, factor in self._plane.has.items():
            if not self._asked or name in self._asked:
                response.resources.add().Pack(assignment(name, factor))
        data: bytes = response.SerializeToString()
        return data


class DeltaStream:
    """The same, of changes."""

    def __init__(self, plane: Plane, has: Callable[[], set[str]], unsure: set[str]) -> None:
        """``has`` tells what the client really has; ``unsure`` are those that it refused last, or a part."""
        self._plane = plane
        self._unsure = unsure
        self._has = has
        self._is_asked = False
        self._wants_all = False
        self._names: set[str] = set()
        #: What the client has, as far as the plane knows, by name: factors in text.
        self._there: dict[str, str] = {}
        #: By nonce: what the client had of it before, and at which version of the plane it was sent.
        self._sent: dict[str, tuple[dict[str, str | None], int]] = {}
        self._refused_at = 0
        self._nonce = 0

    def take(self, data: bytes) -> None:
        request: Any = discovery_message("DeltaDiscoveryRequest")
        request.MergeFromString(data)
        if not self._is_asked:
            self._is_asked = True
            said = set(request.initial_resource_versions)
            assert self._has() - self._unsure <= said <= self._has() | self._unsure
            self._there = dict(request.initial_resource_versions)
            self._wants_all = not request.resource_names_subscribe
        for name in request.resource_names_subscribe:
            self._wants_all |= name == "*"
            self._names.add(name)
        for name in request.resource_names_unsubscribe:
            self._names.discard(name)
            self._there.pop(name, None)
        # What confirms is about an answer of this stream, and said once.
        before, version = self._sent.pop(request.response_nonce) if request.response_nonce else ({}, 0)
        assert before or not request.HasField("error_detail")
        if request.HasField("error_detail"):
            for name in before:
                # It may be here in either version, since others of the answer were taken.
                self._there[name] = ""
            self._refused_at = version

    def answer(self) -> bytes | None:
        if not self._is_asked or self._sent or self._refused_at == self._plane.version:
            return None
        has = {n: str(f) for n, f in self._plane.has.items() if self._wants_all or n in self._names}
        came = {name: factor for name, factor in has.items() if self._there.get(name) != factor}
        went = [name for name in self._there if name not in has]
        if not came and not went:
            return None
        self._nonce += 1
        response: Any = discovery_message("DeltaDiscoveryResponse")
        response.nonce, response.type_url = str(self._nonce), type_url_of(KIND)
        for name, factor in came.items():
            made = response.resources.add(name=name, version=factor)
            made.resource.Pack(assignment(name, int(factor)))
        response.removed_resources.extend(went)
        had = {name: self._there.get(name) for name in (*came, *went)}
        self._sent[str(self._nonce)] = had, self._plane.version
        self._there.update(came)
        for name in went:
            del self._there[name]
        data: bytes = response.SerializeToString()
        return data


class Bed:
    """A transport, a plane, and what is on its way between them."""

    def __init__(self, *, is_delta: bool, watchers: Sequence[tuple[str, ...] | None]) -> None:
        cls = message_class("envoy.config.bootstrap.v3.Bootstrap")
        assert cls is not None
        node = cls().node
        self.is_delta = is_delta
        make: Any = DeltaTransport if is_delta else GrpcTransport
        self.store = Store()
        scope = self.store.scope("x")
        self.transport = make(None, "/method", cls(), Registry(()), scope, StreamSettings(node))
        self.plane = Plane()
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.watchers = [Watcher(names) for names in watchers]
        #: What came in an answer that was refused, and in none that was not since.
        self.unsure: set[str] = set()
        #: Such as a stream was lost with: the next one does not say them, so nobody tells that they went.
        self.unsaid: set[str] = set()
        #: What comes next, where all goes on in turn.
        self._turn = 0
        self.subscriptions: list[GrpcSubscription] = []
        self.connect()
        for watcher in self.watchers:
            made = GrpcSubscription(self.transport, watcher, SubscriptionStats(scope), watcher.names, 0)
            made.start()
            self.subscriptions.append(made)

    def connect(self) -> None:
        """End the stream, with all that is on its way, and open another."""
        self.transport.mux.closed()
        self.unsaid |= self.unsure
        self.up.clear()
        self.down.clear()
        #: Whether the client took an answer of this stream.
        self.is_heard = False
        self.stream: Any
        if self.is_delta:
            self.stream = DeltaStream(self.plane, self._names, self.unsure)
        else:
            self.stream = SotwStream(self.plane)
        self.transport.mux.opened()

    def _names(self) -> set[str]:
        return {name for each in self.watchers for name in each.has}

    def send(self) -> bool:
        """Let the client say what it has to say."""
        requests = self.transport.mux.take_requests()
        assert self.is_delta or not self.is_heard or all(each.nonce for each in requests)
        self.up.extend(self.transport._encode(each, with_node=False) for each in requests)
        return bool(requests)

    def take_up(self) -> bool:
        """Let the plane hear the next request."""
        if not self.up:
            return False
        self.stream.take(self.up.popleft())
        return True

    def answer(self) -> bool:
        """Let the plane answer, if there is something to say."""
        data = self.stream.answer()
        if data is not None:
            self.down.append(data)
        return data is not None

    def take_down(self) -> bool:
        """Let the client take the next answer."""
        if not self.down:
            return False
        data = self.down.popleft()
        refused = self.store.counter("x.update_rejected")
        before = refused.value
        _finish(self.transport._take(data))
        if self.is_delta:
            response: Any = discovery_message("DeltaDiscoveryResponse")
            response.MergeFromString(data)
            names = {*response.removed_resources, *(each.name for each in response.resources)}
            self.unsure -= names
            if refused.value != before:
                self.unsure |= names
        self.is_heard = True
        return True

    def go_on(self, count: int) -> None:
        """So many times what comes next."""
        for _ in range(count):
            (self.send, self.take_up, self.answer, self.take_down)[self._turn]()
            self._turn = (self._turn + 1) % 4

    def settle(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(200):
            if not (self.send() | self.take_up() | self.answer() | self.take_down()):
                return
        raise AssertionError("they go on for ever")


def _finish(step: Coroutine[Any, Any, None]) -> None:
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("an answer that is small is taken at once")


_change = st.tuples(st.sampled_from(NAMES), st.sampled_from([1, 2, 3, 4, WRONG, UNUSABLE, None]))
#: Much goes on, by turns or out of turn, something changes, and what is on its way may be lost.
_rounds = st.tuples(
    st.one_of(st.none(), _change),
    st.integers(0, 12),
    st.lists(st.sampled_from(["send", "up", "answer", "down"]), max_size=3),
    st.sampled_from(["", "", "connect"]),
)
_steps = st.lists(_rounds, min_size=1, max_size=12)
_watchers = st.one_of(
    st.just([None]),
    st.lists(st.sampled_from([("a",), ("b",), ("c",), ("a", "b")]), min_size=1, max_size=3),
)


def _run(bed: Bed, steps: Sequence[Any]) -> None:
    ways = {
        "send": bed.send,
        "up": bed.take_up,
        "answer": bed.answer,
        "down": bed.take_down,
        "connect": bed.connect,
    }
    for change, turns, others, end in steps:
        if change is not None:
            bed.plane.change(*change)
        bed.go_on(turns)
        for each in (*others, end):
            if each:
                ways[each]()


def _expected(bed: Bed, watcher: Watcher) -> dict[str, int]:
    return {n: f for n, f in bed.plane.has.items() if watcher.names is None or n in watcher.names}


def _asked(bed: Bed) -> tuple[str, ...] | None:
    names = [watcher.names for watcher in bed.watchers]
    return None if None in names else tuple(name for each in names for name in each or ())


@settings(max_examples=150, deadline=None)
@given(st.booleans(), _watchers, _steps)
def test_any_order_ends_in_what_is_there_where_that_is_right(
    is_delta: bool, watchers: Any, steps: Any
) -> None:
    bed = Bed(is_delta=is_delta, watchers=watchers)
    _run(bed, steps)
    for name in [name for name, factor in bed.plane.has.items() if factor in (WRONG, UNUSABLE)]:
        bed.plane.change(name, 9)
    bed.settle()
    for watcher in bed.watchers:
        found = watcher.has
        if not is_delta and watcher.names is not None:  # what an answer leaves out is not gone then
            found = {name: factor for name, factor in found.items() if name in bed.plane.has}
        if is_delta:
            found = {n: factor for n, factor in found.items() if n not in bed.unsaid}
        unsaid = bed.unsaid if is_delta else set()
        assert found == {n: f for n, f in _expected(bed, watcher).items() if n not in unsaid}


@settings(max_examples=150, deadline=None)
@given(st.booleans(), _watchers, _steps, _steps, st.sampled_from(NAMES))
def test_what_is_refused_changes_nothing(
    is_delta: bool, watchers: Any, steps: Any, more: Any, wrong: str
) -> None:
    bed = Bed(is_delta=is_delta, watchers=watchers)
    _run(bed, steps)
    for name in [name for name, factor in bed.plane.has.items() if factor in (WRONG, UNUSABLE)]:
        bed.plane.change(name, 9)
    bed.settle()
    accepted = [dict(watcher.has) for watcher in bed.watchers]
    # From now on one resource that is asked for is wrong, whatever else changes or is lost.
    asked = _asked(bed)
    wrong = wrong if asked is None or wrong in asked else asked[0]
    bed.plane.change(wrong, WRONG)
    if is_delta:
        more = [(None, *rest) for _, *rest in more]  # else what is right of a change is taken
    _run(
        bed, [(None if step[0] is not None and step[0][0] == wrong else step[0], *step[1:]) for step in more]
    )
    bed.settle()
    assert [watcher.has for watcher in bed.watchers] == accepted


@settings(max_examples=50, deadline=None)
@given(st.permutations(NAMES), st.sampled_from(NAMES))
def test_what_cannot_be_used_of_a_change_keeps_nobody_else_from_theirs(order: Any, wrong: str) -> None:
    bed = Bed(is_delta=True, watchers=[(name,) for name in NAMES])
    bed.settle()
    before = [dict(watcher.has) for watcher in bed.watchers]
    for name in order:
        bed.plane.has.pop(name, None)
        bed.plane.change(name, UNUSABLE if name == wrong else 7)
    bed.settle()
    for name, had, watcher in zip(NAMES, before, bed.watchers, strict=True):
        assert watcher.has == (had if name == wrong else {name: 7})
    assert bed.store.counter("x.update_rejected").value
