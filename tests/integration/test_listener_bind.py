"""What a listener's address may ask of its socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from sidecar.core.address import Address
from sidecar.server.bind import BindError, BindOptions, bind


def accepted_from(sock: socket.socket, family: socket.AddressFamily, host: str) -> str:
    """The peer of a connection from ``host``, as Envoy shows addresses."""
    sock.listen()
    sock.setblocking(True)
    sock.settimeout(10)
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect((host, sock.getsockname()[1]))
        server, peer = sock.accept()
        server.close()
    return Address.from_sockaddr(sock.family, peer).text.rpartition(":")[0]


def test_listener_on_ipv6_with_ipv4_compat_takes_ipv4_and_shows_it_as_such() -> None:
    with bind(Address.ip("::", 0), reuse_port=False, options=BindOptions(ipv4_compat=True)) as sock:
        assert accepted_from(sock, socket.AF_INET, "127.0.0.1") == "127.0.0.1"
        assert accepted_from(sock, socket.AF_INET6, "::1") == "[::1]"


def test_listener_on_ipv6_takes_no_ipv4() -> None:
    with (
        bind(Address.ip("::", 0), reuse_port=False, options=BindOptions()) as sock,
        pytest.raises(ConnectionRefusedError),
    ):
        accepted_from(sock, socket.AF_INET, "127.0.0.1")


def test_unix_listener_has_the_permissions_of_its_pipe(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind(Address.pipe(str(path)), reuse_port=True, options=BindOptions(mode=0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_address_in_use_is_told_in_envoys_words() -> None:
    with bind(Address.ip("127.0.0.1", 0), reuse_port=False, options=BindOptions()) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(BindError, match=rf"cannot bind '127.0.0.1:{port}': Address already in use"):
            bind(Address.ip("127.0.0.1", port), reuse_port=False, options=BindOptions())
