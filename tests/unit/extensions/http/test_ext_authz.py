"""What conformance cannot show of external authorization: what Envoy lets through, limits, cancelling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.message import FixedBody, LocalReply, RequestMessage, ResponseMessage
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.core.mutation_rules import APPEND, FAIL, IGNORE, OK, REMOVE, SET, MutationRules
from sidecar.extensions.authz.check_messages import decision_of, sanitized
from sidecar.extensions.authz.decision import DENIED, ERROR, Decision
from sidecar.extensions.authz.decision import OK as ALLOWED
from sidecar.extensions.http.ext_authz import BodySettings, ExtAuthzFilter, RouteCheck, Settings
from sidecar.extensions.http.ext_authz_check import Attributes, Check
from sidecar.extensions.http.ext_authz_mutations import Rejected, RequestMutations, sendable, unsendable
from sidecar.observability.stats import Store


class Service:
    """Answers what it was told to."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[Check] = []

    async def check(self, check: Check) -> Decision:
        self.asked.append(check)
        return self.decision


class FakeStream:
    def __init__(self, body: Any = None, *, route: Any = None, upgrade: bytes | None = None) -> None:
        headers = RequestHeaders(b"GET", b"/a?x=1", b"a.example", b"http", [(b"x-old", b"1")])
        self.request = RequestMessage(headers, body)
        self.route = route or SimpleNamespace(per_filter_config={}, is_forwarding=False, cluster_name="")
        self.connection = SimpleNamespace(dynamic_metadata=None)
        self.dynamic_metadata: dict[str, Any] | None = None
        self.upgrade = upgrade
        self.protocol = "HTTP/1.1"
        self.bytes_received = 0
        stats = SimpleNamespace(downstream_rq_too_large=SimpleNamespace(value=0))
        self.hcm = SimpleNamespace(max_headers_count=100, max_request_headers_bytes=61440, stats=stats)
        self.response: ResponseMessage | None = None
        self.slot: Any = None

    def find_route(self) -> Any:
        return self.route

    def set_slot(self, _slot: int, value: Any) -> None:
        self.slot = value

    def get_slot(self, _slot: int) -> Any:
        return self.slot

    def metadata_namespace(self, name: str) -> dict[str, Any]:
        self.dynamic_metadata = {name: {}}
        return self.dynamic_metadata[name]


