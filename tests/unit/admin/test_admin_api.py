"""Requests to the admin API and their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.admin.api import AdminApi
from sidecar.admin.help import PATHS
from sidecar.core.headers import HeaderMap
from sidecar.core.log import get_levels, set_all_levels
from sidecar.upstream.host import HealthFlag

from .admin_state import BOOTSTRAP, SECRETIVE, FakeServer


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def api(server: FakeServer) -> AdminApi:
    return AdminApi(server)


def text(api: AdminApi, target: str, method: str = "GET") -> str:
    answer = api.handle(method.encode(), target.encode())
    assert answer.status == 200, answer.body
    return answer.body.decode()


def as_json(api: AdminApi, target: str) -> Any:
    return json.loads(text(api, target))


def test_ready_tells_the_state(server: FakeServer, api: AdminApi) -> None:
    assert api.handle(b"GET", b"/ready").status == 200
    server.server_state = "PRE_INITIALIZING"
    answer = api.handle(b"GET", b"/ready")
    assert (answer.status, answer.body) == (503, b"PRE_INITIALIZING\n")


def test_answer_carries_the_headers_of_every_admin_answer(api: AdminApi) -> None:
    assert api.handle(b"GET", b"/ready").headers == [
        (b"content-type", b"text/plain; charset=UTF-8"),
        (b"cache-control", b"no-cache, max-age=0"),
        (b"x-content-type-options", b"nosniff"),
    ]


@pytest.mark.parametrize("path", [path for path, entry in PATHS.items() if entry.mutates])
def test_path_that_changes_state_wants_post(server: FakeServer, api: AdminApi, path: str) -> None:
    answer = api.handle(b"GET", path.encode())
    assert (answer.status, answer.body) == (405, b"Method GET not allowed, POST required.")
    assert server.calls == []


@pytest.mark.parametrize(
    ("target", "call"),
    [
        ("/healthcheck/fail", ("health_failed", True)),
        ("/healthcheck/ok", ("health_failed", False)),
        ("/drain_listeners", ("drain", False, False, False)),
        ("/drain_listeners?graceful&inboundonly", ("drain", True, True, False)),
        ("/drain_listeners?graceful&skip_exit", ("drain", False, True, True)),
        ("/quitquitquit", "stop"),
        ("/reopen_logs", "reopen_logs"),
    ],
)
def test_post_reaches_the_server(server: FakeServer, api: AdminApi, target: str, call: Any) -> None:
    assert text(api, target, "POST") == "OK\n"
    assert server.calls == [call]


def test_unknown_path_is_answered_with_the_help(api: AdminApi) -> None:
    answer = api.handle(b"GET", b"/nope")
    assert answer.status == 404
    assert answer.body.startswith(b"invalid path. admin commands are:\n  /: Admin home page\n")


def test_every_listed_path_answers_something(api: AdminApi) -> None:
    for path, entry in PATHS.items():
        answer = api.handle(b"POST" if entry.mutates else b"GET", path.encode())
        assert answer.status in (200, 400, 501, 503), path


def test_start_page_links_every_path(api: AdminApi) -> None:
    page = text(api, "/")
    assert "<a href='stats'>" in page
    assert "<form action='quitquitquit' method='post'>" in page


def test_reset_counters_zeroes_them(server: FakeServer, api: AdminApi) -> None:
    counter = server.store.counter("a")
    counter.inc(3)
    text(api, "/reset_counters", "POST")
    assert counter.value == 0


# -- stats ----------------------------------------------------------------------------------------
def test_stats_are_refreshed_and_chosen(server: FakeServer, api: AdminApi) -> None:
    server.store.counter("cluster.up.total").inc(2)
    server.store.counter("cluster.up.unused")
    server.store.gauge("server.live").set(1)
    assert text(api, "/stats") == "cluster.up.total: 2\ncluster.up.unused: 0\nserver.live: 1\n"
    assert text(api, "/stats?usedonly&filter=^cluster%5C.") == "cluster.up.total: 2\n"
    assert text(api, "/stats?filter=total&invert_filter") == "cluster.up.unused: 0\nserver.live: 1\n"
    assert text(api, "/stats?type=Gauges") == "server.live: 1\n"
    assert as_json(api, "/stats?format=json&type=Gauges") == {"stats": [{"name": "server.live", "value": 1}]}
    assert text(api, "/stats?hidden=only") == ""
    prometheus = '# TYPE envoy_cluster_total counter\nenvoy_cluster_total{envoy_cluster_name="up"} 2\n'
    assert text(api, "/stats/prometheus?filter=up.total") == prometheus
    assert text(api, "/stats?format=prometheus&filter=up.total") == prometheus
    assert "cluster.up.total: 2\n" in text(api, "/stats?format=html")
    assert server.calls.count("refresh_stats") == 9


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("filter=(", "Invalid re2 regex: missing ): ("),
        ("type=Foo", "invalid &type= param"),
        ("format=foo", "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
        ("hidden=foo", "usage: /stats?hidden=(include|only|exclude)\n\n"),
        (
            "histogram_buckets=foo",
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
        ),
        ("format=prometheus&histogram_buckets=disjoint", "unsupported prometheus histogram bucket mode"),
    ],
)
def test_wrong_stats_query_is_refused_in_the_oracles_words(api: AdminApi, query: str, body: str) -> None:
    answer = api.handle(b"GET", f"/stats?{query}".encode())
    assert (answer.status, answer.body.decode()) == (400, body)


# -- clusters and listeners -----------------------------------------------------------------------
def test_clusters_show_hosts_and_their_health(server: FakeServer, api: AdminApi) -> None:
    host = server.clusters()[0].hosts[0]
    host.cx_total = 4
    host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    shown = text(api, "/clusters")
    assert "up::127.0.0.1:9::cx_total::4\n" in shown
    assert "up::127.0.0.1:9::health_flags::/failed_active_hc\n" in shown
    status = as_json(api, "/clusters?format=json")["cluster_statuses"][0]["host_statuses"][0]
    assert status["health_status"] == {"failed_active_health_check": True, "eds_health_status": "HEALTHY"}
    assert {"name": "cx_total", "value": "4"} in status["stats"]
    assert text(api, "/clusters?filter=nope") == ""
    assert api.handle(b"GET", b"/clusters?filter=(").status == 400


def test_listeners_show_their_addresses() -> None:
    api = AdminApi(FakeServer(listening="[::1]:80"))
    assert text(api, "/listeners") == "main::[::1]:80\n"
    address = as_json(api, "/listeners?format=json")["listener_statuses"][0]["local_address"]
    assert address == {"socket_address": {"address": "::1", "port_value": 80}}
    api = AdminApi(FakeServer(listening="/run/x.sock"))
    address = as_json(api, "/listeners?format=json")["listener_statuses"][0]["local_address"]
    assert address == {"pipe": {"path": "/run/x.sock"}}


# -- the rest -------------------------------------------------------------------------------------
def test_server_info_tells_version_options_and_node(api: AdminApi) -> None:
    info = as_json(api, "/server_info")
    assert info["state"] == "LIVE"
    assert info["node"] == {"id": "n1", "cluster": "c1"}
    assert info["command_line_options"]["mode"] == "Serve"
    assert info["command_line_options"]["file_flush_interval"] == "10s"


def test_memory_is_what_the_system_says(api: AdminApi) -> None:
    assert int(as_json(api, "/memory")["total_physical_bytes"]) > 1_000_000


@pytest.fixture
def _levels() -> Any:
    set_all_levels("info")
    yield
    set_all_levels("info")


@pytest.mark.usefixtures("_levels")
def test_logging_changes_levels(api: AdminApi) -> None:
    text(api, "/logging?level=error", "POST")
    assert set(get_levels().values()) == {"error"}
    text(api, "/logging?http=trace", "POST")
    shown = text(api, "/logging?paths=upstream:debug,config:warning", "POST")
    assert "  config: warning\n" in shown
    assert (get_levels()["http"], get_levels()["upstream"]) == ("trace", "debug")


@pytest.mark.usefixtures("_levels")
@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("foo=bar", "unknown logger level"),
        ("level=zzz", "unknown logger level"),
        ("paths=zz:info", "unknown logger name"),
        ("paths=http:debug,zz:info", "unknown logger name"),
        ("paths=http", "empty logger name or empty logger level"),
        ("level=info&paths=http:debug", "invalid number of parameters"),
        ("group=http:debug", "group parameter requires fine-grain logging to be enabled"),
    ],
)
def test_wrong_logging_query_changes_nothing(api: AdminApi, query: str, error: str) -> None:
    answer = api.handle(b"POST", f"/logging?{query}".encode())
    assert answer.status == 400
    assert answer.body.decode().startswith(f"error: {error}\n\nusage: /logging?<name>=<level>")
    assert set(get_levels().values()) == {"info"}


# -- configuration --------------------------------------------------------------------------------
def kinds(dump: Any) -> list[str]:
    return [entry["@type"].rpartition(".")[2] for entry in dump["configs"]]


def test_config_dump_has_every_section(api: AdminApi) -> None:
    sections = [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    assert kinds(as_json(api, "/config_dump")) == sections
    assert kinds(as_json(api, "/config_dump?include_eds")) == [
        *sections[:2],
        "EndpointsConfigDump",
        *sections[2:],
    ]


def test_config_dump_of_one_resource_is_typed(api: AdminApi) -> None:
    (found,) = as_json(api, "/config_dump?resource=static_route_configs")["configs"]
    assert found["@type"] == "type.googleapis.com/envoy.admin.v3.RoutesConfigDump.StaticRouteConfig"
    assert found["route_config"]["name"] == "routes"
    assert found["last_updated"] == "2026-11-22T21:37:23.500Z"
    (found,) = as_json(api, "/config_dump?include_eds&resource=static_endpoint_configs")["configs"]
    (group,) = found["endpoint_config"]["endpoints"]
    assert group["locality"] == {"region": "r1", "zone": "z1"}
    assert group["lb_endpoints"][0]["load_balancing_weight"] == 3
    assert text(api, "/config_dump?resource=dynamic_listeners") == "{}\n"


def test_config_dump_is_filtered_by_whole_names(api: AdminApi) -> None:
    assert text(api, "/config_dump?resource=static_clusters&name_regex=u") == "{}\n"
    assert len(as_json(api, "/config_dump?resource=static_clusters&name_regex=u.")["configs"]) == 1


def test_config_dump_mask_keeps_what_it_names(api: AdminApi) -> None:
    (found,) = as_json(api, "/config_dump?mask=bootstrap.node.id")["configs"]
    assert found["bootstrap"] == {"node": {"id": "n1"}}
    (found,) = as_json(api, "/config_dump?resource=static_clusters&mask=cluster.name,last_updated")["configs"]
    cluster = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "up"}
    assert found == {
        "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster",
        "cluster": cluster,
        "last_updated": "2026-11-22T21:37:23.500Z",
    }


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ("resource=zz", 404, "zz not found in config dump"),
        (
            "resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("mask=zz", 400, "FieldMask zz could not be successfully applied to any configs."),
        (
            "mask=static_clusters.cluster.name",
            400,
            "FieldMask static_clusters.cluster.name could not be successfully applied to any configs.",
        ),
        ("name_regex=(", 400, "INVALID_ARGUMENT: Error while parsing name_regex from (: missing ): ("),
    ],
)
def test_wrong_config_dump_query_is_refused_in_the_oracles_words(
    api: AdminApi, query: str, status: int, body: str
) -> None:
    answer = api.handle(b"GET", f"/config_dump?{query}".encode())
    assert (answer.status, answer.body.decode()) == (status, body)
    assert (b"content-type", b"text/plain") in answer.headers


def test_config_dump_hides_keys_and_passwords_also_inside_extensions() -> None:
    bootstrap = json.loads(json.dumps(BOOTSTRAP))
    bootstrap["static_resources"]["clusters"][0]["transport_socket"] = SECRETIVE
    shown = text(AdminApi(FakeServer(bootstrap)), "/config_dump")
    assert "KEY" not in shown
    assert "UFdE" not in shown
    assert "CERT" in shown
    (cluster,) = json.loads(shown)["configs"][1]["static_clusters"]
    context = cluster["cluster"]["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_certificates"][0]["private_key"] == {"inline_string": "[redacted]"}


@pytest.mark.parametrize(
    ("query", "content_type", "values"),
    [
        (b"", b"application/x-www-form-urlencoded", {"k": "v", "z": ""}),
        (b"?x=1", b"application/x-www-form-urlencoded", {"x": "1"}),
        (b"", b"application/x-www-form-urlencoded; charset=utf-8", None),
        (b"", None, None),
    ],
)
def test_runtime_takes_a_form_where_the_query_is_empty(
    query: bytes, content_type: bytes | None, values: dict[str, str] | None
) -> None:
    server = FakeServer()
    headers = HeaderMap([] if content_type is None else [(b"content-type", content_type)])
    answer = AdminApi(server).handle(b"POST", b"/runtime_modify" + query, b"k=v&z=", headers)
    assert answer.status == (400 if values is None else 503)  # the fake has no layer to change
    assert server.calls == ([] if values is None else [("modify_runtime", values)])
