"""The guide's configurations do what the last column of its table says, on Envoy and on sidecar."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mission_live import Mission, mission
from proxy_process import PROXIES

from tests.support.oracle_binary import envoy_binary

#: For what happens behind an answer.
WAIT_S = 10.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until something has happened behind the answer."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def who(m: Mission, count: int, **headers: str) -> Counter[str]:
    """Which upstreams answered so many requests."""
    found: Counter[str] = Counter()
    for _ in range(count):
        answer = m.get("/", {name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status == 200
        found[answer.body.decode()] += 1
    return found


def strict_dns(m: Mission) -> None:
    assert who(m, 2) == {"api_cluster": 2}


def endpoint_priorities(m: Mission) -> None:
    assert who(m, 10) == {"my_cluster.p0": 10}


def static_bootstrap(m: Mission) -> None:
    assert m.get("/api/v1/x").body == b"service_v1"
    assert m.get("/api/v2/x").body == b"service_v2"
    assert m.get("/other").status == 404


def lua(m: Mission) -> None:
    m.upstreams["backend"].answer = lambda _: (200, {"x-from": "upstream"})
    answer = m.get("/")
    assert answer.headers["x-envoy-proxy"] == "true"
    assert answer.headers["server"] == "envoy"  # written behind the filters
    stamp = m.upstreams["backend"].seen[0].headers["x-request-timestamp"]
    assert time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")


def compressor(m: Mission) -> None:
    body = "x" * 2000
    answers = {"/json": "application/json", "/png": "image/png", "/none": ""}
    upstream = m.upstreams["backend"]
    upstream.answer = lambda seen: (
        200,
        {
            "content-length": str(len(body)),
            **({"content-type": kind} if (kind := answers[seen.path]) else {}),
        },
    )
    upstream.name = body
    for path in answers:
        answer = m.get(path, {"accept-encoding": "gzip"})
        is_packed = answer.headers.get("content-encoding") == "gzip"
        assert is_packed is (path != "/png"), path
        text = zlib.decompress(answer.body, 31) if is_packed else answer.body
        assert text.decode() == body
    assert "content-encoding" not in m.get("/json").headers


def ring_hash(m: Mission) -> None:
    sessions = {f"session-{number}": who(m, 2, x_session_id=f"session-{number}") for number in range(24)}
    # One session from one address stays; sessions spread over all.
    assert all(len(hosts) == 1 for hosts in sessions.values())
    assert len({next(iter(hosts)) for hosts in sessions.values()}) == 3


def outlier_detection(m: Mission) -> None:
    m.upstreams["outlier_detection_cluster.1"].answer = lambda _: (500, {})
    for _ in range(30):
        m.get("/")
    until(lambda: m.stats()["cluster.outlier_detection_cluster.outlier_detection.ejections_active"] == 1)
    assert {m.get("/").status for _ in range(6)} == {200}
    assert len(m.upstreams["outlier_detection_cluster.1"].seen) == 5


def header_routing(m: Mission) -> None:
    assert m.get("/api/x", {"x-api-version": "v2"}).body == b"api_v2_cluster"
    assert m.get("/api/x", {"x-canary": "yes"}).body == b"api_canary_cluster"
    assert m.get("/api/x", {"x-api-version": "v1"}).status == 404


def weighted_clusters(m: Mission) -> None:
    found = who(m, 300)
    assert found.keys() == {"production_cluster", "canary_cluster"}
    assert 5 <= found["canary_cluster"] <= 70  # 30 expected, deviation 5.2


def circuit_breakers(m: Mission) -> None:
    assert m.get("/").status == 200
    limits = dict(
        line.rpartition("::")[::2] for line in m.get("/clusters", to="admin").body.decode().splitlines()
    )
    name = "circuit_breaker_cluster"
    assert (
        limits[f"{name}::default_priority::max_requests"],
        limits[f"{name}::high_priority::max_requests"],
    ) == (
        "1024",
        "2048",
    )
    assert limits[f"{name}::high_priority::max_retries"] == "10"
    breakers = f"cluster.{name}.circuit_breakers"
    stats = m.stats()
    # The connection of the answer is kept.
    assert (stats[f"{breakers}.default.remaining_cx"], stats[f"{breakers}.default.remaining_rq"]) == (
        1023,
        1024,
    )
    assert not [stat for stat in stats if stat.startswith(f"{breakers}.high.remaining")]
    assert not any(
        value for stat, value in stats.items() if stat.startswith(breakers) and stat.endswith("_open")
    )


def retry_policy(m: Mission) -> None:
    upstream = m.upstreams["api_cluster"]
    upstream.answer = lambda _: (503 if len(upstream.seen) < 3 else 200, {})
    assert m.get("/").status == 200
    assert len(upstream.seen) == 3
    upstream.seen.clear()
    upstream.answer = lambda _: (429, {})
    assert m.get("/").status == 429
    # retriable_status_codes counts only where retry_on says retriable-status-codes
    assert len(upstream.seen) == 1


def request_mirroring(m: Mission) -> None:
    assert m.get("/some").body == b"production_cluster"
    shadow = m.upstreams["shadow_cluster"]
    until(lambda: bool(shadow.seen))
    assert (shadow.seen[0].path, shadow.seen[0].headers["host"].partition("-")[2][:6]) == ("/some", "shadow")


def header_manipulation(m: Mission) -> None:
    m.upstreams["backend"].answer = lambda _: (200, {"x-powered-by": "php"})
    answer = m.get("/foo", {"x-internal-token": "secret"})
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-powered-by" not in answer.headers
    assert answer.headers["server"] == "envoy"
    seen = m.upstreams["backend"].seen[0]
    assert (seen.path, seen.headers["host"]) == ("/v2/foo", "backend.internal.example.com")
    assert seen.headers["x-forwarded-service"] == "envoy-proxy"
    assert seen.headers["x-envoy-original-path"] == "/foo"
    assert "x-internal-token" not in seen.headers


def timeouts(m: Mission) -> None:
    assert m.get("/").status == 200


def admin(m: Mission) -> None:
    for path in ("/", "/help", "/stats", "/clusters", "/config_dump", "/listeners", "/server_info", "/ready"):
        assert m.get(path, to="admin").status == 200, path


CHECKS: dict[str, Callable[[Mission], None]] = {
    "02_cluster_strict_dns": strict_dns,
    "04_endpoint_priorities": endpoint_priorities,
    "05_static_bootstrap": static_bootstrap,
    "12_lua": lua,
    "13_compressor": compressor,
    "15_ring_hash": ring_hash,
    "21_outlier_detection": outlier_detection,
    "22_circuit_breakers": circuit_breakers,
    "30_header_routing": header_routing,
    "31_weighted_clusters": weighted_clusters,
    "32_retry_policy": retry_policy,
    "33_request_mirroring": request_mirroring,
    "34_header_manipulation": header_manipulation,
    "35_route_timeouts": timeouts,
    "36_hcm_timeouts": timeouts,
    "38_admin": admin,
}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("name", CHECKS)
def test_mission_file_does_what_its_readme_says(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "envoy" and envoy_binary() is None:
        pytest.skip("no Envoy here")
    with mission(kind, f"{name}.yaml", tmp_path) as running:
        CHECKS[name](running)
