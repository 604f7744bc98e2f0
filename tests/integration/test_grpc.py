"""gRPC through a whole proxy with grpcio on both sides: every kind of call, deadlines, cancels, metadata."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from proxy_process import RunningProxy, running_proxy

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}"
_HTTP2 = f"""{{
        {_OPTIONS}: {{
          "@type": type.googleapis.com/{_OPTIONS},
          explicit_http_config: {{http2_protocol_options: {{}}}}}}}}"""
_CONFIG = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9901}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: /pkg.Dead/}}, route: {{cluster: dead}}}}
              - {{match: {{prefix: /pkg.Slow/}}, route: {{cluster: app, timeout: 0.2s}}}}
              - {{match: {{prefix: /pkg.Echo/}}, route: {{cluster: app, timeout: 0s}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {_EXTENSIONS}.filters.http.router.v3.Router}}
  clusters:
  - name: app
    type: STATIC
    load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{_ENDPOINT % 20000}]}}]}}
    typed_extension_protocol_options: {_HTTP2}
  - name: dead
    type: STATIC
    load_assignment: {{cluster_name: dead, endpoints: [{{lb_endpoints: [{_ENDPOINT % 1}]}}]}}
    typed_extension_protocol_options: {_HTTP2}
"""


class Echo:
    """The methods of a service without messages of its own: bytes in, bytes out."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.left_s: float | None = None
        self.cancelled = threading.Event()

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        self.left_s = context.time_remaining()
        context.send_initial_metadata([("x-head", "h" * 3000), ("x-bin-bin", b"\x00\xff")])
        context.set_trailing_metadata([("x-tail", "t" * 3000)])
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode(grpc.StatusCode.NOT_FOUND.value), "not there: 100% \N{SNOWMAN}")
        raise AssertionError

    def slow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(20)
        return request

    def collect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def spread(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(100):
            yield request * number

    def both(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests
        context.set_trailing_metadata([("x-tail", "done")])


_KINDS: dict[str, Callable[..., grpc.RpcMethodHandler]] = {
    "unary": grpc.unary_unary_rpc_method_handler,
    "fail": grpc.unary_unary_rpc_method_handler,
    "slow": grpc.unary_unary_rpc_method_handler,
    "collect": grpc.stream_unary_rpc_method_handler,
    "spread": grpc.unary_stream_rpc_method_handler,
    "both": grpc.stream_stream_rpc_method_handler,
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy("sidecar", _CONFIG, tmp_path_factory.mktemp("grpc")) as running:
        yield running


@pytest.fixture
def echo(proxy: RunningProxy) -> Iterator[Echo]:
    service = Echo()
    handlers = {name: make(getattr(service, name)) for name, make in _KINDS.items()}
    server = grpc.server(futures.ThreadPoolExecutor(8), compression=grpc.Compression.Gzip)
    for name in ("pkg.Echo", "pkg.Slow"):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_insecure_port(f"127.0.0.1:{proxy.ports[20000]}")
    server.start()
    yield service
    server.stop(None).wait()


@pytest.fixture
def channel(proxy: RunningProxy, echo: Echo) -> Iterator[grpc.Channel]:
    # A subchannel of its own: the server of each test is another one.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{proxy.ports[10000]}", options) as made:
        yield made


def test_unary_call_passes_message_metadata_and_deadline(channel: grpc.Channel, echo: Echo) -> None:
    call = channel.unary_unary("/pkg.Echo/unary")
    message = bytes(range(256)) * 12_000
    # gRPC refuses some of the heads above 8 KiB by chance.
    metadata = (("x-mine", "m" * 7000), ("x-mine-bin", b"\x00\x01\xff"))
    answer, done = call.with_call(message, timeout=20, metadata=metadata)
    assert answer == message
    assert echo.metadata["x-mine"] == "m" * 7000
    assert echo.metadata["x-mine-bin"] == b"\x00\x01\xff"
    assert echo.left_s is not None
    assert 10 < echo.left_s <= 20
    head = dict(done.initial_metadata())
    assert head["x-head"] == "h" * 3000
    assert head["x-bin-bin"] == b"\x00\xff"
    assert dict(done.trailing_metadata())["x-tail"] == "t" * 3000


def test_compressed_messages_pass_as_they_are(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/pkg.Echo/unary")
    message = b"compress me " * 50_000
    assert call(message, timeout=20, compression=grpc.Compression.Gzip) == message


def test_error_of_the_server_keeps_code_and_details(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/pkg.Echo/fail")(b"x", timeout=20)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert failed.value.details() == "not there: 100% \N{SNOWMAN}"


def test_streams_of_either_side_pass_whole(channel: grpc.Channel) -> None:
    parts = [bytes([number]) * 5000 for number in range(200)]
    assert channel.stream_unary("/pkg.Echo/collect")(iter(parts), timeout=20) == b"".join(parts)
    answers = list(channel.unary_stream("/pkg.Echo/spread")(b"ab", timeout=20))
    assert answers == [b"ab" * number for number in range(100)]


def test_bidirectional_messages_pass_one_by_one(channel: grpc.Channel) -> None:
    asked: list[bytes] = []
    ready = threading.Semaphore(1)

    def ask() -> Iterator[bytes]:
        # The next message goes out when the answer to the last is here: nothing may wait for the end.
        for number in range(50):
            assert ready.acquire(timeout=10)
            asked.append(b"%d" % number * 100)
            yield asked[-1]

    call = channel.stream_stream("/pkg.Echo/both")(ask(), timeout=20)
    got = []
    for answer in call:
        got.append(answer)
        ready.release()
    assert got == asked
    assert dict(call.trailing_metadata()) == {"x-tail": "done"}


def test_many_calls_share_a_connection(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/pkg.Echo/unary")
    pending = [call.future(b"%d" % number, timeout=20) for number in range(200)]
    assert [each.result() for each in pending] == [b"%d" % number for number in range(200)]


def test_deadline_of_the_client_ends_the_call_at_the_server(channel: grpc.Channel, echo: Echo) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/pkg.Echo/slow")(b"x", timeout=0.3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.cancelled.wait(10)


def test_cancel_of_the_client_reaches_the_server(channel: grpc.Channel, echo: Echo) -> None:
    call = channel.unary_unary("/pkg.Echo/slow").future(b"x", timeout=20)
    threading.Timer(0.1, call.cancel).start()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert echo.cancelled.wait(10)


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("/pkg.Nobody/Method", grpc.StatusCode.UNIMPLEMENTED, ""),
        ("/pkg.Dead/Method", grpc.StatusCode.UNAVAILABLE, "upstream connect error"),
        ("/pkg.Slow/slow", grpc.StatusCode.UNAVAILABLE, "upstream request timeout"),
    ],
)
def test_answer_of_the_proxy_has_a_status_of_grpc(
    channel: grpc.Channel, method: str, code: grpc.StatusCode, details: str
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(method)(b"x", timeout=20)
    assert failed.value.code() is code
    assert failed.value.details().startswith(details)


def test_nothing_is_left_of_the_calls(proxy: RunningProxy) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        stats = proxy.get("/stats?filter=rq_active|streams_active", port=9901).body.decode()
        busy = [
            line for line in stats.splitlines() if not line.startswith("http.admin") and line[-3:] != ": 0"
        ]
        if not busy:
            return
        time.sleep(0.05)
    raise AssertionError(busy)
