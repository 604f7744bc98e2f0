"""What is looked at by its pieces comes to what it comes to as a whole, whatever came before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import any_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.route import compile_route_table
from sidecar.config.compile.route_cache import RouteCache
from sidecar.config.messages import message_class
from sidecar.config.pieces import split
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter
from sidecar.core.headers import RequestHeaders
from sidecar.observability.stats import Store
from sidecar.xds.assignment_pieces import AssignmentPieces
from sidecar.xds.eds import assignment_kind
from sidecar.xds.rds import ROUTE_CONFIGURATION
from sidecar.xds.route_pieces import RoutePieces
from sidecar.xds.subscription import ResourceKind


def make(name: str) -> Any:
    cls = message_class(name)
    assert cls is not None
    return cls()


def make_context() -> FactoryContext:
    store = Store()
    return FactoryContext(
        stats=store,
        root_stats=store,
        node=NodeInfo(),
        path="",
        warn=lambda path, reason: None,
        read_data_source=lambda message, path: b"",
        on_close=lambda close: None,
        find_cluster=lambda name: None,
    )


BOOTSTRAP = make("envoy.config.bootstrap.v3.Bootstrap")


def decode(kind: ResourceKind, message: Any) -> tuple[Any, list[str]]:
    packed = any_pb2.Any()
    packed.Pack(message)
    report = Reporter(None)
    found = kind.decode(
        packed, ("resources", 0), "1", bootstrap=BOOTSTRAP, registry=Registry(()), report=report
    )
    return None if found is None else found.value, [str(each) for each in report.problems]


#: Number, weight (a wrong one among them) of an endpoint.
_endpoints = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 0, 1, 2, 3])), max_size=5)
_localities = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1), _endpoints), max_size=3)


def assignment(name: str, localities: Any) -> Any:
    made = make("envoy.config.endpoint.v3.ClusterLoadAssignment")
    made.cluster_name = name
    for zone, priority, endpoints in localities:
        entry = made.endpoints.add(priority=priority)
        entry.locality.zone = zone
        entry.load_balancing_weight.value = 1 + len(endpoints)
        for number, weight in endpoints:
            each = entry.lb_endpoints.add()
            each.endpoint.address.socket_address.address = f"192.0.2.{number}" if weight < 3 else "no address"
            each.endpoint.address.socket_address.port_value = 80
            if weight:
                each.load_balancing_weight.value = weight
    return made


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["c", "c", "d"]), _localities), min_size=2, max_size=5))
def test_assignment_by_its_pieces_is_the_assignment(steps: Any) -> None:
    whole = assignment_kind(make_context())
    by_pieces = replace(whole, incremental=AssignmentPieces())
    for name, localities in steps:
        message = assignment(name, localities)
        assert decode(by_pieces, message) == decode(whole, message)


#: Path, status (a wrong one among them) of a route.
_routes = st.lists(
    st.tuples(st.sampled_from(["/a", "/ab", "/b", "/"]), st.sampled_from([200, 404, 503, 99])), max_size=4
)
_hosts = st.lists(st.tuples(st.sampled_from(["a.test", "b.test", "*"]), _routes), max_size=3)


def routes(hosts: Any) -> Any:
    made = make(ROUTE_CONFIGURATION)
    made.name = "r"
    for domain, entries in hosts:
        host = made.virtual_hosts.add(name=domain)
        host.domains.append(domain)
        for path, status in entries:
            route = host.routes.add()
            route.match.prefix = path
            route.direct_response.status = status
    return made


def answers(table: Any) -> list[object]:
    found = []
    for authority in (b"a.test", b"b.test", b"c.test"):
        for path in (b"/a", b"/abc", b"/b", b"/x"):
            headers = RequestHeaders([(b":method", b"GET"), (b":authority", authority), (b":path", path)])
            route = table.find(headers)
            found.append(None if route is None else (route.direct_response, route.virtual_host_name))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(_hosts, min_size=2, max_size=5))
def test_routes_by_their_pieces_are_the_routes(steps: Any) -> None:
    whole = ResourceKind(
        ROUTE_CONFIGURATION, "name", lambda message, path: (message, path), validates_clusters=False
    )
    by_pieces = replace(whole, incremental=RoutePieces())
    cache = RouteCache()
    for hosts in steps:
        message = routes(hosts)
        found = decode(by_pieces, message)
        assert found == decode(whole, message)
        if found[0] is not None:
            plain = compile_route_table(message, make_context(), Registry(()), {})
            cached = compile_route_table(message, make_context(), Registry(()), {}, (), cache)
            assert answers(cached) == answers(plain)


def test_unchanged_virtual_host_is_used_again_and_a_changed_one_keeps_its_routes() -> None:
    cache = RouteCache()
    context = make_context()

    def table(hosts: Any) -> Any:
        return compile_route_table(routes(hosts), context, Registry(()), {}, (), cache)

    first = table([("a.test", [("/a", 200)]), ("b.test", [("/a", 200), ("/b", 404)])])
    second = table([("a.test", [("/a", 200)]), ("b.test", [("/a", 200), ("/b", 503)])])
    assert second.find_virtual_host(b"a.test") is first.find_virtual_host(b"a.test")
    before, after = (each.find_virtual_host(b"b.test") for each in (first, second))
    assert after.routes[0] is before.routes[0]
    assert after.routes[1] is not before.routes[1]


@given(st.binary(max_size=40), st.integers(1, 15))
def test_bytes_are_cut_into_what_they_are_made_of_or_refused(data: bytes, field: int) -> None:
    try:
        rest, pieces = split(data, field)
    except ValueError:
        return
    assert len(rest) + sum(map(len, pieces)) <= len(data)


@pytest.mark.parametrize("data", [b"\x12", b"\x12\x05ab", b"\x08", b"\x13", b"\x12\x80"])
def test_message_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|no message"):
        split(data, 2)
