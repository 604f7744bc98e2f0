"""The guide's health checks (files 18 to 20) find who is well, on Envoy and on sidecar."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from mission_live import Mission, mission
from proxy_process import PROXIES

from tests.support.oracle_binary import envoy_binary

pytestmark = pytest.mark.oracle

HOSTS = ("health_checked_cluster.1", "health_checked_cluster.2")
#: The guide's intervals are too long to wait for.
SOON = {"interval: 10s": "interval: 0.1s\n      no_traffic_interval: 0.1s"}
#: ``grpc.health.v1.HealthCheckResponse`` of SERVING and of NOT_SERVING.
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "envoy" and envoy_binary() is None:
        pytest.skip("no Envoy here")
    return str(request.param)


def until_healthy(m: Mission, count: int) -> None:
    deadline = time.monotonic() + 15
    while (found := m.stats()["cluster.health_checked_cluster.membership_healthy"]) != count:
        assert time.monotonic() < deadline, f"{found} are healthy, not {count}"
        time.sleep(0.02)


def test_http_check_takes_what_is_below_299_for_healthy(kind: str, tmp_path: Path) -> None:
    soon = {
        "interval: 10s": "interval: 0.1s",
        "no_traffic_interval: 60s": "no_traffic_interval: 0.1s",
        "unhealthy_interval: 5s": "unhealthy_interval: 0.1s",
    }
    with mission(kind, "18_http_health_check.yaml", tmp_path, replace=soon) as m:
        first, second = (m.upstreams[name] for name in HOSTS)
        until_healthy(m, 2)
        first.answer = lambda seen: (298 if seen.path == "/healthz" else 200, {})
        second.answer = lambda seen: (299 if seen.path == "/healthz" else 200, {})
        until_healthy(m, 1)
        assert {m.get("/x").body for _ in range(6)} == {b"health_checked_cluster.1"}
        assert "/failed_active_hc" in m.get("/clusters", to="admin").body.decode()
        second.answer = lambda _: (200, {})
        until_healthy(m, 2)
        assert {seen.headers["user-agent"] for seen in second.seen if seen.path == "/healthz"} == {"Envoy/HC"}


@contextlib.contextmanager
def health_service(port: int, answer: Callable[[], bytes], asked: list[bytes]) -> Iterator[None]:
    """``grpc.health.v1.Health/Check``."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if details.method != "/grpc.health.v1.Health/Check":
                return None

            def check(request: bytes, context: grpc.ServicerContext) -> bytes:
                asked.append(request)
                return answer()

            return grpc.unary_unary_rpc_method_handler(check)

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Handler(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait(5)


def test_grpc_check_asks_for_its_service(kind: str, tmp_path: Path) -> None:
    answers = {HOSTS[0]: SERVING, HOSTS[1]: NOT_SERVING}
    asked: list[bytes] = []
    with contextlib.ExitStack() as stack:
        m = stack.enter_context(
            mission(kind, "19_grpc_health_check.yaml", tmp_path, replace=SOON, idle=HOSTS)
        )
        for name in HOSTS:
            stack.enter_context(health_service(m.port(name), lambda name=name: answers[name], asked))
        until_healthy(m, 1)
        assert set(asked) == {b"\x0a\x0dmy.service.v1"}
        answers[HOSTS[1]] = SERVING
        until_healthy(m, 2)
        answers[HOSTS[0]] = NOT_SERVING
        until_healthy(m, 1)


@contextlib.contextmanager
def echoing(port: int, answer: Callable[[bytes], bytes]) -> Iterator[None]:
    """Answers what comes on each connection."""
    listening = socket.create_server(("127.0.0.1", port))

    def serve(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(4096):
                peer.sendall(answer(data))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def test_tcp_check_sends_ping_and_expects_pong(kind: str, tmp_path: Path) -> None:
    answers = {HOSTS[0]: b"PONG", HOSTS[1]: b"WHAT"}
    asked: list[bytes] = []

    def answer(name: str, data: bytes) -> bytes:
        asked.append(data)
        return answers[name]

    soon = {**SOON, "timeout: 3s": "timeout: 0.3s"}
    with contextlib.ExitStack() as stack:
        m = stack.enter_context(mission(kind, "20_tcp_health_check.yaml", tmp_path, replace=soon, idle=HOSTS))
        for name in HOSTS:
            stack.enter_context(echoing(m.port(name), lambda data, name=name: answer(name, data)))
        until_healthy(m, 1)
        assert set(asked) == {b"PING"}
        answers[HOSTS[1]] = b"..PONG.."
        until_healthy(m, 2)
