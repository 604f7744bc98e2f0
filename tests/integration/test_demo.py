"""`sidecar demo` from outside: what it prints, what it leaves running, how it ends."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from proxy_process import PROXIES, ROOT

from tests.support.oracle_binary import envoy_binary


@pytest.fixture(params=PROXIES)
def command(request: pytest.FixtureRequest) -> list[str]:
    """The demo's command line, in front of it the proxy of the parameter."""
    run = "import sys; from sidecar.cli.demo import run_demo; sys.exit(run_demo(sys.argv[1:]))"
    demo = [sys.executable, "-c", run]
    if request.param == "sidecar":
        return demo
    binary = envoy_binary()
    if binary is None:
        pytest.skip("there is no Envoy here")
    return [*demo, "--proxy-command", binary]


def test_demo_once_shows_each_request_and_ends_well(command: list[str]) -> None:
    done = subprocess.run(
        [*command, "--once"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "GET /hello -> 200 from the application: through both filters" in lines
    assert "    request   Wasm   + x-sidecar-wasm: header-guard" in lines
    assert "    request   Lua    + x-sidecar-lua: after header-guard" in lines
    assert "GET /admin/users -> 403 from Wasm: closed by the Wasm filter" in lines
    assert "NOT AS IT SHOULD BE" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_when_interrupted_stops_what_it_started(command: list[str], number: signal.Signals) -> None:
    with subprocess.Popen(
        [*command, "--port", "0", "--admin-port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if line.startswith("Ctrl-C ends it"):
                break
        else:
            raise AssertionError(shown)
        urls = re.findall(r"^(?:application|proxy) +(http\S+)", shown, re.MULTILINE)
        assert len(urls) == 2
        for url in urls:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
        demo.send_signal(number)
        assert demo.stdout.read().endswith("stopping\n")
        assert demo.wait(30) == 0
    for url in urls:
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url, timeout=10)
    configuration = re.search(r"cat (\S+)", shown)
    assert configuration is not None
    assert not Path(configuration[1]).exists()


def test_demo_when_the_proxy_does_not_start_says_so(command: list[str]) -> None:
    failing = [*command, "--once", "--proxy-command", "false"]
    done = subprocess.run(failing, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sidecar demo: the proxy did not start")
