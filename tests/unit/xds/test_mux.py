"""One stream of discovery: whatever comes in whatever order, both sides end with the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.xds.mux import Mux, Request, Watch

TYPES = ("a", "b")
NAMES = ("x", "y", "z")


def test_everything_is_asked_for_again_with_its_version() -> None:
    mux: Mux[str] = Mux()
    mux.watch("a", ("x",), "one")
    assert mux.take_requests() == []
    mux.opened()
    assert mux.take_requests() == [Request("a", "", "", ("x",))]
    state = mux.answered("a", "n1")
    assert state is not None
    mux.accept(state, "v1")
    assert mux.take_requests() == [Request("a", "v1", "n1", ("x",))]
    mux.closed()
    mux.opened()
    assert mux.take_requests() == [Request("a", "v1", "", ("x",))]


def test_an_answer_that_is_refused_keeps_the_version_before() -> None:
    mux: Mux[str] = Mux()
    mux.watch("a", None, "all")
    mux.opened()
    mux.take_requests()
    state = mux.answered("a", "n1")
    assert state is not None
    mux.refuse(state, "why")
    assert mux.take_requests() == [Request("a", "", "n1", (), "why")]


def test_nothing_is_said_of_a_type_that_is_paused() -> None:
    mux: Mux[str] = Mux()
    mux.opened()
    mux.paused.add("a")
    mux.watch("a", ("x",), "one")
    mux.watch("b", ("x",), "two")
    assert [each.type_url for each in mux.take_requests()] == ["b"]
    mux.paused.discard("a")
    assert [each.type_url for each in mux.take_requests()] == ["a"]


@dataclass
class Server:
    """A control plane that knows what was asked of it last, and what was confirmed."""

    wanted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    confirmed: dict[str, str] = field(default_factory=dict)


class Streams(RuleBasedStateMachine):
    """Watches come and go, streams break, answers are taken and refused."""

    def __init__(self) -> None:
        super().__init__()
        self.mux: Mux[str] = Mux()
        self.server = Server()
        self.watches: list[Watch[str]] = []
        self.taken: dict[str, str] = {}
        self.count = 0

    @rule()
    def open(self) -> None:
        if self.mux.is_open:
            self.mux.closed()
        self.server = Server(confirmed=self.server.confirmed)
        self.mux.opened()

    @rule(kind=st.sampled_from(TYPES), names=st.sets(st.sampled_from(NAMES), min_size=1))
    def watch(self, kind: str, names: set[str]) -> None:
        self.watches.append(self.mux.watch(kind, tuple(names), "somebody"))

    @rule(number=st.integers(0, 9))
    def unwatch(self, number: int) -> None:
        if number < len(self.watches):
            self.mux.unwatch(self.watches.pop(number))

    @rule(kind=st.sampled_from(TYPES), is_good=st.booleans())
    def answer(self, kind: str, is_good: bool) -> None:
        self.flush()
        if kind not in self.server.wanted:
            return
        self.count += 1
        version, nonce = f"v{self.count}", f"n{self.count}"
        self.server.sent[kind] = (version, nonce)
        state = self.mux.answered(kind, nonce)
        assert state is not None
        if is_good:
            self.mux.accept(state, version)
            self.taken[kind] = version
        else:
            self.mux.refuse(state, "no")

    def flush(self) -> None:
        for request in self.mux.take_requests():
            kind = request.type_url
            self.server.wanted[kind] = request.names
            assert request.version == self.taken.get(kind, "")
            sent = self.server.sent.get(kind)
            assert request.nonce == (sent[1] if sent is not None else "")
            if sent is not None and request.version == sent[0]:
                self.server.confirmed[kind] = request.version

    @invariant()
    def both_sides_agree(self) -> None:
        self.flush()
        if not self.mux.is_open:
            return
        for kind in TYPES:
            wanted = {n for w in self.watches if w.of.type_url == kind for n in w.names or ()}
            if wanted:
                assert set(self.server.wanted[kind]) == wanted
            if kind in self.server.confirmed:
                assert self.server.confirmed[kind] == self.taken[kind]


Streams.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStreams = Streams.TestCase


def test_names_are_sorted() -> None:
    mux: Mux[str] = Mux()
    mux.opened()
    for name in ("b", "c", "a"):
        mux.watch("type", (name,), name)
    (request,) = mux.take_requests()
    assert request.names == ("a", "b", "c")
