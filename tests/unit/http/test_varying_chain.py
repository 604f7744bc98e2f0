"""Filters that are on for some routes: which hooks run, in which order, and for which streams."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.http.varying_chain import VaryingChain, hooks_of

DENIED = LocalReply(403)


class Logs(HttpFilter):
    """Writes down what is called; answers when told to, at once or after waiting."""

    uses_trio = False

    def __init__(
        self, name: str, log: list[str], answer: LocalReply | None = None, *, waits: bool = False
    ) -> None:
        self.config_name = name
        self._log = log
        self._answer = answer
        self._waits = waits

    def _called(self, direction: str) -> Any:
        self._log.append(f"{direction} {self.config_name}")
        return self._later() if self._waits else self._answer

    async def _later(self) -> LocalReply | None:
        return self._answer

    def decode_headers(self, stream: Any) -> Any:
        return self._called("decode")

    def encode_headers(self, stream: Any) -> Any:
        return self._called("encode")

    def on_complete(self, stream: Any) -> None:
        self._log.append(f"complete {self.config_name}")


def make(*filters: HttpFilter, replies: list[LocalReply] | None = None) -> VaryingChain:
    def resolve(stream: Any) -> None:
        stream.route = stream.found

    return VaryingChain(
        filters, resolve, lambda _, reply: (replies if replies is not None else []).append(reply)
    )


def stream_on(switches: dict[str, bool] | None) -> Any:
    found = None if switches is None else SimpleNamespace(filter_switches=switches)
    return SimpleNamespace(found=found, route=None, filter_hooks=None)


async def run(chain: VaryingChain, stream: Any) -> LocalReply | None:
    reply: Any = chain.decode(stream)
    if reply is not None and not isinstance(reply, LocalReply):
        reply = await reply
    waiting = chain.encode(stream)
    if waiting is not None:
        await waiting
    chain.complete(stream)
    return reply  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("switches", "on"),
    [
        (None, "ac"),
        ({}, "ac"),
        ({"a": True}, "c"),
        ({"b": False}, "abc"),
        ({"a": True, "c": True}, ""),
        ({"x": True}, "ac"),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
async def test_filters_that_are_on_run_in_order(switches: Any, on: str, waits: bool) -> None:
    log: list[str] = []
    filters = [Logs(name, log, waits=waits) for name in "abc"]
    filters[1].is_disabled = True
    chain = make(*filters)
    for _ in range(2):
        log.clear()
        assert await run(chain, stream_on(switches)) is None
        decoded, encoded = [f"decode {each}" for each in on], [f"encode {each}" for each in reversed(on)]
        assert log == [*decoded, *encoded, *(f"complete {each}" for each in on)]


@pytest.mark.parametrize("waits", [False, True])
async def test_answer_ends_the_request_and_passes_all_on_its_way_back(waits: bool) -> None:
    log: list[str] = []
    chain = make(
        Logs("a", log, waits=waits), Logs("b", log, DENIED, waits=waits), Logs("c", log, waits=waits)
    )
    assert await run(chain, stream_on({})) is DENIED
    assert log[:5] == ["decode a", "decode b", "encode c", "encode b", "encode a"]


@pytest.mark.parametrize("waits", [False, True])
async def test_answer_of_an_encoder_takes_the_place_of_the_response(waits: bool) -> None:
    log: list[str] = []
    replies: list[LocalReply] = []
    chain = make(
        Logs("a", log), Logs("b", log, DENIED, waits=waits), Logs("c", log, waits=waits), replies=replies
    )
    waiting = chain.encode(stream_on({}))
    if waiting is not None:
        await waiting
    assert log == ["encode c", "encode b", "encode a"]
    assert replies == [DENIED]


async def test_route_that_is_found_later_changes_nothing() -> None:
    log: list[str] = []
    chain = make(Logs("a", log))
    stream = stream_on({"a": True})
    chain.decode(stream)
    stream.route = None
    chain.encode(stream)
    chain.complete(stream)
    assert log == []


def test_stream_that_never_had_a_route_has_what_is_on_by_default() -> None:
    log: list[str] = []
    filters = [Logs("a", log), Logs("b", log)]
    filters[1].is_disabled = True
    chain = make(*filters)
    chain.encode(stream_on(None))
    assert log == ["encode a"]


def test_hooks_that_are_not_overridden_are_left_out() -> None:
    hooks = hooks_of((HttpFilter(),))
    assert (hooks.decode, hooks.encode, hooks.complete) == ((), (), ())


async def test_router_that_a_route_turns_off_routes_all_the_same() -> None:
    """The router is no filter of the chain: it ends it, whatever a route says of it."""
    log: list[str] = []
    chain = make(Logs("a", log))
    assert await run(chain, stream_on({"envoy.filters.http.router": True})) is None
    assert log == ["decode a", "encode a", "complete a"]
