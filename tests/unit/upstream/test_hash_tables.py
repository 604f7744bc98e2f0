"""Rings and tables: who gets how much, and what stays when a host goes.  Equality with Envoy: conformance."""

from __future__ import annotations

from collections import Counter

import pytest

from sidecar.core.address import Address
from sidecar.core.hashing import xx_hash
from sidecar.upstream.hash_tables import HashTable, MaglevTable, Ring, hash_key, is_prime, normalized
from sidecar.upstream.host import Host

KEYS = [xx_hash(b"key-%d" % number) for number in range(3000)]


def hosts(*weights: int) -> list[Host]:
    return [
        Host(Address.ip(f"10.0.0.{number}", 80), weight=weight, hostname=f"h{number}")
        for number, weight in enumerate(weights)
    ]


def table(kind: str, members: list[Host]) -> HashTable:
    weighted = normalized(members)
    return Ring(weighted, 1024, 1 << 23) if kind == "ring" else MaglevTable(weighted, 1009)


@pytest.mark.parametrize("kind", ["ring", "maglev"])
def test_hosts_get_about_their_weights_of_the_keys(kind: str) -> None:
    members = hosts(1, 2, 3)
    chosen = Counter(table(kind, members).choose(key) for key in KEYS)
    shares = [chosen[host] / len(KEYS) for host in members]
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.1)


@pytest.mark.parametrize("kind", ["ring", "maglev"])
def test_host_that_goes_moves_few_keys_but_its_own(kind: str) -> None:
    members = hosts(1, 1, 1, 1, 1)
    before, after = table(kind, members), table(kind, members[:-1])
    stayed = [key for key in KEYS if before.choose(key) is not members[-1]]
    moved = [key for key in stayed if before.choose(key) is not after.choose(key)]
    assert len(moved) < len(stayed) / 4


@pytest.mark.parametrize("kind", ["ring", "maglev"])
def test_no_hosts_give_none(kind: str) -> None:
    assert table(kind, []).choose(1) is None


def test_ring_is_scaled_so_that_the_least_host_has_a_whole_number_of_entries() -> None:
    ring = Ring(normalized(hosts(1, 1, 1)), 10, 100)
    assert (ring.size, ring.min_hashes_per_host, ring.max_hashes_per_host) == (12, 4, 4)
    ring = Ring(normalized(hosts(1, 1, 1)), 10, 11)
    assert (ring.size, ring.min_hashes_per_host, ring.max_hashes_per_host) == (11, 3, 4)


def test_table_counts_the_entries_of_its_hosts() -> None:
    found = MaglevTable(normalized(hosts(1, 3)), 101)
    assert (found.min_entries_per_host, found.max_entries_per_host) == (26, 75)
    assert MaglevTable(normalized(hosts(1)), 1).choose(7) is not None


def test_key_of_a_host_is_its_metadata_its_name_or_its_address() -> None:
    [host] = hosts(1)
    assert hash_key(host, False) == b"10.0.0.0:80"
    assert hash_key(host, True) == b"h0"
    host.metadata = {"envoy.lb": {"hash_key": "mine"}}
    assert hash_key(host, True) == b"mine"
    host.metadata = {"envoy.lb": {"hash_key": 7}}
    assert hash_key(host, False) == b"10.0.0.0:80"


def test_primes_are_those_of_envoy() -> None:
    assert [number for number in range(12) if is_prime(number)] == [1, 2, 3, 5, 7, 11]
