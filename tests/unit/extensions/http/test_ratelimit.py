"""What conformance cannot show of rate limits by a service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.rate_limit import Descriptor, Override
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.ratelimit import _hits_addend, _sendable, _unsendable
from sidecar.extensions.ratelimit.service_messages import ERROR, answer_of, question


def a_stream(**more: Any) -> Any:
    headers = RequestHeaders(b"GET", b"/?q=1", b"a", b"http", [(b"x-a", b"1")])
    found = {"dynamic_metadata": None, "remote_address": "[2001:db8::1]:80", "filter_state": None, **more}
    return SimpleNamespace(request=SimpleNamespace(headers=headers), **found)


@pytest.mark.parametrize(
    ("state", "hits"),
    [
        (None, 0),
        ({}, 0),
        ({"envoy.ratelimit.hits_addend": b"3"}, 3),
        ({"envoy.ratelimit.hits_addend": "x"}, 0),
    ],
)
def test_hits_of_the_filter_state(state: Any, hits: int) -> None:
    assert _hits_addend(a_stream(filter_state=state)) == hits


def test_answer_that_is_no_message_is_an_error() -> None:
    assert answer_of(b"\xff").verdict == ERROR


def test_headers_that_cannot_be_sent() -> None:
    bad = [(b"x", b"a\r\nb: c"), (b"y", b"good")]
    assert _sendable(bad) == [(b"y", b"good")]
    reply = _unsendable(bad)
    assert reply is not None
    assert (reply.status, reply.body) == (503, b"invalid header value for: x")
    assert _unsendable(bad[1:]) is None


def test_question_of_odd_bytes_is_a_message() -> None:
    assert question("d", [Descriptor(((b"k", b"\xff"),), limit=Override(1, 2), hits_addend=0)])
