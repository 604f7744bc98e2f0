"""Loading: the way back from fields to the files, overlays, the node's name, and the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_text import BASE, LUA, StubFactory, load_text, registry

from sidecar.config.errors import ConfigErrors, Mark
from sidecar.config.load import Loaded, load_bootstrap
from sidecar.config.messages import message_class
from sidecar.config.registry import Registry
from sidecar.core.errors import ConfigError

_LUA_ENTRY = f"""\
          http_filters:
          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/{LUA}
              default_source_code:
                inline_string: |
                  function envoy_on_request(handle)
                  end
"""
WITH_LUA = BASE.replace("          http_filters:\n", _LUA_ENTRY, 1)
_SCRIPT = (
    "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]"
    ".typed_config.default_source_code.inline_string"
)


def loaded(result: Any) -> Loaded:
    assert isinstance(result, Loaded), "\n".join(map(str, result))
    return result


def test_field_inside_an_any_is_located(tmp_path: Path) -> None:
    result = loaded(load_text(tmp_path, WITH_LUA))
    file = str(tmp_path / "c.yaml")
    assert result.locate(_SCRIPT) == Mark(file, 23, 17)
    assert result.locate_text(_SCRIPT) == Mark(file, 24, 19)


def test_problem_of_a_later_stage_counts_lines_inside_the_script(tmp_path: Path) -> None:
    problem = loaded(load_text(tmp_path, WITH_LUA)).problem(_SCRIPT, "'=' expected", line_in_text=2)
    assert str(problem).startswith(f"{tmp_path / 'c.yaml'}:25:19 static_resources.")


def test_factory_that_validates_is_asked_and_its_errors_are_placed(tmp_path: Path) -> None:
    class Lua(StubFactory):
        def validate(self, message: Any, path: Any, report: Any) -> None:
            assert message.default_source_code.inline_string.startswith("function")
            report.error((*path, "default_source_code", "inline_string"), "syntax error", line_in_text=2)

    factories = registry(Lua("envoy.filters.http.lua", "envoy.filters.http", LUA))
    (problem,) = load_text(tmp_path, WITH_LUA, registry=factories)  # type: ignore[misc]
    assert problem.mark == Mark(str(tmp_path / "c.yaml"), 25, 19)
    assert problem.path == _SCRIPT


def test_overlay_merges_over_the_file_and_its_fields_are_located_in_it(tmp_path: Path) -> None:
    overlay = "node: {id: b}\nstatic_resources:\n  clusters:\n  - {name: more, type: STATIC}\n"
    result = loaded(load_text(tmp_path, "node: {id: a, cluster: c}\n" + BASE, overlay=overlay))
    assert (result.bootstrap.node.id, result.bootstrap.node.cluster) == ("b", "c")
    assert [cluster.name for cluster in result.bootstrap.static_resources.clusters] == ["backend", "more"]
    assert result.locate("static_resources.clusters[1].name") == Mark("<--config-yaml>", 4, 6)
    assert result.locate("static_resources.clusters[0].name").file == str(tmp_path / "c.yaml")
    assert result.locate("node.id").file == "<--config-yaml>"
    assert result.locate("node.cluster").file == str(tmp_path / "c.yaml")


def test_overlay_alone_is_a_configuration() -> None:
    result = load_bootstrap(None, BASE, registry=registry())
    assert result.locate("static_resources.clusters[0].name") == Mark("<--config-yaml>", 23, 5)


def test_no_configuration_is_refused() -> None:
    with pytest.raises(ConfigErrors, match="no configuration"):
        load_bootstrap(None, None, registry=registry())


def test_unreadable_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"unable to read file: .*nope\.yaml: No such file or directory"):
        load_bootstrap(str(tmp_path / "nope.yaml"), None, registry=registry())
    with pytest.raises(ConfigErrors, match="Is a directory"):
        load_bootstrap(str(tmp_path), None, registry=registry())


def test_command_line_names_the_node_before_the_file_does(tmp_path: Path) -> None:
    text = BASE + "node: {id: a, cluster: b, locality: {region: r, zone: z}}\n"
    node = loaded(load_text(tmp_path, text, node_id="x", node_zone="y")).bootstrap.node
    assert (node.id, node.cluster, node.locality.region, node.locality.zone) == ("x", "b", "r", "y")


def test_errors_of_every_stage_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        BASE.replace("stat_prefix: s", "stat_prefx: s")
        .replace("cluster: backend}", "cluster: bakend}")
        .replace("port_value: 1}", "port_value: 70000}")
        .replace("  clusters:\n", "  clusters:\n  - {name: backend, type: STATIC}\n")
    )
    result = load_text(tmp_path, text)
    assert not isinstance(result, Loaded)
    assert [(p.mark.line if p.mark else 0, p.path.rpartition(".")[2]) for p in result] == [
        (8, "stat_prefix"),
        (10, "stat_prefx"),
        (17, "cluster"),
        (24, "name"),
        (30, "port_value"),
    ]


def test_duplicate_listener_and_cluster_names_point_at_the_first(tmp_path: Path) -> None:
    text = BASE.replace(
        "  clusters:\n",
        "  - name: l\n    address: {pipe: {path: /tmp/x}}\n    filter_chains: [{}]\n"
        "  clusters:\n  - {name: backend, type: STATIC}\n",
    )
    result = load_text(tmp_path, text)
    assert not isinstance(result, Loaded)
    assert [(p.reason, p.hint) for p in result] == [
        ("duplicate listener 'l'", "the first stands at line 3"),
        ("duplicate cluster 'backend'", "the first stands at line 26"),
    ]


def test_deprecated_field_warns_with_its_successor(tmp_path: Path) -> None:
    match = 'match: {prefix: "/", headers: [{name: a, exact_match: b}]}'
    (warning,) = loaded(load_text(tmp_path, BASE.replace('match: {prefix: "/"}', match))).warnings
    assert warning.reason == "Using deprecated option 'envoy.config.route.v3.HeaderMatcher.exact_match'"
    assert warning.hint == "write string_match: {exact: ...}"


def test_binary_configuration_is_loaded_without_places(tmp_path: Path) -> None:
    source = loaded(load_text(tmp_path, BASE))
    binary = tmp_path / "c.pb"
    binary.write_bytes(source.bootstrap.SerializeToString())
    result = load_bootstrap(str(binary), None, registry=registry())
    assert result.bootstrap == source.bootstrap
    assert result.locate("static_resources.clusters[0].name") == Mark(str(binary), 1, 1)


def test_registry_resolves_by_type_and_through_typed_structs() -> None:
    factories = registry()
    lua = factories.by_type(LUA)
    assert lua is not None
    assert factories.by_type(f"type.googleapis.com/{LUA}") is lua
    any_class: Any = message_class("google.protobuf.Any")
    struct_class: Any = message_class("xds.type.v3.TypedStruct")
    struct = struct_class(type_url=f"type.googleapis.com/{LUA}")
    struct.value.update({"statPrefix": "p"})
    packed = any_class()
    packed.Pack(struct)
    factory, message = factories.resolve(packed)
    assert factory is lua
    assert getattr(message, "stat_prefix") == "p"  # noqa: B009 the generated classes have no types


def test_registry_without_the_extension_raises_envoys_words() -> None:
    any_class: Any = message_class("google.protobuf.Any")
    packed = any_class(type_url=f"type.googleapis.com/{LUA}")
    with pytest.raises(ConfigError, match=f"Didn't find a registered implementation with type URL: '{LUA}'"):
        Registry().resolve(packed)


def test_later_factory_for_a_type_replaces_the_earlier() -> None:
    mine = StubFactory("mine", "envoy.filters.http", LUA)
    assert registry(mine).by_type(LUA) is mine
