"""Guests that fail: whom it touches, and what is left of it.

A thousand requests, fifty at a time, one in ten of which sets the guest off.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import trio
from proxy_process import PROXIES, ROOT, RunningProxy, running_proxy

MODULES = ROOT / "tests" / "conformance" / "modules"
#: `filters_rust/hostile-guest`: what each of the faults does, and whether the stream fails of it.
GUEST = MODULES / "hostile_guest.wasm"
#: Faults that end the VM; those of the second list take as long as the guest may, or all of its memory.
FATAL = (
    *("trap", "panic", "recurse", "response_headers:panic", "malloc:trap", "malloc:call"),
    *("response_headers:trap", "done:trap", "log:panic", "delete:trap"),
)
SLOW = ("loop", "eat", "malloc:loop")
#: What the host answers with a status, and no more.
LIES = ("pointers", "sizes", "timers", "malloc:null", "malloc:beyond")
#: They fail when their answer is made already.
LATE = ("done:trap", "log:panic", "delete:trap")
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
REQUESTS, AT_A_TIME = 1000, 50
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
          "@type": HCM
          stat_prefix: main
          access_log: LOG
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: guest
            typed_config: FILTER
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""


def configuration(
    log: Path,
    *,
    script: str = "",
    guest: Path = GUEST,
    plugin: dict[str, object] | None = None,
    **own: object,
) -> str:
    plugin = {
        "name": "guest",
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": script},
        "vm_config": {"code": {"local": {"filename": str(guest)}}},
        **(plugin or {}),
    }
    message: dict[str, object] = {"config": plugin}
    message["@type"] = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
    if own:
        message = {"@type": "type.googleapis.com/sidecar.extensions.filters.http.wasm.v1.Wasm", **own}
        message["wasm"] = {"config": plugin}
    line = {
        "text_format_source": {"inline_string": "%REQ(X-CASE)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"}
    }
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    logs = [{"name": "file", "typed_config": {"@type": kind, "path": str(log), "log_format": line}}]
    text = CONFIGURATION.replace("FILTER", json.dumps(message)).replace("LOG", json.dumps(logs))
    return text.replace("HCM", HCM)


def stats(proxy: RunningProxy) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.ports[9901]}/stats", timeout=20) as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rpartition(": ") for line in lines)
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


async def ask(stream: trio.SocketStream, case: str) -> int:
    await stream.send_all(f"GET / HTTP/1.1\r\nhost: a\r\nx-case: {case}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        assert data, head
        head += data
    return int(head.split(b" ", 2)[1])


async def storm(port: int, cases: list[str], clients: int = AT_A_TIME) -> list[int]:
    """The status of each request; so many connections send them, one after another each."""
    found = [0] * len(cases)
    left = iter(range(len(cases)))

    async def client() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for index in left:
                found[index] = await ask(stream, cases[index])

    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(client)
    return found


def memory_mib(proxy: RunningProxy) -> float:
    text = Path(f"/proc/{proxy.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", text)
    assert match is not None
    return int(match[1]) / 1024


def logged(log: Path, count: int) -> Counter[str]:
    """The lines of the access log, once there are so many."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = log.read_text().splitlines() if log.exists() else []
        if len(lines) >= count:
            return Counter(lines)
        time.sleep(0.05)
    raise AssertionError(f"{len(lines)} lines of {count}")


def expected_lines(cases: list[str]) -> Counter[str]:
    """What is to be logged where every fault fails its own request alone."""
    return Counter(
        f"{case} 200 direct_response" if status(case) == 200 else f"{case} 503 wasm_fail_stream"
        for case in cases
    )


def status(case: str) -> int:
    """What becomes of a stream."""
    return 200 if case in ("fine", *LIES, *LATE) else 503


