# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Guests in C and AssemblyScript, without an SDK, are built and run on Envoy and on sidecar."""

import shutil
import subprocess
from pathlib import Path

import pytest
from proxy_process import PROXIES, running_proxy

from tests.support.oracle_binary import envoy_binary

GUESTS = Path(__file__).parent / "guests"
ASC = GUESTS / "node_modules" / ".bin" / "asc"
CONFIGURATION = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
          http_filters:
          - name: guest
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: guest
                root_id: guest
                configuration: {"@type": type.googleapis.com/google.protobuf.StringValue, value: configured}
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {local: {filename: MODULE}}
                  environment_variables: {key_values: {WORD: hello}}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""


def build(language: str, directory: Path) -> Path:
    """The module; skips the test where its compiler is not there."""
    module = directory / f"{language}.wasm"
    if language == "c":
        if shutil.which("clang") is None or not Path("/usr/lib/wasm32-wasi/libc.a").exists():
            pytest.skip("no clang with wasi-libc here; scripts/setup.sh dev fetches them on Debian")
        target = ["--target=wasm32-wasi", "--sysroot=/usr", "-mexec-model=reactor"]
        command = ["clang", *target, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(module), "header.c"]
    else:
        if not ASC.exists():
            pytest.skip("no AssemblyScript here; scripts/setup.sh dev fetches it where there is npm")
        command = [str(ASC), "header.ts", "--outFile", str(module), "--optimize", "--use", "abort="]
    built = subprocess.run(command, cwd=GUESTS, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return module


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("language", ["c", "assemblyscript"])
def test_guest_without_an_sdk_runs(language: str, kind: str, tmp_path: Path) -> None:
    if kind == "envoy" and envoy_binary() is None:
        pytest.skip("there is no Envoy here")
    module = build(language, tmp_path)
    with running_proxy(kind, CONFIGURATION.replace("MODULE", str(module)), tmp_path) as proxy:
        answer = proxy.get("/")
        assert (answer.status, answer.headers["x-guest"]) == (200, "configured")
        assert answer.headers.get("x-word") == ("hello" if language == "c" else None)
        teapot = proxy.get("/teapot/x")
        assert (teapot.status, teapot.body) == (418, b"short and stout\n")
        assert teapot.headers["x-guest"] == "configured"
    if language == "c":
        assert "configured with 10 bytes" in proxy.output.read_text()
