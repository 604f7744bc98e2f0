"""Fuzz targets of listener filters: ClientHellos, heads of the PROXY protocol, first lines of HTTP.

``python -m tests.fuzz.fuzz_listener`` runs all of them under atheris where that is installed.  Whatever
comes, a filter says MORE, DONE or CLOSE; it says the same however the bytes are cut; an address that it takes
is one.
"""

from __future__ import annotations

import random
import ssl
import struct
import sys
from types import SimpleNamespace
from typing import Any

from sidecar.api.listener_filter import CLOSE, DONE, MORE
from sidecar.core.address import parse_address
from sidecar.extensions.listener.http_inspector import HttpInspector
from sidecar.extensions.listener.proxy_protocol import ProxyProtocol, TlvRule
from sidecar.extensions.listener.tls_inspector import TlsInspector
from sidecar.observability.stats import Store

__all__ = ["HEADS", "HELLOS", "LINES", "test_client_hello", "test_http_line", "test_proxy_head"]

_STORE = Store()
_TLS = TlsInspector(_STORE.scope("tls_inspector"), has_ja3=True, has_ja4=True)
_HTTP = HttpInspector(_STORE.scope("http_inspector"))
_PROXIES = (
    ProxyProtocol(_STORE, rules={2: TlvRule("a", "b", is_base64=False)}, passes=None),
    ProxyProtocol(_STORE, is_optional=True, disallowed=frozenset({2})),
)


def _client_hello(name: str | None, *alpn: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


_HELLO = _client_hello("www.example.com", "h2", "http/1.1")
HELLOS = [
    _HELLO,
    _client_hello(None),
    b"\x16\x03\x01\x00\x03" + _HELLO[5:8] + b"\x16\x03\x01" + struct.pack(">H", len(_HELLO) - 8) + _HELLO[8:],
    b"\x15\x03\x01\x00\x02\x01\x28",
    b"\x80\x1c\x01\x03\x01\x00\x03\x00\x00\x00\x10\x00\x00\x2f" + b"C" * 16,
    b"GET / HTTP/1.1\r\n\r\n",
]
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEADS = [
    b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 443\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::9 1234 443\r\n",
    b"PROXY UNKNOWN\r\n",
    _SIGNATURE + b"\x21\x11\x00\x0c\xc0\x00\x02\x08\x0a\x09\x09\x08\x04\xd3\x01\xbc",
    _SIGNATURE + b"\x21\x11\x00\x14\xc0\x00\x02\x08\x0a\x09\x09\x08\x04\xd3\x01\xbc\x02\x00\x05hello",
    _SIGNATURE + b"\x21\x21\x00\x24" + bytes(range(1, 37)),
    _SIGNATURE + b"\x20\x00\x00\x00",
    b"GET / HTTP/1.1\r\n\r\n",
]
LINES = [
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\n",
    b"GET http://a/b?c HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
]


def _connection() -> SimpleNamespace:
    connection = SimpleNamespace(
        transport_protocol="raw_buffer",
        requested_server_name="",
        application_protocols=(),
        ja3_hash="",
        ja4_hash="",
        dynamic_metadata=None,
        typed_metadata=None,
        filter_state=None,
        local_address="127.0.0.1:80",
        remote_address="127.0.0.1:1000",
        proxy_protocol_tlvs=None,
    )
    connection.restore_local_address = lambda address: setattr(connection, "local_address", address)
    return connection


def _run(found: Any, data: bytes, ends: list[int]) -> tuple[int, int, SimpleNamespace | None]:
    """What the filter says of ``data`` that comes up to each of ``ends``, takes of it, and found out."""
    connection = _connection()
    inspection = found.begin(connection, None)
    state, seen = MORE, 0
    for end in [*sorted(ends), len(data)]:
        while state == MORE and seen < min(end, inspection.wants):
            seen = min(end, inspection.wants)
            state = inspection.feed(data[:seen])
    assert state in (MORE, DONE, CLOSE), data
    if state != DONE:
        return state, 0, None
    assert 0 <= inspection.taken <= len(data), data
    connection.restore_local_address = None
    return state, inspection.taken, connection


def _check(found: Any, data: bytes) -> SimpleNamespace | None:
    choice = random.Random(len(data))
    whole = _run(found, data, [])
    pieces = _run(found, data, [choice.randrange(len(data) + 1) for _ in range(4)])
    assert pieces == whole, data
    return whole[2]


def test_client_hello(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    connection = _check(_TLS, data)
    if connection is not None and connection.transport_protocol == "tls":
        assert len(connection.ja3_hash) == 32, data
        assert len(connection.ja4_hash) == 36, data


def test_proxy_head(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    for proxy in _PROXIES:
        connection = _check(proxy, data)
        if connection is not None:
            parse_address(connection.remote_address)
            parse_address(connection.local_address)


def test_http_line(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    _check(_HTTP, data)


def _test_all(data: bytes) -> None:
    test_client_hello(data)
    test_proxy_head(data)
    test_http_line(data)


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, _test_all)
    atheris.Fuzz()
