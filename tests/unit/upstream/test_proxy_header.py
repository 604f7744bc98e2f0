"""Heads of the PROXY protocol, byte for byte."""

from __future__ import annotations

import pytest

from sidecar.upstream.proxy_header import proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.parametrize(
    ("source", "destination", "first", "second"),
    [
        (
            "1.2.3.4:5",
            "6.7.8.9:80",
            b"PROXY TCP4 1.2.3.4 6.7.8.9 5 80\r\n",
            b"\x21\x11\x00\x0c\x01\x02\x03\x04\x06\x07\x08\x09\x00\x05\x00\x50",
        ),
        (
            "[::1]:5",
            "[2::]:80",
            b"PROXY TCP6 ::1 2:: 5 80\r\n",
            b"\x21\x21\x00\x24" + bytes(15) + b"\x01\x00\x02" + bytes(14) + b"\x00\x05\x00\x50",
        ),
        ("/tmp/socket", "6.7.8.9:80", b"PROXY UNKNOWN\r\n", b"\x20\x00\x00\x00"),
        ("1.2.3.4:5", "[2::]:80", b"PROXY UNKNOWN\r\n", b"\x20\x00\x00\x00"),
    ],
)
def test_head_tells_both_addresses(source: str, destination: str, first: bytes, second: bytes) -> None:
    assert proxy_header(source, destination, 1) == first
    assert proxy_header(source, destination, 2) == SIGNATURE + second
