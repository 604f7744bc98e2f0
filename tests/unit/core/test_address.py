"""Addresses in Envoy's text form."""

from __future__ import annotations

import socket

import pytest

from sidecar.core.address import Address, is_ip, parse_address


@pytest.mark.parametrize(
    ("address", "text", "family"),
    [
        (Address.ip("127.0.0.1", 80), "127.0.0.1:80", socket.AF_INET),
        (Address.ip("0:0:0::1", 80), "[::1]:80", socket.AF_INET6),
        (Address.pipe("/run/a"), "/run/a", socket.AF_UNIX),
        (Address.pipe("@a"), "@a", socket.AF_UNIX),
    ],
)
def test_address_has_envoys_text_and_parses_back(address: Address, text: str, family: int) -> None:
    assert (address.text, address.family) == (text, family)
    assert parse_address(text) == address


def test_address_from_sockaddr_has_the_same_text() -> None:
    assert Address.from_sockaddr(socket.AF_INET6, ("::1", 80, 0, 0)).text == "[::1]:80"
    assert Address.from_sockaddr(socket.AF_INET, ("10.0.0.1", 80)).text == "10.0.0.1:80"
    assert Address.from_sockaddr(socket.AF_UNIX, b"\0name").text == "@name"
    assert Address.from_sockaddr(socket.AF_UNIX, "").text == ""


def test_address_tells_host_and_port() -> None:
    address = Address.ip("::1", 8080)
    assert (address.host, address.port) == ("::1", 8080)
    assert (Address.pipe("/run/a").host, Address.pipe("/run/a").port) == ("/run/a", 0)


def test_address_in_the_abstract_namespace_begins_with_a_zero_byte() -> None:
    assert Address.pipe("@a").sockaddr == b"\0a"


@pytest.mark.parametrize("text", ["example.com:80", "127.0.0.1", "127.0.0.1:x", ""])
def test_parse_address_with_anything_else_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_address(text)


def test_is_ip_tells_literals_from_names() -> None:
    assert [is_ip(text) for text in ("1.2.3.4", "::1", "localhost", "")] == [True, True, False, False]