def one_in_ten(faults: tuple[str, ...]) -> list[str]:
    """A thousand requests, each tenth of which sets the guest off."""
    return [faults[index // 10 % len(faults)] if index % 10 == 3 else "fine" for index in range(REQUESTS)]


def configuration_of_each(kinds: tuple[str, ...], log: Path) -> str:
    """A listener for each of them, with a VM of its own."""
    listeners = []
    for number, case in enumerate(kinds):
        code = {"local": {"filename": str(GUEST)}}
        text = configuration(log, plugin={"vm_config": {"vm_id": case, "code": code}})
        start, listener = text.split("  - name: main", 1)
        listener = listener.replace("10000", str(10000 + number))
        listeners.append(
            f"  - name: l{number}{listener.replace('stat_prefix: main', f'stat_prefix: l{number}')}"
        )
    return start + "".join(listeners)


def behind(proxy: str, case: str) -> int:
    """What becomes of a stream that comes to the same VM later, and is no fault itself."""
    return 503 if proxy == "envoy" and case in FATAL else 200


async def storms(ports: list[int], cases: list[list[str]], clients: int) -> list[list[int]]:
    """All of them at once, so many clients each."""
    found: list[list[int]] = [[] for _ in ports]

    async def one(number: int) -> None:
        found[number] = await storm(ports[number], cases[number], clients)

    async with trio.open_nursery() as nursery:
        for number in range(len(ports)):
            nursery.start_soon(one, number)
    return found


@pytest.mark.parametrize("kind", PROXIES)
def test_each_fault_has_its_outcome_here_and_in_envoy(kind: str, tmp_path: Path) -> None:
    """In Envoy all fail behind a fault that ends the VM, here none; `/ready` says nothing of it in either.

    No request here waits in the guest, so that nothing else is in flight in the instance that fails.
    """
    kinds = (*FATAL, *LIES)
    log = tmp_path / "access"
    with running_proxy(kind, configuration_of_each(kinds, log), tmp_path) as proxy:
        ports = [proxy.ports[10000 + number] for number in range(len(kinds))]
        firsts = [["fine", case, "fine"] for case in kinds]
        found = trio.run(storms, ports, firsts, 1)
        assert found == [[200, status(case), behind(kind, case)] for case in kinds]
        before = memory_mib(proxy)
        count = REQUESTS // len(kinds) + 1
        cases = [[case if index % 10 == 3 else "fine" for index in range(count)] for case in kinds]
        expected = [
            [503 if behind(kind, case) == 503 else status(each) for each in row]
            for case, row in zip(kinds, cases, strict=True)
        ]
        clients = AT_A_TIME // len(kinds) + 1
        assert trio.run(storms, ports, cases, clients) == expected
        assert proxy.get("/ready", port=9901).status == 200
        assert memory_mib(proxy) - before < 30
        sent = [each for row in (*firsts, *cases) for each in row]
        answered = [each for row in (*found, *expected) for each in row]
        assert logged(log, len(sent)) == Counter(
            f"{case} {code} {'direct_response' if code == 200 else 'wasm_fail_stream'}"
            for case, code in zip(sent, answered, strict=True)
        )
        seen = stats(proxy)
        output = proxy.output.read_text(errors="replace")
    assert {seen[f"http.l{number}.downstream_rq_active"] for number in range(len(kinds))} == {0}
    if kind == "sidecar":
        fatal = sum(case in FATAL for case in sent)
        assert seen["wasm.guest.vm_restart_success"] == fatal
        assert seen["wasm..created"] == fatal + len(kinds)
        assert seen["wasm..active"] == seen["wasm.wasm_vm_count"] == len(kinds)
        assert "wasm.guest.vm_restart_paused" not in seen
        assert "as the request asks" in output
        assert re.search(
            r"plugin guest failed in proxy_on_request_headers, for request [0-9a-f-]{36}: ", output
        )
        assert re.search(r"plugin guest failed .* \(in .*proxy_on_request_headers", output)


def test_page_says_what_becomes_of_each_fault() -> None:
    page = (ROOT / "docs" / "filters" / "wasm.md").read_text()
    for case in (*FATAL, *LIES):
        assert f"| `{case}` | {status(case)} | 200 | {behind('envoy', case)} |" in page


def test_envoy_does_not_come_back_from_an_endless_loop(tmp_path: Path) -> None:
    """Here it is stopped (below, and the streams of other guests are not touched)."""
    with running_proxy(
        "envoy", configuration_of_each(("loop", "other"), tmp_path / "access"), tmp_path
    ) as proxy:
        ports = [proxy.ports[10000], proxy.ports[10001]]

        async def silent(port: int, case: str) -> bool:
            with trio.move_on_after(0.5):
                await storm(port, [case], 1)
                return False
            return True

        assert not trio.run(silent, ports[0], "fine")
        assert trio.run(silent, ports[0], "loop")
        assert trio.run(silent, ports[0], "fine")
        assert trio.run(silent, ports[1], "fine")  # another guest's
        assert proxy.get("/ready", port=9901).status == 200
        os.kill(proxy.pid, signal.SIGKILL)  # nothing less ends it


def test_faults_of_guests_of_their_own_touch_no_other_stream(tmp_path: Path) -> None:
    limits = {"memory_bytes": 16 << 20, "call_time": "1s"}
    log = tmp_path / "access"
    text = configuration(log, isolation="STREAM", limits=limits)
    with running_proxy("sidecar", text, tmp_path) as proxy:
        port = proxy.ports[10000]
        warm = ["fine"] * 200
        trio.run(storm, port, warm)
        before = memory_mib(proxy)
        cases = one_in_ten((*FATAL, *LIES))
        for place, case in enumerate(SLOW):
            cases[10 * place + 3] = case
        found = trio.run(storm, port, cases)
        assert found == [status(case) for case in cases]
        assert memory_mib(proxy) - before < 20
        assert proxy.get("/ready", port=9901).status == 200
        assert logged(log, len(warm) + REQUESTS) == expected_lines(warm + cases)
        seen = stats(proxy)
    assert "wasm.guest.vm_restart_success" not in seen
    assert seen["wasm..created"] == len(warm) + REQUESTS + 1
    assert seen["wasm..active"] == 1  # the one that serves no stream: it was asked whether the guest starts
    assert seen["http.main.downstream_rq_active"] == 0
