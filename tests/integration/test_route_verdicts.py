"""Route configurations: what Envoy accepts is accepted and what Envoy refuses is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import LUA, ROUTER, envoy_verdict, our_verdict
from test_config_verdicts import Case, any_of, conf, swap

pytestmark = pytest.mark.oracle

_ROUTE = "route: {cluster: backend}"


def for_filter(config: str, key: str = "lua") -> str:
    """The plain route with an entry in typed_per_filter_config."""
    return swap(_ROUTE, f"{_ROUTE}\n                typed_per_filter_config: {{{key}: {config}}}")


def filter_config(fields: str) -> str:
    return any_of("envoy.config.route.v3.FilterConfig", fields)


_OF_ROUTE = any_of(LUA + "PerRoute", "disabled: true")
_UNKNOWN = any_of("xds.type.v3.TypedStruct", "type_url: type.googleapis.com/nope, value: {}")
ROUTE_FILTERS = [
    Case("FilterConfig disabled", for_filter(filter_config("disabled: true"))),
    Case("FilterConfig empty", for_filter(filter_config(""))),
    Case("FilterConfig optional and empty", for_filter(filter_config("is_optional: true"))),
    Case("FilterConfig with an empty config", for_filter(filter_config("config: {}"))),
    Case("FilterConfig with a config", for_filter(filter_config(f"config: {_OF_ROUTE}"))),
    Case(
        "FilterConfig disabled, of what nobody has",
        for_filter(filter_config(f"disabled: true, config: {_UNKNOWN}")),
    ),
    Case(
        "FilterConfig optional, of what nobody has",
        for_filter(filter_config(f"is_optional: true, config: {_UNKNOWN}")),
    ),
    Case("FilterConfig of what nobody has", for_filter(filter_config(f"config: {_UNKNOWN}"))),
    Case(
        "FilterConfig in FilterConfig",
        for_filter(filter_config(f"config: {filter_config('disabled: true')}")),
    ),
    Case("route config of a filter that takes none", for_filter(any_of(ROUTER))),
    Case(
        "optional route config of a filter that takes none",
        for_filter(filter_config(f"is_optional: true, config: {any_of(ROUTER)}")),
    ),
    Case("route config of nothing", for_filter("{}")),
    Case(
        "router disabled by default",
        conf().replace(
            "router\n            typed_config", "router\n            disabled: true\n            typed_config"
        ),
    ),
    Case(
        "router disabled for a route",
        for_filter(filter_config("disabled: true"), "envoy.filters.http.router"),
    ),
    Case(
        "route configuration with a filter that takes none",
        conf(routes=f"typed_per_filter_config: {{x: {any_of(ROUTER)}}}"),
    ),
]

CASES = ROUTE_FILTERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_route_configuration_gets_envoys_verdict(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(str(case.text))
    theirs, ours = envoy_verdict(file), our_verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"
