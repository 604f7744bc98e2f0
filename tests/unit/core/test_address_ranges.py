"""Sets of CIDR ranges."""

from __future__ import annotations

import ipaddress
from random import Random

import pytest

from sidecar.core.address_ranges import compile_addresses, compile_ranges, ip_of, ip_of_socket


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.1.2.3:80", (4, 0x0A010203)),
        ("[::1]:80", (6, 1)),
        ("[fe80::1%1]:80", (6, 0xFE80 << 112 | 1)),
        ("/run/socket", None),
        ("@name", None),
        ("", None),
    ],
)
def test_ip_of_socket_is_a_version_and_a_number(text: str, found: tuple[int, int] | None) -> None:
    if found is not None and "%" in text:
        found = 6, int(ipaddress.ip_address("fe80::1%1"))
    assert ip_of_socket(text) == found


@pytest.mark.parametrize(
    ("ranges", "text", "is_in"),
    [
        ([("10.0.0.0", 8)], "10.255.0.1", True),
        ([("10.0.0.0", 8)], "11.0.0.1", False),
        ([("10.1.2.3", 8)], "10.9.9.9", True),  # bits behind the prefix do not count
        ([("0.0.0.0", 0)], "255.1.1.1", True),
        ([("0.0.0.0", 0)], "::1", False),
        ([("::", 0)], "1.1.1.1", False),
        ([("::", 0)], "::1", True),
        ([("1.2.3.4", 99)], "1.2.3.4", True),  # too long is the whole address
        ([("1.2.3.4", 99)], "1.2.3.5", False),
        ([], "1.2.3.4", False),
    ],
)
def test_address_is_in_a_range_of_its_version(ranges: list[tuple[str, int]], text: str, is_in: bool) -> None:
    assert compile_addresses(ranges)(text) is is_in


def test_many_ranges_agree_with_one_by_one() -> None:
    random = Random(7)
    ranges = [
        (str(ipaddress.IPv4Address(random.getrandbits(32) & 0xC0F0_FF00)), random.randrange(1, 33))
        for _ in range(40)
    ]
    contains = compile_ranges(ranges)
    networks = [ipaddress.ip_network(each, strict=False) for each in ranges]
    for _ in range(500):
        address = ipaddress.IPv4Address(random.getrandbits(32) & 0xC0F0_FF03)
        ip = ip_of(str(address))
        assert ip is not None
        assert contains(ip) is any(address in network for network in networks)


@pytest.mark.parametrize("unix_sockets", [True, False])
def test_path_of_a_socket_is_in_no_range_unless_it_is_said(unix_sockets: bool) -> None:
    contains = compile_addresses([("0.0.0.0", 0)], unix_sockets=unix_sockets)
    assert contains("/run/socket") is contains("@name") is unix_sockets
    assert not contains("no address")


def test_range_that_is_none_is_told_in_envoys_words() -> None:
    with pytest.raises(ValueError, match="invalid ip/mask combo 'x/8'"):
        compile_ranges([("x", 8)])
