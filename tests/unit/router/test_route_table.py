"""From authority and path to a route: Envoy's search order and every kind of match."""

from __future__ import annotations

from collections import Counter

import pytest
import re2

from sidecar.core.headers import RequestHeaders
from sidecar.router.cluster_choice import WeightedCluster
from sidecar.router.route_table import (
    CONNECT,
    PATH,
    PREFIX,
    REGEX,
    SEPARATED_PREFIX,
    Route,
    RouteTable,
    VirtualHost,
)


def virtual_host(name: str, *routes: Route) -> VirtualHost:
    return VirtualHost(name, routes or (route(name),))


def route(name: str, kind: int = PREFIX, value: object = b"/") -> Route:
    made = Route(kind, value)
    made.name = name
    return made


def request(
    path: bytes | None = b"/", authority: bytes | None = b"a", method: bytes = b"GET"
) -> RequestHeaders:
    return RequestHeaders(method, path, authority, b"http")


def found(table: RouteTable, headers: RequestHeaders) -> str | None:
    match = table.find(headers)
    return None if match is None else match.name


# -- domains --------------------------------------------------------------------------------------------
@pytest.fixture
def domains() -> RouteTable:
    table = RouteTable()
    for domain in (b"*", b"a.com", b"*.a.com", b"*-b.a.com", b"www.*", b"www.a*", b"host:8080"):
        assert table.add(domain, virtual_host(domain.decode()))
    return table


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (b"a.com", "a.com"),
        (b"A.COM", "a.com"),
        (b"x.a.com", "*.a.com"),
        (b"x-b.a.com", "*-b.a.com"),
        (b"www.a.com", "*.a.com"),
        (b"www.abc", "www.a*"),
        (b"www.xyz", "www.*"),
        (b"www.", "*"),
        (b".a.com", "*"),
        (b"other", "*"),
        (b"host:8080", "host:8080"),
        (b"host", "*"),
        (b"a.com:80", "*"),
        (b"", "*"),
        (None, None),
    ],
)
def test_domain_is_searched_exact_then_suffix_then_prefix_then_star(
    domains: RouteTable, authority: bytes | None, expected: str | None
) -> None:
    assert found(domains, request(authority=authority)) == expected


@pytest.mark.parametrize(
    ("authority", "expected"), [(b"a.com:80", "a.com"), (b"x.a.com:443", "*.a.com"), (b"[::1]:80", "[::1]")]
)
def test_port_may_be_ignored(authority: bytes, expected: str) -> None:
    table = RouteTable()
    table.ignore_port = True
    for domain in (b"a.com", b"*.a.com", b"[::1]"):
        table.add(domain, virtual_host(domain.decode()))
    assert found(table, request(authority=authority)) == expected


def test_domain_that_is_taken_is_refused() -> None:
    table = RouteTable()
    for domain in (b"*", b"a.com", b"*.a.com", b"www.*"):
        assert table.add(domain, virtual_host("first"))
        assert not table.add(domain.upper(), virtual_host("second"))
    assert found(table, request(authority=b"a.com")) == "first"


def test_unknown_domain_without_a_star_has_no_route() -> None:
    table = RouteTable()
    table.add(b"a.com", virtual_host("a"))
    assert found(table, request(authority=b"b.com")) is None
    assert found(RouteTable(), request()) is None


# -- paths ----------------------------------------------------------------------------------------------
def one(made: Route) -> RouteTable:
    table = RouteTable()
    table.add(b"*", VirtualHost("all", [made]))
    return table


@pytest.mark.parametrize(
    ("kind", "value", "path", "matches"),
    [
        (PREFIX, b"/a", b"/abc", True),
        (PREFIX, b"/a", b"/A", False),
        (PREFIX, b"/a?", b"/a?b", False),
        (PREFIX, b"/", None, False),
        (PATH, b"/a", b"/a", True),
        (PATH, b"/a", b"/a?b=c", True),
        (PATH, b"/a", b"/a/", False),
        (SEPARATED_PREFIX, b"/a", b"/a", True),
        (SEPARATED_PREFIX, b"/a", b"/a/b", True),
        (SEPARATED_PREFIX, b"/a", b"/a?b", True),
        (SEPARATED_PREFIX, b"/a", b"/ab", False),
        (REGEX, re2.compile("/[0-9]+"), b"/12", True),
        (REGEX, re2.compile("/[0-9]+"), b"/12?x", True),
        (REGEX, re2.compile("/[0-9]+"), b"/12a", False),
    ],
)
def test_route_matches_the_path_without_its_query(
    kind: int, value: object, path: bytes | None, matches: bool
) -> None:
    assert (found(one(route("r", kind, value)), request(path)) == "r") is matches


