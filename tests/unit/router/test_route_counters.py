"""Statistics of virtual clusters and routes: who counts where."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.route_counters import CountedRoutes
from sidecar.config.messages import message_class
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.observability.stats import Store
from sidecar.router.route import DirectResponse, Route


class FakeStream:
    route_counters: tuple[Any, ...] = ()
    virtual_cluster_name = ""
    is_health_check = False
    details = "via_upstream"
    response_code = 200


def virtual_host(*names: str) -> Any:
    message: Any = message_class("envoy.config.route.v3.VirtualHost")
    made = message(name="h")
    for name in names:
        each = made.virtual_clusters.add(name=name)
        each.headers.add(name="x-to").string_match.exact = name
    return made


def run(route: Route, to: str, status: int = 200) -> FakeStream:
    stream = FakeStream()
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", [(b"x-to", to.encode())])
    for step in route.request_mutations:
        step.apply(headers, stream)  # type: ignore[arg-type]
    stream.response_code = status
    for step in route.response_mutations:
        step.apply(ResponseHeaders(status), stream)  # type: ignore[arg-type]
    return stream


def counters(store: Store) -> dict[str, int]:
    return {name: counter.value for name, counter in store.counters.items() if counter.value}


def test_request_counts_in_the_first_virtual_cluster_it_belongs_to_and_in_its_route() -> None:
    store = Store()
    route = Route()
    route.stat_prefix = "r"
    CountedRoutes(virtual_host("a", "b"), store, "at").add_to(route, "h")
    assert run(route, "a").virtual_cluster_name == "a"
    assert run(route, "c", 503).virtual_cluster_name == ""
    assert counters(store) == {
        "vhost.h.vcluster.a.upstream_rq_total": 1,
        "vhost.h.vcluster.a.upstream_rq_completed": 1,
        "vhost.h.vcluster.a.upstream_rq_2xx": 1,
        "vhost.h.vcluster.a.upstream_rq_200": 1,
        "vhost.h.vcluster.other.upstream_rq_total": 1,
        "vhost.h.vcluster.other.upstream_rq_completed": 1,
        "vhost.h.vcluster.other.upstream_rq_5xx": 1,
        "vhost.h.vcluster.other.upstream_rq_503": 1,
        "vhost.h.route.r.upstream_rq_total": 2,
        "vhost.h.route.r.upstream_rq_completed": 2,
        "vhost.h.route.r.upstream_rq_2xx": 1,
        "vhost.h.route.r.upstream_rq_200": 1,
        "vhost.h.route.r.upstream_rq_5xx": 1,
        "vhost.h.route.r.upstream_rq_503": 1,
    }


def test_route_that_counts_nowhere_or_answers_itself_has_no_step_more() -> None:
    plain = Route()
    CountedRoutes(virtual_host(), Store(), "at").add_to(plain, "h")
    answered = Route()
    answered.direct_response = DirectResponse(200)
    CountedRoutes(virtual_host("a"), Store(), "at").add_to(answered, "h")
    for route in (plain, answered):
        assert (route.request_mutations, route.response_mutations) == ((), ())


def test_status_that_is_none_is_completed_alone() -> None:
    store = Store()
    route = Route()
    route.stat_prefix = "r"
    CountedRoutes(virtual_host(), store, "at").add_to(route, "h")
    run(route, "a", 999)
    assert counters(store) == {
        "vhost.h.route.r.upstream_rq_total": 1,
        "vhost.h.route.r.upstream_rq_completed": 1,
    }
