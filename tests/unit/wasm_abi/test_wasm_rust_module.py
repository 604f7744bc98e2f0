"""The module that the demo ships, built with the Rust SDK: all that an SDK needs, put together."""

from pathlib import Path

from wasm_guests import FakeStream, Runner

from wasm_abi import AbiVersion, HeadersAction, LogLevel, MapType

MODULE = Path(__file__).resolve().parents[3] / "sidecar" / "demo_assets" / "header_guard.wasm"


def request(path: bytes) -> FakeStream:
    fake = FakeStream((b":path", path), (b":method", b"GET"), (b":authority", b"example.test"))
    fake.maps[MapType.HTTP_RESPONSE_HEADERS] = [(b":status", b"200")]
    return fake


def test_rust_module_marks_a_request_and_its_response(run: Runner) -> None:
    plugin = run.plugin(MODULE.read_bytes())
    fake = request(b"/")
    stream = plugin.create_stream(fake)
    assert plugin.vm.abi is AbiVersion.V0_2_1
    assert stream.on_request_headers(3, True) is HeadersAction.CONTINUE
    assert stream.on_response_headers(1, False) is HeadersAction.CONTINUE
    stream.finish()
    assert (b"x-sidecar-wasm", b"header-guard") in fake.maps[MapType.HTTP_REQUEST_HEADERS]
    assert (b"x-wasm-filter", b"header-guard") in fake.maps[MapType.HTTP_RESPONSE_HEADERS]
    assert fake.events == []


def test_rust_module_answers_a_closed_path_itself(run: Runner) -> None:
    fake = request(b"/admin/users")
    stream = run.stream(MODULE.read_bytes(), fake)
    assert stream.on_request_headers(3, True) is HeadersAction.STOP_ALL_ITERATION_AND_WATERMARK
    ((event, status, _, body, headers, grpc_status),) = fake.events
    assert (event, status, body, grpc_status) == ("local_response", 403, b"forbidden\n", None)
    assert (b"content-type", b"text/plain") in headers
    assert [level for level, _ in run.host.lines] == [LogLevel.INFO]


def test_rust_module_serves_a_thousand_streams_in_the_memory_it_started_with(run: Runner) -> None:
    plugin = run.plugin(MODULE.read_bytes())
    before = plugin.vm.memory.size()
    for _ in range(1000):
        stream = plugin.create_stream(request(b"/"))
        stream.on_request_headers(3, True)
        stream.on_response_headers(1, False)
        stream.finish()
    assert plugin.vm.memory.size() == before
    assert len(plugin.vm.contexts) == 1
