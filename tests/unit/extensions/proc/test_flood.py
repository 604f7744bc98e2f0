"""A processor that says more than goes on: what comes waits at the processor, not here."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from sidecar.config.messages import message_class
from sidecar.extensions.proc.exchange import Exchange, Settings
from sidecar.extensions.proc.modes import FULL_DUPLEX_STREAMED, Mode
from sidecar.extensions.proc.proc_log import ProcLog
from sidecar.extensions.proc.side import HEADERS, STREAMED_BODY

_LIMIT = 1000


class _Counters(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        self[name] = SimpleNamespace(value=0)
        return self[name]


def _piece(size: int) -> bytes:
    cls: Any = message_class("envoy.service.ext_proc.v3.ProcessingResponse")
    message = cls()
    message.request_body.response.body_mutation.streamed_response.body = bytes(size)
    data: bytes = message.SerializeToString()
    return data


def _exchange(pieces: int) -> Any:
    """An exchange whose request's head is done, and a processor that has said so many pieces of 600 bytes."""
    hcm = SimpleNamespace(
        reactor=SimpleNamespace(),
        max_headers_count=100,
        max_request_headers_bytes=60000,
        buffer_limit_bytes=_LIMIT,
    )
    settings = Settings(mode=Mode(request_body=FULL_DUPLEX_STREAMED))
    stream: Any = SimpleNamespace(hcm=hcm)
    exchange: Any = Exchange(stream, settings, SimpleNamespace(), _Counters(), ProcLog())  # type: ignore[arg-type]
    messages = deque(_piece(600) for _ in range(pieces))
    exchange.call = SimpleNamespace(
        messages=messages, take_message=lambda: messages.popleft() if messages else None, is_done=False
    )
    exchange.main = SimpleNamespace()
    exchange.request.state = STREAMED_BODY
    return exchange


def test_pieces_wait_at_the_processor_until_others_have_gone_on() -> None:
    exchange = _exchange(100)
    exchange._on_event(exchange.call)
    request = exchange.request
    assert _LIMIT < request.out_bytes <= _LIMIT + 600
    taken = 0
    while request.out:
        request.take_out()
        taken += 1
        assert request.out_bytes <= _LIMIT + 600
    assert taken == 100
    assert not exchange.call.messages


def test_answer_behind_pieces_is_waited_for_with_more_room_which_ends_too() -> None:
    exchange = _exchange(100)
    exchange.response.state = HEADERS
    exchange.response.is_pending = True
    exchange._on_event(exchange.call)
    assert 10 * _LIMIT < exchange.request.out_bytes <= 16 * _LIMIT + 600
    assert exchange.call.messages
