"""Requests for taps, and where their traces go."""

from __future__ import annotations

import pytest

from sidecar.admin.api import AdminApi
from sidecar.admin.tap import Gathering
from sidecar.api.taps import Attached, Tap, TapPoint
from sidecar.core.exchange_match import ExchangePredicate
from tests.unit.admin.admin_state import FakeServer

BODY = b"{config_id: one, tap_config: {match: {any_match: true}, output_config: {sinks: [{%s}]}}}"
ALL = ExchangePredicate((), lambda found: True)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def test_without_a_filter_to_tap_there_is_no_such_path(server: FakeServer) -> None:
    answer = AdminApi(server).handle(b"POST", b"/tap", BODY % b"streaming_admin: {}")
    assert answer.status == 404
    assert b"/tap" not in answer.body


@pytest.mark.parametrize(
    ("sink", "reason"),
    [
        (b"streaming_admin: {}, format: PROTO_TEXT", b"streaming_admin has no format PROTO_TEXT"),
        (
            b"streaming_grpc: {grpc_service: {envoy_grpc: {cluster_name: a}}}",
            b"streaming_grpc is not supported",
        ),
        (b"buffered_admin: {}", b"max_traces"),
    ],
)
def test_what_makes_envoy_abort_is_a_bad_request(server: FakeServer, sink: bytes, reason: bytes) -> None:
    server.taps.register("one", TapPoint())
    answer = AdminApi(server).handle(b"POST", b"/tap", BODY % sink)
    assert answer.status == 400
    assert reason in answer.body


def test_tap_is_put_into_points_of_its_id_those_too_that_come_later(server: FakeServer) -> None:
    first, other, later = TapPoint(), TapPoint(), TapPoint()
    server.taps.register("one", first)
    server.taps.register("two", other)
    answer = AdminApi(server).handle(b"POST", b"/tap", BODY % b"streaming_admin: {}")
    assert answer.tap is not None
    server.taps.attach(answer.tap[1])
    forget = server.taps.register("one", later)
    assert (first.tap, other.tap, later.tap) == (answer.tap[1].tap, None, answer.tap[1].tap)
    second = AdminApi(server).handle(b"POST", b"/tap", BODY % b"streaming_admin: {}")
    assert (second.status, second.body) == (400, b"An attached /tap admin stream already exists. Detach it.")
    server.taps.detach()
    forget()
    assert (first.tap, server.taps.attached) == (None, None)


def test_gathered_traces_are_sent_together_and_no_more_of_them() -> None:
    sent: list[bytes] = []
    tap = Tap(ALL, "JSON_BODY_AS_BYTES", "buffered_admin", max_traces=2)
    gathering = Gathering(Attached("one", tap), sent.append, lambda: sent.append(b"end"))
    gathering.attached.emit(b"1")
    assert sent == []
    gathering.attached.emit(b"2")
    gathering.attached.emit(b"3")
    gathering.finish()
    assert sent == [b"1", b"2", b"end"]


def test_time_that_is_over_gives_what_there_is() -> None:
    sent: list[bytes] = []
    tap = Tap(ALL, "JSON_BODY_AS_BYTES", "buffered_admin", max_traces=9)
    gathering = Gathering(Attached("one", tap), sent.append, lambda: sent.append(b"end"))
    gathering.take(b"1")
    gathering.finish()
    assert sent == [b"1", b"end"]
