"""Every configuration of the mission's guide gets the verdict that its README states, and Envoy's.

What a refused one must print besides (file, line, column and the fix) is in the second half.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime
from config_oracle import Verdict, envoy_verdict, load, our_verdict

from sidecar.config.errors import Problem
from sidecar.config.load import Loaded

MISSION = Path(__file__).parent.parent / "mission"
FILES = sorted(path.name for path in MISSION.glob("*.yaml"))
REFUSED = [name for name in FILES if name.endswith(".asis.yaml")]

#: The smallest module that a proxy-wasm host loads.
WASM = """
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024)))
"""


@pytest.fixture(scope="session")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the guide's files name under /etc/envoy and /var/log/envoy."""
    root = tmp_path_factory.mktemp("guide")
    subprocess.run(
        ["bash", str(MISSION / "make_certs.sh"), str(root / "etc" / "certs")], check=True, timeout=60
    )
    (root / "etc" / "wasm").mkdir()
    (root / "etc" / "wasm" / "my_filter.wasm").write_bytes(wasmtime.wat2wasm(WASM))
    (root / "log").mkdir()
    for name in FILES:
        text = (MISSION / name).read_text(encoding="utf-8")
        text = text.replace("/etc/envoy", str(root / "etc")).replace("/var/log/envoy", str(root / "log"))
        (root / name).write_text(text, encoding="utf-8")
    return root


def problems(guide: Path, name: str) -> list[Problem]:
    """The errors of a refused file."""
    result = load(guide / name)
    assert not isinstance(result, Loaded), f"{name} was accepted"
    return [problem for problem in result if problem.severity == "error"]


def only(found: list[Problem], *, line: int, column: int, path_end: str) -> Problem:
    """The one error at this place."""
    here = [p for p in found if p.mark is not None and (p.mark.line, p.mark.column) == (line, column)]
    assert len(here) == 1, [str(p) for p in found]
    assert here[0].path.endswith(path_end)
    return here[0]


def test_mission_is_whole() -> None:
    assert len(FILES) == 51
    assert len(REFUSED) == 12


@pytest.mark.oracle
@pytest.mark.parametrize("name", FILES)
def test_mission_file_gets_the_verdict_of_its_readme_and_of_envoy(guide: Path, name: str) -> None:
    expected = not name.endswith(".asis.yaml")
    theirs = envoy_verdict(guide / name)
    ours = our_verdict(guide / name)
    assert theirs.accepted is expected, theirs.text
    assert ours.accepted is expected, ours.text


@pytest.mark.parametrize("name", FILES)
def test_mission_file_gets_the_verdict_of_its_readme_from_the_command(guide: Path, name: str) -> None:
    command = [sys.executable, "-m", "sidecar", "--mode", "validate", "--format", "json", "-c", name]
    done = subprocess.run(command, cwd=guide, capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(done.stdout)
    errors = [problem for problem in report["problems"] if problem["severity"] == "error"]
    refused = name in REFUSED
    assert (done.returncode, report["ok"], bool(errors)) == (int(refused), not refused, refused), report
    assert all(problem["line"] >= 1 for problem in errors)


@pytest.mark.oracle
def test_mission_access_log_without_its_folder_is_refused_as_by_envoy(tmp_path: Path) -> None:
    text = (MISSION / "28_access_log_json.yaml").read_text(encoding="utf-8")
    file = tmp_path / "28.yaml"
    file.write_text(text.replace("/var/log/envoy", str(tmp_path / "missing")), encoding="utf-8")
    theirs, ours = envoy_verdict(file), our_verdict(file)
    for verdict in (theirs, ours):
        assert verdict == Verdict(False, verdict.text)
        assert (
            f"unable to open file '{tmp_path}/missing/access.log': No such file or directory" in verdict.text
        )


@pytest.mark.parametrize("name", REFUSED)
def test_mission_refusal_names_file_line_and_column_of_every_error(guide: Path, name: str) -> None:
    for problem in problems(guide, name):
        assert problem.mark is not None
        assert problem.mark.file == str(guide / name)
        assert str(problem).startswith(f"{guide / name}:{problem.mark.line}:{problem.mark.column} ")
        assert problem.hint is not None, str(problem)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "07_listener_filters.asis.yaml",
            [
                (13, "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
                (14, "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"),
                (15, "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"),
                (16, "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"),
            ],
        ),
        (
            "14_filter_order.asis.yaml",
            [
                (27, "envoy.extensions.filters.http.cors.v3.Cors"),
                (29, "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
                (31, "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"),
                (33, "envoy.extensions.filters.http.ratelimit.v3.RateLimit"),
                (35, "envoy.extensions.filters.http.lua.v3.Lua"),
                (37, "envoy.extensions.filters.http.compressor.v3.Compressor"),
                (39, "envoy.extensions.filters.http.router.v3.Router"),
            ],
        ),
        (
            "32_retry_policy.asis.yaml",
            [(36, "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")],
        ),
    ],
)
def test_mission_extension_without_typed_config_is_answered_by_the_lines_to_add(
    guide: Path, name: str, expected: list[tuple[int, str]]
) -> None:
    found = problems(guide, name)
    printed = [(problem.mark.line if problem.mark else 0, problem.hint) for problem in found]
    assert printed == [
        (line, f'add:\ntyped_config:\n  "@type": type.googleapis.com/{message}') for line, message in expected
    ]


