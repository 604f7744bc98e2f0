"""Access logs to a service: what is kept, sent and dropped, and what an entry says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.api.stream import FLAG_NAMES, Flag
from sidecar.config.messages import message_class
from sidecar.extensions.access_loggers.batches import Batches, BatchLogger, BatchStats
from sidecar.extensions.access_loggers.entry_messages import (
    EntrySettings,
    LogBatch,
    encode_tcp_entry,
)
from sidecar.extensions.access_loggers.entry_wire import encode_http_entry
from sidecar.extensions.access_loggers.service_logger import METHOD, LogStream
from sidecar.observability.stats import Store
from tests.unit.observability.streams import make_stream

_SETTINGS = EntrySettings()


def _put(batch: LogBatch, stream: Any) -> None:
    batch.add(stream, encode_http_entry, _SETTINGS)


class _Stream:
    """A stream of gRPC made by hand."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.has_room = True
        self.is_done = self.has_ended = False
        self.status = None
        self.on_event: Callable[[Any], None] | None = None

    def try_send(self, message: bytes) -> bool:
        if self.has_room:
            cls: Any = message_class("envoy.service.accesslog.v3.StreamAccessLogsMessage")
            self.sent.append(cls.FromString(message))
        return self.has_room

    def take_message(self) -> bytes | None:
        return None

    def end(self) -> None:
        self.has_ended = True

    def finish(self) -> None:
        self.is_done = True
        assert self.on_event is not None
        self.on_event(self)


class _Client:
    def __init__(self) -> None:
        self.streams: list[_Stream] = []

    def stream(self, path: bytes) -> _Stream:
        assert path == METHOD
        self.streams.append(_Stream())
        return self.streams[-1]


class _Service:
    def __init__(self, buffer_bytes: int) -> None:
        self.client: Any = _Client()
        self.store = Store()
        outlet = LogStream(self.client, log_name="name", node=b"\x0a\x02id", is_tcp=False)
        self.batches = Batches(outlet, BatchStats(self.store, "grpc_access_log"), buffer_bytes)
        self.logger = BatchLogger(self.batches, _put)

    def counts(self) -> tuple[int, int]:
        written, dropped = (
            self.store.counters[f"access_logs.grpc_access_log.{name}"].value
            for name in ("logs_written", "logs_dropped")
        )
        return written, dropped


def test_entry_waits_until_there_are_enough() -> None:
    service = _Service(1 << 20)
    service.logger.log(make_stream())
    assert not service.client.streams
    service.batches.flush()
    (stream,) = service.client.streams
    assert [len(each.http_logs.log_entry) for each in stream.sent] == [1]
    assert (stream.sent[0].identifier.log_name, stream.sent[0].identifier.node.id) == ("name", "id")
    service.batches.flush()
    assert len(stream.sent) == 1


def test_what_a_slow_service_does_not_take_is_dropped_and_counted() -> None:
    service = _Service(1)
    service.logger.log(make_stream())
    (stream,) = service.client.streams
    stream.has_room = False
    for _ in range(3):
        service.logger.log(make_stream())
    assert len(stream.sent) == 1
    assert service.counts() == (2, 2)
    stream.has_room = True
    service.batches.flush()
    assert len(stream.sent) == 2
    assert not stream.sent[1].HasField("identifier")


def test_stream_that_ended_is_made_anew_and_says_again_who_sends() -> None:
    service = _Service(0)
    service.logger.log(make_stream())
    service.client.streams[0].finish()
    service.logger.log(make_stream())
    assert [len(each.sent) for each in service.client.streams] == [1, 1]
    assert service.client.streams[1].sent[0].identifier.log_name == "name"


def test_last_logger_sends_what_waits_and_ends_the_stream() -> None:
    service = _Service(1 << 20)
    other = BatchLogger(service.batches, _put, wanted=lambda stream: False)
    service.logger.log(make_stream())
    other.log(make_stream())
    service.logger.close()
    assert not service.client.streams
    other.close()
    (stream,) = service.client.streams
    assert [len(each.http_logs.log_entry) for each in stream.sent] == [1]
    assert stream.has_ended


def _entry(stream: Any, settings: EntrySettings = _SETTINGS, *, is_tcp: bool = False) -> Any:
    batch = LogBatch(is_tcp=is_tcp)
    batch.add(stream, encode_tcp_entry if is_tcp else encode_http_entry, settings)
    cls: Any = message_class("envoy.service.accesslog.v3.StreamAccessLogsMessage")
    message = cls.FromString(batch.encode())
    (entry,) = (message.tcp_logs if is_tcp else message.http_logs).log_entry
    assert batch.size == entry.ByteSize()
    return entry


@pytest.mark.parametrize("flag", [flag for flag, _, _ in FLAG_NAMES], ids=lambda flag: Flag(flag).name)
def test_flag_has_a_field(flag: int) -> None:
    stream = make_stream()
    stream.flags = flag
    flags = _entry(stream).common_properties.response_flags
    fields = [field.name for field, _ in flags.ListFields()]
    # Envoy's message has none for the two ways to shed load.
    assert len(fields) == (0 if flag in (Flag.DROP_OVERLOAD, Flag.UNCONDITIONAL_DROP_OVERLOAD) else 1)


def test_entry_of_a_connection_counts_its_bytes() -> None:
    stream = make_stream()
    stream.bytes_received, stream.bytes_sent = 3, 5
    entry = _entry(stream, is_tcp=True)
    assert (entry.connection_properties.received_bytes, entry.connection_properties.sent_bytes) == (3, 5)
    assert entry.common_properties.downstream_wire_bytes_received == 3


def test_filter_state_is_text_or_a_struct() -> None:
    stream = make_stream()
    stream.filter_state = {"text": "value", "bytes": b"\xffx"}
    state = _entry(stream, EntrySettings(filter_state=("text", "bytes", "missing"))).common_properties
    assert sorted(state.filter_state_objects) == ["bytes", "text"]
    assert state.filter_state_objects["text"].type_url.endswith("google.protobuf.StringValue")
    assert state.filter_state_objects["bytes"].value == b"\x0a\x02!x"


def test_header_that_is_no_utf_8_stays_readable() -> None:
    stream = make_stream(fields=[(b"user-agent", b"a\xff\xfeb"), (b"x-one", b"\xc3\xa4")])
    request = _entry(stream, EntrySettings(request_headers=("x-one", "x-none", ":method"))).request
    assert request.user_agent == "a!!b"
    assert dict(request.request_headers) == {"x-one": "ä", ":method": "GET"}


@pytest.mark.parametrize("number", [1, 127, 128, 16383, 16384, 2097151, 2097152, 1 << 28, 1 << 42])
def test_numbers_of_any_size_are_what_protobuf_reads(number: int) -> None:
    stream = make_stream()
    stream.bytes_received = number
    stream.start_ns = 1
    stream.request_last_rx_ns = 1 + number * 1_000_000
    entry = _entry(stream)
    assert entry.request.request_body_bytes == number
    assert entry.common_properties.time_to_last_rx_byte.ToMilliseconds() == number


def test_text_that_is_no_utf8_is_told_all_the_same() -> None:
    stream = make_stream()
    stream.request.headers.set(b"user-agent", b"caf\xc3\xa9 \xff")
    assert _entry(stream).request.user_agent == "café !"
