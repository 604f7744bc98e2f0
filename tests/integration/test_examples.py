"""Each file of examples/ is accepted as it stands and does what its comment says, on Envoy and on sidecar."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from proxy_process import PROXIES, ROOT, RunningProxy, proxy_command, running_proxy

from tests.support.oracle_binary import envoy_binary
from tests.support.pki import Authority

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def direct_response(proxy: RunningProxy) -> None:
    assert proxy.get("/").body == b"hello from the proxy\n"
    assert proxy.get("/healthz").status == 204
    assert proxy.get("/items/42").body == b"one item\n"
    assert proxy.get("/items/42x").body == b"hello from the proxy\n"
    api = proxy.get("/", {"host": "api.example.com"})
    assert (api.headers["content-type"], api.body) == ("application/json", b'{"service": "api"}\n')
    assert proxy.get("/other", {"host": "api.example.com"}).status == 404


def reverse_proxy(proxy: RunningProxy) -> None:
    answer = proxy.get("/")
    assert (answer.status, answer.body) == (200, b"hello from the application\n")
    assert len(answer.headers["x-seen-request-id"]) == 36
    assert proxy.get("/old/path").headers["x-seen-path"] == "/new/path"
    wait_for_lines(proxy, lambda line: '"GET /old/path HTTP/1.1" 200' in line, 1)


def lua(proxy: RunningProxy) -> None:
    answer = proxy.get("/hello")
    assert (answer.headers["x-lua-response"], answer.body) == (
        "status 200",
        b"the route saw what Lua wrote\n",
    )
    assert proxy.get("/other").body == b"another path\n"
    teapot = proxy.get("/teapot")
    assert (teapot.status, teapot.body) == (418, b"short and stout\n")


def wasm_and_lua(proxy: RunningProxy) -> None:
    answer = proxy.get("/", {"x-sidecar-wasm": "forged"})
    assert (answer.status, answer.body) == (200, b"hello from the application\n")
    assert answer.headers["x-seen-wasm"] == "header-guard"
    assert answer.headers["x-seen-lua"] == "after header-guard"
    assert answer.headers["x-wasm-filter"] == "header-guard"
    assert answer.headers["x-lua-filter"] == "edited"
    for path in ("/admin", "/admin?x=1", "/admin/users", "//admin", "/x/../admin"):
        closed = proxy.get(path)
        assert (closed.status, closed.body) == (403, b"forbidden\n"), path
        assert closed.headers["x-wasm-filter"] == "header-guard"
        assert closed.headers["x-lua-filter"] == "edited"
    assert proxy.get("/administrator").status == 200


def http2_weighted(proxy: RunningProxy) -> None:
    bodies = [proxy.get("/").body for _ in range(8)]
    assert (bodies.count(b"heavy\n"), bodies.count(b"light\n")) == (6, 2)


def access_log_json(proxy: RunningProxy) -> None:
    assert proxy.get("/").body == b"logged\n"
    assert proxy.get("/unreachable").status == 503
    lines = [json.loads(line) for line in wait_for_lines(proxy, lambda line: line.startswith("{"), 2)]
    assert all(list(line) == sorted(line) for line in lines)
    assert [(line["route"], line["status"], line["flags"]) for line in lines] == [
        ("hello", 200, "-"),
        ("unreachable", 503, "UF"),
    ]
    assert (lines[0]["cluster"], lines[0]["bytes_sent"], lines[0]["user_agent"]) == (None, 7, None)
    assert lines[1]["cluster"] == "nobody"


CHECKS: dict[str, Callable[[RunningProxy], None]] = {
    check.__name__: check
    for check in (direct_response, reverse_proxy, lua, wasm_and_lua, http2_weighted, access_log_json)
}


def wait_for_lines(proxy: RunningProxy, wanted: Callable[[str], bool], count: int) -> list[str]:
    """The lines of the proxy's output, which it may write a moment later (Envoy: up to ten seconds)."""
    deadline = time.monotonic() + 20
    while True:
        lines = [line for line in proxy.output.read_text().splitlines() if wanted(line)]
        if len(lines) >= count or time.monotonic() > deadline:
            assert len(lines) == count, proxy.output.read_text()
            return lines
        time.sleep(0.02)


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "envoy" and envoy_binary() is None:
        pytest.skip("there is no Envoy here")
    return request.param


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_as_it_stands_validates(kind: str, example: Path) -> None:
    validated = subprocess.run(
        [*proxy_command(kind), "--mode", "validate", "-c", str(example.relative_to(ROOT))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert validated.returncode == 0, validated.stderr
    assert "deprecated" not in validated.stderr.lower()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_when_started_does_what_its_comment_says(kind: str, example: Path, tmp_path: Path) -> None:
    with running_proxy(kind, example.read_text(), tmp_path) as proxy:
        CHECKS[example.stem](proxy)


def test_every_example_has_a_check() -> None:
    assert {example.stem for example in EXAMPLES} == set(CHECKS)


def test_the_production_example_as_it_stands_validates(kind: str, tmp_path: Path) -> None:
    """But for the folder of its certificates; what it does is compared in scenarios (production)."""
    authority = Authority("shop-ca")
    leaf = authority.leaf("orders", "URI:spiffe://example.com/service/orders")
    files = {"ca.crt": authority.cert_pem, "tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem}
    for name, pem in files.items():
        (tmp_path / name).write_bytes(pem)
    text = (ROOT / "examples" / "production" / "sidecar.yaml").read_text()
    (tmp_path / "sidecar.yaml").write_text(text.replace("/etc/sidecar-secrets/orders-tls", str(tmp_path)))
    command = [*proxy_command(kind), "--mode", "validate", "-c", str(tmp_path / "sidecar.yaml")]
    validated = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert validated.returncode == 0, validated.stderr
    assert "deprecated" not in validated.stderr.lower()
