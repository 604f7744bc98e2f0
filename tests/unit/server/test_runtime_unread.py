"""Runtime keys that nothing reads are told of."""

from __future__ import annotations

import logging

import pytest

from sidecar.core.runtime import Entry, Layer, Runtime
from sidecar.server.runtime_unread import UnreadKeys


def test_key_of_a_layer_that_nobody_asked_about_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    static, live = (
        Layer("static", {"a.known": Entry("1", integer=1), "a.typo": Entry("1", integer=1)}),
        Layer("live"),
    )
    runtime = Runtime([static, live], is_live=True)
    known = runtime.number("a.known", 5)
    told: list[tuple[str, str]] = []
    UnreadKeys(runtime, lambda path, reason: told.append((path, reason)))
    assert told == [("layered_runtime.layers[0]", "nothing that is configured reads the key 'a.typo'")]
    live.values = {"a.known": Entry("2", integer=2), "another": Entry("1", integer=1)}
    with caplog.at_level(logging.WARNING):
        runtime.changed()
        runtime.changed()
    assert known.value == 2
    assert [record.getMessage() for record in caplog.records] == [
        "nothing that is configured reads the runtime key 'another'"
    ]


@pytest.mark.parametrize("way", ["flag", "fraction", "integer", "follows"])
def test_every_way_to_ask_counts(way: str) -> None:
    runtime = Runtime([Layer("static", {"key": Entry("1", integer=1)})])
    assert runtime.unread() == ["key"]
    arguments = {"flag": (True,), "fraction": (1, 100), "integer": (1,), "follows": ()}[way]
    getattr(runtime, way)("key", *arguments)
    assert runtime.unread() == []