@pytest.mark.parametrize("name", ["24_downstream_mtls.asis.yaml", "25_upstream_mtls.asis.yaml"])
def test_mission_transport_socket_without_name_is_answered_by_the_name(guide: Path, name: str) -> None:
    found = problems(guide, name)
    assert [problem.hint for problem in found] == ["add:\nname: envoy.transport_sockets.tls"]
    assert found[0].reason == "value length must be at least 1 characters"
    assert found[0].path.endswith("transport_socket.name")


def test_mission_05_names_the_nearest_cluster(guide: Path) -> None:
    problem = only(
        problems(guide, "05_static_bootstrap.asis.yaml"), line=34, column=19, path_end="route.cluster"
    )
    assert problem.reason == "route: unknown cluster 'service_v2'"
    assert problem.hint == "did you mean 'service_v1'?"


@pytest.mark.parametrize(
    ("name", "who"), [("06_ads_bootstrap.asis.yaml", "ads"), ("26_statsd_sink.asis.yaml", "tcp statsd")]
)
def test_mission_missing_node_is_answered_by_both_ways_to_give_it(guide: Path, name: str, who: str) -> None:
    (problem,) = problems(guide, name)
    assert problem.reason == f"{who}: node 'id' and 'cluster' are required"
    assert problem.hint is not None
    assert "--service-node and --service-cluster" in problem.hint
    assert "node:\n  id: " in problem.hint


@pytest.mark.parametrize("name", ["06_ads_bootstrap.asis.yaml", "26_statsd_sink.asis.yaml"])
@pytest.mark.oracle
def test_mission_missing_node_given_on_the_command_line_is_accepted(guide: Path, name: str) -> None:
    assert envoy_verdict(guide / name, "--service-node", "n", "--service-cluster", "c").accepted
    assert our_verdict(guide / name, node_id="n", node_cluster="c").accepted


def test_mission_16_says_that_routing_enabled_is_a_percent_and_all_that_follows(guide: Path) -> None:
    found = problems(guide, "16_zone_aware.asis.yaml")
    percent = only(found, line=42, column=11, path_end="zone_aware_lb_config.routing_enabled.default_value")
    assert percent.hint == "routing_enabled is a Percent: write {value: 100}"
    reasons = [problem.reason for problem in found]
    assert "cannot create an EDS cluster without an EDS config" in reasons
    assert any("node 'id' and 'cluster' are required" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["19_grpc_health_check.asis.yaml", "20_tcp_health_check.asis.yaml"])
def test_mission_health_check_names_every_required_field_at_once(guide: Path, name: str) -> None:
    missing = {
        problem.path.rpartition(".")[2] for problem in problems(guide, name) if "required" in problem.reason
    }
    assert missing == {"timeout", "interval", "unhealthy_threshold", "healthy_threshold"}


def test_mission_19_says_that_the_cluster_must_speak_http2(guide: Path) -> None:
    found = problems(guide, "19_grpc_health_check.asis.yaml")
    reason = "health_checked_cluster cluster must support HTTP/2 for gRPC healthchecking"
    assert [problem.hint for problem in found if problem.reason == reason and problem.hint is not None] != []


def test_mission_20_says_what_ping_and_pong_are_in_hexadecimal(guide: Path) -> None:
    found = problems(guide, "20_tcp_health_check.asis.yaml")
    ping = only(found, line=34, column=17, path_end="send.text")
    assert ping.reason == "invalid hex string 'PING': text is hexadecimal"
    assert ping.hint == "PING is 50494E47"
    assert only(found, line=35, column=21, path_end="receive[0].text").hint == "PONG is 504F4E47"


def test_mission_36_says_that_the_four_fields_belong_one_level_up(guide: Path) -> None:
    (problem,) = problems(guide, "36_hcm_timeouts.asis.yaml")
    assert problem.mark is not None
    assert (problem.mark.line, problem.mark.column) == (19, 11)
    assert problem.hint is not None
    assert (
        "request_timeout, request_headers_timeout, stream_idle_timeout, drain_timeout belong one level up"
        in (problem.hint)
    )
