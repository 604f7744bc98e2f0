"""The choice of a filter chain: order of the levels, the most specific entry, no way back."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import pytest

from sidecar.core.filter_chain_match import EXTERNAL, LOCAL, ChainMatch, Overlap, build_finder


@dataclass
class Connection:
    local_address: str = "10.0.0.1:80"
    remote_address: str = "192.0.2.1:1000"
    direct_remote_address: str = "192.0.2.1:1000"
    requested_server_name: str = ""
    transport_protocol: str = "raw_buffer"
    application_protocols: tuple[str, ...] = ()


def net(*ranges: str) -> Any:
    return tuple(ipaddress.ip_network(each) for each in ranges)


def find(connection: Connection, *matches: ChainMatch, default: int | None = None) -> int | None:
    finder = build_finder([(match, index) for index, match in enumerate(matches)], default)
    found: int | None = finder(connection)
    return found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("www.example.com", 0),
        ("api.example.com", 1),
        ("a.b.example.com", 1),
        ("example.com", 2),
        ("other.com", 2),
        ("com", 3),
        ("example.org", 3),
        ("", 3),
        (".example.com", 1),
        ("a.com.", 3),
    ],
)
def test_server_name_exact_comes_before_wildcards_from_the_longest(name: str, found: int) -> None:
    matches = (
        ChainMatch(server_names=("www.example.com",)),
        ChainMatch(server_names=("*.example.com",)),
        ChainMatch(server_names=("*.com",)),
        ChainMatch(),
    )
    assert find(Connection(requested_server_name=name), *matches) == found


def test_port_that_has_an_entry_is_not_tried_without_it() -> None:
    matches = (ChainMatch(destination_port=80, server_names=("a",)), ChainMatch())
    assert find(Connection(), *matches) is None
    assert find(Connection(), *matches, default=7) == 7
    assert find(Connection(local_address="10.0.0.1:81"), *matches) == 1


def test_server_name_leads_away_from_a_chain_without_names() -> None:
    matches = (ChainMatch(server_names=("a",), transport_protocol="tls"), ChainMatch())
    assert find(Connection(requested_server_name="a"), *matches) is None
    assert find(Connection(requested_server_name="a", transport_protocol="tls"), *matches) == 0
    assert find(Connection(transport_protocol="tls"), *matches) == 1


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("10.1.2.3:1", 0),
        ("10.1.3.3:1", 1),
        ("10.2.0.1:1", 2),
        ("[fd00::1]:1", 3),
        ("[::1]:1", 2),
        ("/a/b", 2),
    ],
)
def test_longest_range_of_the_destination_counts(address: str, found: int) -> None:
    matches = (
        ChainMatch(prefix_ranges=net("10.1.2.0/24")),
        ChainMatch(prefix_ranges=net("10.1.0.0/16")),
        ChainMatch(),
        ChainMatch(prefix_ranges=net("fd00::/8")),
    )
    assert find(Connection(local_address=address), *matches) == found


@pytest.mark.parametrize(
    ("remote", "local", "found"),
    [
        ("127.0.0.1:1", "10.0.0.1:2", 0),
        ("127.0.0.2:1", "10.0.0.1:2", 1),
        ("10.0.0.1:1", "10.0.0.1:2", 0),
        ("[::1]:1", "[fd00::1]:2", 0),
        ("/a", "/a", 0),
        ("192.0.2.1:5", "10.0.0.1:2", 1),
    ],
)
def test_source_type_is_told_by_addresses(remote: str, local: str, found: int) -> None:
    matches = (ChainMatch(source_type=LOCAL), ChainMatch(source_type=EXTERNAL))
    assert find(Connection(local_address=local, remote_address=remote), *matches) == found


def test_source_type_that_nobody_asks_for_is_any() -> None:
    matches = (ChainMatch(source_type=LOCAL), ChainMatch())
    assert find(Connection(), *matches) == 1


def test_first_protocol_of_the_client_that_is_known_counts() -> None:
    matches = (ChainMatch(application_protocols=("h2",)), ChainMatch(application_protocols=("http/1.1", "x")))
    assert find(Connection(application_protocols=("y", "x", "h2")), *matches) == 1
    assert find(Connection(application_protocols=("y",)), *matches) is None


def test_source_range_and_port_come_last() -> None:
    matches = (
        ChainMatch(source_prefix_ranges=net("192.0.2.0/24"), source_ports=(1000, 1001)),
        ChainMatch(source_prefix_ranges=net("192.0.2.0/24")),
        ChainMatch(direct_source_prefix_ranges=net("198.51.100.0/24")),
    )
    assert find(Connection(), *matches) == 0
    assert find(Connection(remote_address="192.0.2.1:3"), *matches) == 1
    assert find(Connection(direct_remote_address="198.51.100.7:1"), *matches) == 2


@pytest.mark.parametrize(
    "matches",
    [
        (ChainMatch(), ChainMatch()),
        (ChainMatch(server_names=("a", "b")), ChainMatch(server_names=("c", "b"))),
        (ChainMatch(server_names=("*.a",)), ChainMatch(server_names=(".a",))),
        (ChainMatch(), ChainMatch(server_names=("",))),
    ],
)
def test_two_matches_for_one_connection_overlap(matches: tuple[ChainMatch, ...]) -> None:
    with pytest.raises(Overlap) as overlap:
        find(Connection(), *matches)
    assert (overlap.value.first, overlap.value.second) == (0, 1)
