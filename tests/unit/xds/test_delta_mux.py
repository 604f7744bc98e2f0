"""One stream of changes: whatever comes in whatever order, both sides end with the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.xds.delta_mux import VIRTUAL_HOST, DeltaMux, DeltaRequest
from sidecar.xds.mux import Watch

TYPES = ("a", "b")
NAMES = ("x", "y", "z")


def test_who_wants_all_says_nothing_at_first() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.watch("a", None, "all")
    assert mux.take_requests() == []
    mux.opened()
    assert mux.take_requests() == [DeltaRequest("a")]
    state = mux.state_of("a")
    assert state is not None
    assert state.take([("x", "1"), ("y", "2")], []) == ["x", "y"]
    mux.confirm(state, "n1")
    assert mux.take_requests() == [DeltaRequest("a", "n1")]
    mux.opened()
    assert mux.take_requests() == [DeltaRequest("a", initial_versions=(("x", "1"), ("y", "2")))]


def test_names_are_asked_for_once_and_given_back() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    first = mux.watch("a", ("x",), "one")
    second = mux.watch("a", ("x", "y"), "two")
    assert mux.take_requests() == [DeltaRequest("a", subscribe=("x", "y"))]
    mux.unwatch(first)
    assert mux.take_requests() == []
    mux.unwatch(second)
    assert mux.take_requests() == [DeltaRequest("a", unsubscribe=("x", "y"))]
    mux.opened()
    assert mux.take_requests() == []


def test_what_was_removed_is_waited_for_again() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", ("x", "y"), "one")
    mux.take_requests()
    state = mux.state_of("a")
    assert state is not None
    state.take([("x", "1"), ("other", "1")], [])
    state.take([("y", "1")], ["x"])
    mux.opened()
    assert mux.take_requests() == [DeltaRequest("a", subscribe=("x", "y"), initial_versions=(("y", "1"),))]


def test_one_that_is_named_besides_all_is_doubtful_once_nobody_names_it() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", None, "all")
    mux.take_requests()
    named = mux.watch("a", ("x",), "one")
    assert mux.take_requests() == [DeltaRequest("a", subscribe=("x",))]
    state = mux.state_of("a")
    assert state is not None
    state.take([("x", "1")], [])
    mux.unwatch(named)
    assert mux.take_requests() == [DeltaRequest("a", unsubscribe=("x",))]
    assert state.version_of("x") == "1"
    state.take([], ["x"])
    assert state.version_of("x") is None


def test_an_answer_is_refused_with_its_nonce_and_what_is_new_goes_along() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", ("x",), "one")
    mux.take_requests()
    state = mux.state_of("a")
    assert state is not None
    mux.confirm(state, "n1", "why")
    mux.watch("a", ("y",), "two")
    assert mux.take_requests() == [DeltaRequest("a", "n1", subscribe=("y",), error="why")]


def test_what_an_answer_brought_up_is_asked_before_it_is_confirmed() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", None, "all")
    mux.take_requests()
    state = mux.state_of("a")
    assert state is not None
    mux.watch("b", ("x",), "one")
    mux.confirm(state, "n1")
    assert mux.take_requests() == [DeltaRequest("b", subscribe=("x",)), DeltaRequest("a", "n1")]


def test_nothing_is_said_of_a_type_that_is_paused() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", None, "all")
    mux.watch("b", ("x",), "one")
    mux.take_requests()
    state = mux.state_of("a")
    assert state is not None
    mux.paused.add("a")
    mux.confirm(state, "n1")
    mux.watch("b", ("y",), "two")
    assert mux.take_requests() == [DeltaRequest("b", subscribe=("y",))]
    mux.paused.discard("a")
    assert mux.take_requests() == [DeltaRequest("a", "n1")]


@dataclass
class Client:
    """What a control plane knows of one type on a stream."""

    wanted: set[str] = field(default_factory=set)
    #: What the proxy is known to have.
    has: dict[str, str] = field(default_factory=dict)
    is_begun: bool = False


class Streams(RuleBasedStateMachine):
    """A control plane whose resources change, and watches that come and go; streams break.

    It sends a proxy exactly what it lacks, by what the proxy said of itself, and in the end the proxy has
    what there is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mux: DeltaMux[str] = DeltaMux()
        self.watches: list[Watch[str]] = []
        self.clients: dict[str, Client] = {}
        self.resources: dict[str, dict[str, str]] = {kind: {} for kind in TYPES}
        self.taken: dict[str, dict[str, str]] = {kind: {} for kind in TYPES}
        self.count = 0

    @rule()
    def open(self) -> None:
        self.mux.closed()
        self.clients = {}
        self.mux.opened()

    @rule()
    def close(self) -> None:
        self.mux.closed()
        self.clients = {}

    @rule(kind=st.sampled_from(TYPES), names=st.sets(st.sampled_from(NAMES), min_size=1))
    def watch(self, kind: str, names: set[str]) -> None:
        self.watches.append(self.mux.watch(kind, tuple(names), "somebody"))

    @rule(number=st.integers(0, 9))
    def unwatch(self, number: int) -> None:
        if number < len(self.watches):
            watch = self.watches.pop(number)
            self.mux.unwatch(watch)
            kind = watch.of.type_url
            for name in set(self.taken[kind]) - self.wanted(kind):
                del self.taken[kind][name]

    @rule(kind=st.sampled_from(TYPES), name=st.sampled_from(NAMES), is_there=st.booleans())
    def change(self, kind: str, name: str, is_there: bool) -> None:
        self.count += 1
        if is_there:
            self.resources[kind][name] = str(self.count)
        else:
            self.resources[kind].pop(name, None)

    @rule(kind=st.sampled_from(TYPES), is_good=st.booleans())
    def answer(self, kind: str, is_good: bool) -> None:
        self.flush()
        client = self.clients.get(kind)
        if client is None or not self.mux.is_open:
            return
        have = {name: each for name, each in self.resources[kind].items() if name in client.wanted}
        came = [(name, each) for name, each in have.items() if client.has.get(name) != each]
        went = [name for name in client.has if name not in self.resources[kind]]
        self.count += 1
        state = self.mux.state_of(kind)
        assert state is not None
        if not is_good:
            self.mux.confirm(state, f"n{self.count}", "no")
            return
        client.has = have
        for name in state.take(came, went):
            self.taken[kind][name] = have[name]
        for name in went:
            self.taken[kind].pop(name, None)
        self.mux.confirm(state, f"n{self.count}")

    def wanted(self, kind: str) -> set[str]:
        return {n for w in self.watches if w.of.type_url == kind for n in w.names or ()}

    def flush(self) -> None:
        for request in self.mux.take_requests():
            client = self.clients.setdefault(request.type_url, Client())
            if not client.is_begun:
                client.is_begun = True
                client.has = dict(request.initial_versions)
                assert client.has == self.taken[request.type_url]
            else:
                assert not request.initial_versions
            for name in request.subscribe:
                client.wanted.add(name)
                if name not in dict(request.initial_versions):
                    client.has.pop(name, None)
            for name in request.unsubscribe:
                client.wanted.discard(name)
                client.has.pop(name, None)

    @invariant()
    def both_sides_agree(self) -> None:
        self.flush()
        if not self.mux.is_open:
            return
        for kind in TYPES:
            client = self.clients.get(kind, Client())
            assert client.wanted == self.wanted(kind)
            assert client.has == {
                name: version for name, version in self.taken[kind].items() if name in client.has
            }

    def teardown(self) -> None:
        self.open()
        for kind in TYPES:
            self.answer(kind, is_good=True)
            wanted = self.wanted(kind)
            there = {name: each for name, each in self.resources[kind].items() if name in wanted}
            assert self.taken[kind] == there


