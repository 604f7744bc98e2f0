"""The admin API beside Envoy's, for the same bootstrap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from observability.oracle import Oracle

from sidecar.admin.api import AdminApi
from sidecar.core.log import set_all_levels
from tests.support.oracle_binary import envoy_binary

from .admin_state import BOOTSTRAP, FakeServer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(envoy_binary() is None, reason="Envoy is not installed"),
]


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with Oracle(tmp_path_factory.mktemp("envoy"), BOOTSTRAP, "--disable-hot-restart") as oracle:
        yield oracle


@pytest.fixture(scope="module")
def api(envoy: Oracle) -> AdminApi:
    set_all_levels("warning")
    host, port = envoy.listener("main")
    return AdminApi(FakeServer(listening=f"{host}:{port}"))


def normalised(target: str, content_type: str, body: str) -> Any:
    """A body without what differs from run to run and from proxy to proxy."""
    if content_type != "application/json" or target.startswith("/stats"):
        return body
    value = json.loads(body)
    if target == "/memory":
        return sorted(value)
    if target == "/server_info":
        return sorted(value), sorted(value["command_line_options"]), value["state"]
    return _strip(value)


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        gone = {"last_updated", "node", "admin"}
        return {key: _strip(item) for key, item in value.items() if key not in gone}
    if isinstance(value, list):
        return [_strip(item) for item in value]
    return value


REQUESTS = [tuple(line.split()) for line in Path(__file__).with_name("requests.txt").read_text().splitlines()]


@pytest.mark.parametrize(("method", "target"), REQUESTS)
def test_answer_is_the_oracles(envoy: Oracle, api: AdminApi, method: str, target: str) -> None:
    status, headers, body = envoy.request(method, target)
    answer = api.handle(method.encode(), target.encode())
    assert answer.status == status
    content_type = headers["content-type"]
    for name in ("content-type", "cache-control", "x-content-type-options"):
        assert dict(answer.headers)[name.encode()].decode() == headers[name]
    assert normalised(target, content_type, answer.body.decode()) == normalised(target, content_type, body)


def test_drain_and_health_change_readiness_as_the_oracle_says(envoy: Oracle) -> None:
    assert envoy.request("POST", "/healthcheck/fail")[2] == "OK\n"
    status, _, body = envoy.get("/ready")
    assert envoy.request("POST", "/healthcheck/ok")[0] == 200
    server = FakeServer()
    server.server_state = "DRAINING"
    answer = AdminApi(server).handle(b"GET", b"/ready")
    assert (answer.status, answer.body.decode()) == (status, body)


def test_secrets_are_redacted_where_the_oracle_redacts_them(tmp_path: Path) -> None:
    bootstrap = json.loads(json.dumps(BOOTSTRAP))
    bootstrap["static_resources"]["secrets"] = [
        {"name": "s", "generic_secret": {"secret": {"inline_string": "KEY"}}},
        {"name": "f", "generic_secret": {"secret": {"filename": str(tmp_path / "key")}}},
    ]
    (tmp_path / "key").write_text("KEY")
    with Oracle(tmp_path, bootstrap) as oracle:
        wanted = json.loads(oracle.text("/config_dump?resource=static_secrets"))
    answer = AdminApi(FakeServer(bootstrap)).handle(b"GET", b"/config_dump?resource=static_secrets")
    found = json.loads(answer.body)
    assert "KEY" not in answer.body.decode()
    by_name = lambda entry: entry["name"]  # noqa: E731
    assert sorted(_strip(found["configs"]), key=by_name) == sorted(_strip(wanted["configs"]), key=by_name)