def test_regex_route_takes_a_path_that_is_not_utf_8_for_no_match() -> None:
    assert found(one(route("r", REGEX, re2.compile("/.*"))), request(b"/\xff")) is None


@pytest.mark.parametrize("kind", [PREFIX, PATH, SEPARATED_PREFIX])
def test_route_may_match_without_regard_to_case(kind: int) -> None:
    made = route("r", kind, b"/abc")
    made.case_sensitive = False
    assert found(one(made), request(b"/ABC")) == "r"


def test_connect_is_matched_by_connect_routes_alone() -> None:
    assert found(one(route("prefix")), request(None, method=b"CONNECT")) is None
    table = one(route("connect", CONNECT, b""))
    assert found(table, request(None, method=b"CONNECT")) == "connect"
    assert found(table, request()) is None


def test_first_route_whose_conditions_hold_is_taken() -> None:
    special = route("special")
    special.predicates = (
        lambda headers, _: headers.get(b"x") == b"1",
        lambda headers, _: headers.method == b"GET",
    )
    table = RouteTable()
    table.add(b"*", VirtualHost("all", [special, route("exact", PATH, b"/e"), route("rest")]))
    headers = request()
    headers.add(b"x", b"1")
    assert found(table, headers) == "special"
    headers.method = b"PUT"
    assert found(table, headers) == "rest"
    assert found(table, request(b"/e")) == "exact"


# -- clusters -------------------------------------------------------------------------------------------
def test_cluster_is_named_or_taken_from_a_header() -> None:
    made = route("r")
    made.cluster_name = "named"
    made.freeze()
    assert made.choose is None
    made.cluster_header = b"x-to"
    made.freeze()
    assert made.choose is not None
    assert not made.is_simple
    headers = request()
    assert made.choose(headers, None).cluster_name == ""
    headers.add(b"x-to", b"there")
    chosen = made.choose(headers, None)
    assert (chosen.name, chosen.cluster_name, chosen.is_simple) == ("r", "there", True)
    assert made.choose(headers, None) is chosen


def test_names_taken_from_a_header_are_kept_up_to_a_limit() -> None:
    made = route("r")
    made.cluster_header = b"x-to"
    made.freeze()
    assert made.choose is not None
    for number in range(1100):
        headers = request()
        headers.add(b"x-to", b"%d" % number)
        assert made.choose(headers, None).cluster_name == str(number)
    assert made.choose(headers, None) is not made.choose(headers, None)


def test_weighted_clusters_are_drawn_by_their_weight() -> None:
    made = route("r")
    made.weighted = (WeightedCluster("a", 1), WeightedCluster("none", 0), WeightedCluster("b", 3))
    made.freeze()
    assert made.choose is not None
    drawn = Counter(made.choose(request(), None).cluster_name for _ in range(4000))
    assert set(drawn) == {"a", "b"}
    assert 800 < drawn["a"] < 1200


def weighted_by_value() -> Route:
    made = route("r")
    made.weighted = (WeightedCluster("a", 2), WeightedCluster("none", 0), WeightedCluster("b", 4))
    made.weighted_header = b"x-value"
    made.freeze()
    return made


@pytest.mark.parametrize(
    ("value", "name"),
    [(b"0", "a"), (b"1", "a"), (b"2", "b"), (b"5", "b"), (b" +7 ", "a"), (b"18446744073709551615", "b")],
)
def test_value_of_a_header_falls_to_an_entry_by_weight(value: bytes, name: str) -> None:
    headers = request()
    headers.add(b"x-value", value)
    made = weighted_by_value()
    assert made.choose is not None
    assert made.choose(headers, None).cluster_name == name


@pytest.mark.parametrize("values", [(), (b"0", b"0"), (b"-1",), (b"x",), (b"18446744073709551616",), (b"",)])
def test_value_that_is_no_single_number_is_drawn(values: tuple[bytes, ...]) -> None:
    headers = request()
    for value in values:
        headers.add(b"x-value", value)
    made = weighted_by_value()
    assert made.choose is not None
    assert {made.choose(headers, None).cluster_name for _ in range(200)} == {"a", "b"}


def test_entry_may_take_its_name_from_a_header() -> None:
    made = route("r")
    made.weighted = (WeightedCluster("", 1, cluster_header=b"x-cluster"),)
    made.freeze()
    headers = request()
    assert made.choose is not None
    assert made.choose(headers, None).cluster_name == ""
    headers.add(b"x-cluster", b"c")
    assert made.choose(headers, None).cluster_name == "c"
