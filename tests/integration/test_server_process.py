"""The whole process: how it starts, where it listens, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 20.0

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
CHAIN = """
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{HCM}
          stat_prefix: ingress
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200, body: {inline_string: hello}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
""".replace("{HCM}", HCM)
ADMIN = """
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
"""


def ip(address: str, port: int = 0) -> str:
    return f'{{socket_address: {{address: "{address}", port_value: {port}}}}}'


def listener(address: str, *more: str, name: str = "main") -> str:
    text = f"  - name: {name}\n    address: {address}\n"
    if more:
        text += "    additional_addresses:\n" + "".join(f"    - address: {each}\n" for each in more)
    return text + CHAIN.lstrip("\n")


def bootstrap(*listeners: str) -> str:
    return "static_resources:\n  listeners:\n" + "".join(listeners) + ADMIN


class Proxy:
    """A running child process."""

    def __init__(self, process: subprocess.Popen[str], admin: Path) -> None:
        self.process = process
        self._admin = admin

    def admin(self, path: str) -> str:
        host, _, port = self._admin.read_text().strip().rpartition(":")
        return get(socket.create_connection((host, int(port)), TIMEOUT_S), path)

    def addresses(self) -> list[str]:
        """Every bound address, in the order of the file."""
        found = []
        for status in json.loads(self.admin("/listeners?format=json"))["listener_statuses"]:
            for each in [status["local_address"], *status.get("additional_local_addresses", [])]:
                if "pipe" in each:
                    found.append(each["pipe"]["path"])
                else:
                    place = each["socket_address"]
                    found.append(f"{place['address']} {place['port_value']}")
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


def get(sock: socket.socket, path: str = "/") -> str:
    """One GET on a connected socket, which is closed."""
    connection = http.client.HTTPConnection("sidecar.test")
    connection.sock = sock
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    assert response.status == 200, body
    return body


def connect(address: str) -> socket.socket:
    if address.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_S)
        sock.connect(address)
        return sock
    host, port = address.split()
    return socket.create_connection((host, int(port)), TIMEOUT_S)


def accepts(address: str) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # it waited in the queue of a socket that was being closed
        return True
    return True


@contextlib.contextmanager
def running(configuration: str, directory: Path) -> Iterator[Proxy]:
    """A child that serves; it is gone afterwards whatever happened."""
    file = directory / "bootstrap.yaml"
    file.write_text(configuration)
    admin = directory / "admin.address"
    command = [sys.executable, "-m", "sidecar", "-c", str(file), "--concurrency", "1"]
    command += ["--admin-address-path", str(admin)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "starting main dispatch loop" in line:
                break
        else:
            raise AssertionError(f"it ended by itself: {''.join(seen)}")
        yield Proxy(process, admin)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=TIMEOUT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_that_is_told_to_stop_ends_with_status_0(tmp_path: Path, number: int) -> None:
    with running(bootstrap(listener(ip("127.0.0.1"))), tmp_path) as proxy:
        [address] = proxy.addresses()
        idle = connect(address)
        busy = connect(address)
        assert get(connect(address)) == "hello"
        busy.send(b"GET / HTTP/1.1\r\nhost: a\r\n")
        proxy.process.send_signal(number)
        while accepts(address):
            time.sleep(0.01)
        assert proxy.stop(number) == 0  # the second time at once, though half a head has come
        for sock in (idle, busy):
            assert sock.recv(1000) == b""
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            connect(address)


def test_port_0_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    with running(
        bootstrap(listener(ip("127.0.0.1")), listener(ip("127.0.0.1"), name="two")), tmp_path
    ) as proxy:
        addresses = proxy.addresses()
        assert len(set(addresses)) == 2
        for address in addresses:
            assert not address.endswith(" 0")
            assert get(connect(address)) == "hello"
        assert proxy.stop() == 0


def test_listener_on_a_unix_socket_serves_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with running(
        bootstrap(listener(f"{{pipe: {{path: {path}, mode: 0o600}}}}".replace("0o600", "384"))), tmp_path
    ) as proxy:
        assert proxy.addresses() == [str(path)]
        assert get(connect(str(path))) == "hello"
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert proxy.stop() == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_listener_on_ipv6_serves(tmp_path: Path) -> None:
    with running(bootstrap(listener(ip("::1"))), tmp_path) as proxy:
        [address] = proxy.addresses()
        assert address.startswith("::1 ")
        assert get(connect(address)) == "hello"
        assert proxy.stop() == 0


def test_listener_with_additional_addresses_serves_on_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "more.sock"
    text = bootstrap(listener(ip("127.0.0.1"), ip("127.0.0.2"), f"{{pipe: {{path: {path}}}}}"))
    with running(text, tmp_path) as proxy:
        addresses = proxy.addresses()
        assert [address.split()[0] for address in addresses] == ["127.0.0.1", "127.0.0.2", str(path)]
        for address in addresses:
            assert get(connect(address)) == "hello"
        assert "listener.127.0.0.1_" in proxy.admin("/stats?filter=downstream_cx_total")
        assert proxy.stop() == 0


@pytest.mark.parametrize("where", ["listener", "admin"])
def test_port_in_use_ends_with_status_1_and_the_place_in_the_file(tmp_path: Path, where: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if where == "listener":
            text = bootstrap(listener(ip("127.0.0.1", port)))
        else:
            text = bootstrap(listener(ip("127.0.0.1"))).replace(
                "port_value: 0}}\n", f"port_value: {port}}}}}\n"
            )
            text = text.replace(f"port_value: {port}", "port_value: 0", 1)
        file = tmp_path / "bootstrap.yaml"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "-c", str(file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 1
    line = next(number for number, each in enumerate(text.splitlines(), 1) if f"port_value: {port}" in each)
    output = done.stderr + done.stdout
    assert f"{file}:{line}:" in output
    assert f"127.0.0.1:{port}" in output
    assert "Address already in use" in output
    assert "Traceback" not in output


def test_several_ports_in_use_are_reported_at_once(tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for sock in (first, second):
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            ports.append(sock.getsockname()[1])
        file = tmp_path / "bootstrap.yaml"
        file.write_text(bootstrap(*(listener(ip("127.0.0.1", port), name=f"l{port}") for port in ports)))
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "-c", str(file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 1
    for port in ports:
        assert f"127.0.0.1:{port}" in done.stderr + done.stdout