Streams.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStreams = Streams.TestCase


def test_virtual_hosts_come_unasked_and_are_asked_for_by_name() -> None:
    mux: DeltaMux[str] = DeltaMux()
    watch = mux.watch(VIRTUAL_HOST, ("routes",), "who")
    mux.opened()
    (first,) = mux.take_requests()
    assert (first.subscribe, first.unsubscribe) == ((), ())
    state = mux.state_of(VIRTUAL_HOST)
    assert state is not None
    assert state.interested_in("routes/host") == [watch]
    assert state.interested_in("others/host") == []
    state.want(("routes/host",))
    (second,) = mux.take_requests()
    assert second.subscribe == ("routes/host",)
    mux.unwatch(watch)
    assert mux.take_requests() == []


def test_more_is_asked_for_once_beside_what_comes_by_itself() -> None:
    mux: DeltaMux[str] = DeltaMux()
    mux.opened()
    mux.watch("a", None, "all")
    watch = mux.watch("a", (), "on demand")
    mux.take_requests()
    state = mux.state_of("a")
    assert state is not None
    state.request_more(watch, ("x",))
    state.request_more(watch, ("x",))
    assert mux.take_requests() == [DeltaRequest("a", subscribe=("x",))]
    assert watch in state.interested_in("x")
    assert watch not in state.interested_in("y")
    state.request_more(watch, ("x",))
    assert mux.take_requests() == []
    mux.unwatch(watch)
    assert mux.take_requests() == [DeltaRequest("a", unsubscribe=("x",))]


def test_who_wants_all_hears_first() -> None:
    mux: DeltaMux[str] = DeltaMux()
    named = mux.watch("a", ("x",), "named")
    everything = mux.watch("a", None, "all")
    state = mux.state_of("a")
    assert state is not None
    assert state.interested_in("x") == [everything, named]
