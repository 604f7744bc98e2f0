"""Match trees over ranges and domains: where the more specific finds nothing, what is less so is asked."""

from __future__ import annotations

import ipaddress

import pytest

from sidecar.core.matching import MatchList, OnMatch
from sidecar.core.matching_sets import DomainMap, IpRangeMap

_NOTHING: OnMatch[bytes] = OnMatch(tree=MatchList([], None))


def _to(name: str) -> OnMatch[bytes]:
    return OnMatch(action=name)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (b"10.1.2.3", "wide"),
        (b"10.2.0.1", "narrow"),
        (b"11.0.0.1", "other"),
        (b"2001:db8::1", "six"),
        (b"no address", "other"),
        (b"\xff", "other"),
    ],
)
def test_narrowest_range_that_finds_something_counts(address: bytes, found: str) -> None:
    ranges = [
        (ipaddress.ip_network("10.0.0.0/8"), _to("wide"), False),
        (ipaddress.ip_network("10.1.2.0/24"), _NOTHING, False),
        (ipaddress.ip_network("10.1.0.0/16"), _to("exclusive"), True),
        (ipaddress.ip_network("10.2.0.0/16"), _to("narrow"), True),
        (ipaddress.ip_network("2001:db8::/32"), _to("six"), False),
    ]
    tree = IpRangeMap(lambda data: data, ranges, _to("other"))
    assert tree.match(address) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"a.b.c", "exact"),
        (b"x.b.c", "suffix"),
        (b"x.y.b.c", "suffix"),
        (b"b.c", "any"),
        (b"q.x.b.c", "suffix"),
        (b"", "other"),
    ],
)
def test_domains_are_asked_from_the_most_specific(name: bytes, found: str) -> None:
    domains = [("*", _to("any")), ("*.b.c", _to("suffix")), ("a.b.c", _to("exact")), ("*.x.b.c", _NOTHING)]
    tree = DomainMap(lambda data: data, domains, _to("other"))
    assert tree.match(name) == found