def run(awaitable: Any) -> Any:
    """What a coroutine that waits for nothing returns."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def made(decision: Decision, **settings: Any) -> tuple[ExtAuthzFilter, Service, Store]:
    store = Store()
    service = Service(decision)
    found = ExtAuthzFilter(Settings(**settings), Attributes(), service, store.scope("e"), lambda _name: None)
    return found, service, store


def test_response_headers_that_cannot_be_sent_are_left_out() -> None:
    bad = [(b"x-crlf", b"a\r\nx-injected: 1"), (b"x bad", b"v"), (b"X-Good", b"v")]
    decision = Decision(ALLOWED, response_to_add=bad, response_to_set=[(b"y\r\nz", b"v")])
    filter_, _, _ = made(decision)
    stream: Any = FakeStream()
    assert run(filter_.decode_headers(stream)) is None
    stream.response = ResponseMessage(ResponseHeaders(200))
    assert filter_.encode_headers(stream) is None
    assert stream.response.headers.fields == [(b"x-good", b"v")]


def test_headers_of_a_refusal_that_cannot_be_sent_are_left_out() -> None:
    bad = [(b"x-crlf", b"a\r\nx-injected: 1"), (b"set-cookie", b"a"), (b"Set-Cookie", b"b")]
    filter_, _, _ = made(Decision(DENIED, 401, b"no", local_headers=bad))
    reply = run(filter_.decode_headers(FakeStream()))  # type: ignore[arg-type]
    assert reply.headers == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert (reply.status, reply.body, reply.details) == (401, b"no", "ext_authz_denied")
    assert sendable([(b"", b"v")]) == []


def test_request_header_that_cannot_be_sent_stops_the_request() -> None:
    reply = unsendable(Decision(ALLOWED, to_add=[(b"x", b"a\nb")]))
    assert reply is not None
    assert (reply.status, reply.body) == (503, b"invalid header value for: x")
    assert unsendable(Decision(ALLOWED, to_set=[(b"X-Ok", b"a")])) is None


def test_invalid_mutation_is_refused_where_they_are_looked_at() -> None:
    filter_, _, store = made(
        Decision(ALLOWED, to_set=[(b"x", b"a\0")]), mutations=RequestMutations(validates=True)
    )
    reply = run(filter_.decode_headers(FakeStream()))  # type: ignore[arg-type]
    assert (reply.status, reply.details) == (500, "ext_authz_invalid")
    assert store.counter("e.invalid").value == 1


def test_route_without_a_filter_config_and_no_route_at_all() -> None:
    filter_, service, _ = made(Decision(ALLOWED))
    stream: Any = FakeStream()
    stream.route = None
    assert filter_.decode_headers(stream) is None
    assert not service.asked
    stream = FakeStream(route=SimpleNamespace(per_filter_config={"": RouteCheck(disabled=True)}))
    assert filter_.decode_headers(stream) is None
    assert not service.asked


def test_settings_of_a_route_add_their_extensions_to_those_around() -> None:
    other = Service(Decision())
    outer = RouteCheck(context_extensions={"a": "1", "b": "1"}, service=other, body=BodySettings(3))
    inner = RouteCheck(context_extensions={"b": "2"}).within(outer)
    assert dict(inner.context_extensions) == {"a": "1", "b": "2"}
    assert inner.service is None
    assert inner.body is None


@pytest.mark.parametrize(
    ("upgrade", "protocol", "goes_along"),
    [
        (None, "HTTP/1.1", True),
        (b"WebSocket", "HTTP/1.1", False),
        (b"other", "HTTP/1.1", True),
        (b"other", "HTTP/2", False),
        (b"CONNECT", "HTTP/2", True),
    ],
)
def test_body_of_a_tunnel_does_not_go_along(upgrade: bytes | None, protocol: str, goes_along: bool) -> None:
    filter_, service, _ = made(Decision(ALLOWED), body=BodySettings(10))
    stream: Any = FakeStream(FixedBody(b"abc"), upgrade=upgrade)
    stream.protocol = protocol
    run(filter_.decode_headers(stream))
    assert service.asked[0].body == (b"abc" if goes_along else None)


def test_beginning_of_a_longer_body_goes_along_and_all_of_it_goes_on() -> None:
    filter_, service, _ = made(Decision(ALLOWED), body=BodySettings(2, allow_partial_message=True))
    stream: Any = FakeStream(FixedBody(b"abc"))
    run(filter_.decode_headers(stream))
    assert (service.asked[0].body, service.asked[0].is_partial, service.asked[0].received) == (b"ab", True, 3)
    assert run(stream.request.body.receive()) == b"abc"
    assert run(stream.request.body.receive()) == b""


def test_error_is_let_through_or_has_its_status() -> None:
    filter_, _, store = made(Decision(), failure_mode_allow=True, failure_mode_allow_header_add=True)
    stream: Any = FakeStream()
    assert run(filter_.decode_headers(stream)) is None
    assert stream.request.headers.get(b"x-envoy-auth-failure-mode-allowed") == b"true"
    assert store.counter("e.failure_mode_allowed").value == 1
    filter_, _, _ = made(Decision(), status_on_error=503)
    reply = run(filter_.decode_headers(stream))
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.details) == (503, "ext_authz_error")


def test_bytes_that_are_no_text_become_exclamation_marks() -> None:
    assert sanitized(b"a\xff\xe4b\xc3\xa4") == "a!!b\u00e4"
    assert sanitized(b"\xe4\xb8") == "!!"
    assert sanitized(b"\xed\xa0\x80") == "!!!"


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x1a\x02\x1a\x00\x12\x04\x1a\x02\xff\xff"])
def test_answer_that_is_no_message_is_an_error(data: bytes) -> None:
    assert decision_of(data).verdict == ERROR


def test_mutation_rules_in_their_order() -> None:
    rules = MutationRules(
        disallow_all=True,
        allow_expression=lambda name: name.startswith(b"x-yes"),
        disallow_expression=lambda name: name == b"x-yes-not",
    )
    assert rules.check(SET, b"x-yes") == OK
    assert rules.check(SET, b"x-yes-not") == IGNORE
    assert rules.check(SET, b"other") == IGNORE
    rules = MutationRules(disallow_is_error=True)
    assert rules.check(SET, b":path") == OK
    assert rules.check(SET, b":method") == FAIL
    assert rules.check(SET, b"host") == FAIL
    assert rules.check(SET, b"x-envoy-a") == FAIL
    assert rules.check(APPEND, b":path") == FAIL
    assert rules.check(REMOVE, b"host") == FAIL
    assert MutationRules(allow_all_routing=True, allow_envoy=True).check(SET, b":method") == OK
    assert MutationRules(allow_envoy=True).check(SET, b"x-envoy-a") == OK
    assert MutationRules(disallow_system=True).check(SET, b":path") == IGNORE


def test_removal_of_a_name_that_is_none_is_passed_over() -> None:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", [(b"x", b"1")])
    stream: Any = SimpleNamespace(
        request=RequestMessage(headers),
        hcm=SimpleNamespace(max_headers_count=100, max_request_headers_bytes=1000),
    )
    mutations = RequestMutations(validates=True, rules=MutationRules())
    mutations.apply(stream, Decision(ALLOWED, to_remove=[b"a b", b"X", b":path", b"host"]))
    assert headers.fields == []
    assert headers.path == b"/"
    with pytest.raises(Rejected):
        RequestMutations(validates=True).apply(stream, Decision(ALLOWED, query_to_set=[(b"a", b"%41")]))
