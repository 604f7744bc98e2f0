"""An entry that is written by hand says what protobuf's own message says, whatever a stream has met."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sidecar.api.stream import Flag
from sidecar.api.wire import StreamWire
from sidecar.config.messages import message_class
from sidecar.extensions.access_loggers.entry_messages import EntrySettings, encode_tcp_entry
from sidecar.extensions.access_loggers.entry_wire import encode_http_entry
from tests.unit.observability.streams import START_NS, Cluster, Connection, Host, Route, make_stream

_HTTP: Any = message_class("envoy.data.accesslog.v3.HTTPAccessLogEntry")
_TCP: Any = message_class("envoy.data.accesslog.v3.TCPAccessLogEntry")
_SETTINGS = EntrySettings()
_METHODS = {b"GET": 1, b"POST": 3, b"PATCH": 9, b"BREW": 0}

_edges = st.sampled_from([0, 1, 127, 128, 1023, 1024, 16383, 16384, (1 << 28) - 1, 1 << 28, 10**9, 1 << 35])
_sizes = st.one_of(_edges, st.integers(0, 1 << 40))
#: Nanoseconds behind the start; those before it did not happen.
_moments = st.one_of(st.just(-START_NS), _edges, st.integers(-5, 1 << 36))
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_long = st.one_of(_texts, st.text("ab", min_size=600, max_size=1100))
_addresses = st.sampled_from(["10.0.0.1:80", "[2001:db8::2]:65535", "/run/a.sock", "10.0.0.2:1"])


class _Named:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _connection(data: st.DataObject) -> Connection:
    made: Any = Connection()
    for name in ("remote_address", "local_address", "direct_remote_address"):
        setattr(made, name, data.draw(_addresses))
    made.transport_failure_reason = data.draw(_texts)
    made.requested_server_name = data.draw(st.sampled_from(["", "a.example"]))
    return made  # type: ignore[no-any-return]


def _stream(data: st.DataObject) -> Any:
    stream: Any = make_stream(path=data.draw(_long).encode(), response=[(b"x", data.draw(_texts).encode())])
    stream.connection = _connection(data)
    stream.remote_address = data.draw(st.sampled_from(["", "192.0.2.1:0"]))
    stream.protocol = data.draw(st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/2", ""]))
    stream.start_time = data.draw(st.floats(0, 4e9))
    for name in ("request_last_rx_ns", "upstream_first_tx_ns"):
        setattr(stream, name, START_NS + data.draw(_moments))
    if stream.upstream_first_tx_ns >= START_NS:  # the others happen behind it
        for name in ("upstream_last_tx_ns", "upstream_first_rx_ns", "upstream_last_rx_ns"):
            setattr(stream, name, START_NS + data.draw(_moments))
    stream.downstream_last_tx_ns = START_NS + data.draw(st.one_of(_edges, st.integers(0, 1 << 36)))
    stream.access_log_type = data.draw(st.sampled_from(["DownstreamEnd", "DownstreamStart", "NotSet"]))
    if data.draw(st.booleans()):
        stream.upstream_host = _Named(address=data.draw(_addresses))
        stream.cluster = data.draw(st.sampled_from([None, Cluster()]))
        stream.upstream_local_address = data.draw(st.sampled_from(["", "10.0.0.7:999"]))
        stream.route = data.draw(st.sampled_from([None, Route()]))
    stream.upstream_transport_failure = data.draw(_texts)
    stream.connection_termination_details = data.draw(_texts)
    stream.attempt_count = data.draw(_edges.filter(lambda number: number < 1 << 30))
    stream.request_id = data.draw(st.one_of(st.none(), st.binary(max_size=40)))
    stream.flags = data.draw(
        st.sampled_from([0, Flag.NO_ROUTE_FOUND, Flag.RATE_LIMITED | Flag.DELAY_INJECTED])
    )
    stream.response_code = data.draw(st.sampled_from([0, 100, 200, 503]))
    stream.details = data.draw(st.sampled_from(["", "via_upstream", "no route", "a" * 700]))
    stream.bytes_received, stream.bytes_sent = data.draw(_sizes), data.draw(_sizes)
    headers = stream.request.headers
    headers.method = data.draw(st.sampled_from(sorted(_METHODS)))
    headers.authority = data.draw(st.one_of(st.none(), _long.map(str.encode)))
    for name in data.draw(
        st.lists(
            st.sampled_from([b"user-agent", b"referer", b"x-forwarded-for", b"x-request-id"]), max_size=6
        )
    ):
        headers.add(name, data.draw(_long).encode())
    return stream


def _wire(data: st.DataObject, stream: Any) -> None:
    if data.draw(st.booleans()):
        wire = stream.wire = StreamWire()
        for side in (wire.down, wire.up):
            for name in ("received", "sent", "header_received", "header_sent"):
                setattr(side, name, data.draw(_sizes))


def _expected(stream: Any) -> Any:
    """The entry, field by field."""
    entry = _HTTP()
    wire = stream.wire
    common = entry.common_properties
    common.CopyFrom(_TCP.FromString(encode_tcp_entry(stream, _SETTINGS)).common_properties)
    for name, value in (
        ("downstream_wire_bytes_sent", wire and wire.down.sent),
        ("downstream_wire_bytes_received", wire and wire.down.received),
        ("upstream_wire_bytes_sent", wire and wire.up.sent),
        ("upstream_wire_bytes_received", wire and wire.up.received),
    ):
        setattr(common, name, value or 0)
    entry.protocol_version = {"HTTP/1.0": 1, "HTTP/1.1": 2, "HTTP/2": 3}.get(stream.protocol, 0)
    headers = stream.request.headers
    request = entry.request
    request.request_method = _METHODS[headers.method]
    request.scheme = "http"
    request.path = headers.path.decode()
    request.authority = (headers.authority or b"").decode()
    for name in ("user_agent", "referer", "request_id"):
        key = b"x-request-id" if name == "request_id" else name.encode().replace(b"_", b"-")
        setattr(request, name, (headers.get(key) or b"").decode())
    request.forwarded_for = (headers.get(b"x-forwarded-for") or b"").decode()
    request.request_headers_bytes = sum(len(name) + len(value) for name, value in headers)
    request.request_body_bytes = stream.bytes_received
    response = entry.response
    response.SetInParent()
    if stream.response_code:
        response.response_code.value = stream.response_code
    response.response_code_details = "_".join(stream.details.split(" "))
    response.response_headers_bytes = sum(len(name) + len(value) for name, value in stream.response_headers)
    response.response_body_bytes = stream.bytes_sent
    if wire is not None:
        request.upstream_header_bytes_sent = wire.up.header_sent
        request.downstream_header_bytes_received = wire.down.header_received
        response.upstream_header_bytes_received = wire.up.header_received
        response.downstream_header_bytes_sent = wire.down.header_sent
    return entry


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_entry_says_what_the_message_says(data: st.DataObject) -> None:
    stream = _stream(data)
    _wire(data, stream)
    expected = _expected(stream)
    for _ in range(2):  # the second is made of what the first kept
        entry = _HTTP.FromString(encode_http_entry(stream, _SETTINGS))
        got, want = MessageToDict(entry), MessageToDict(expected)
        for part in {*got, *want}:
            if isinstance(want.get(part), dict):
                for key in {*got.get(part, {}), *want[part]}:
                    assert got[part].get(key) == want[part].get(key), key
        assert got == want


def test_host_is_an_address_of_the_lab() -> None:
    stream = make_stream()
    stream.upstream_host = Host()
    entry = _HTTP.FromString(encode_http_entry(stream, _SETTINGS))
    assert entry.common_properties.upstream_remote_address.socket_address.port_value == 80
