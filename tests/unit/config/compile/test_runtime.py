"""``layered_runtime``: how values are read, and what is refused."""

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf import json_format

from sidecar.config.compile.runtime import compile_runtime, parse_entry
from sidecar.core.errors import ConfigError
from sidecar.core.runtime import Entry, Runtime


def compiled(*layers: dict[str, object]) -> Runtime:
    return compile_runtime(json_format.ParseDict({"layered_runtime": {"layers": list(layers)}}, Bootstrap()))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("5", Entry("5", boolean=True, integer=5, double=5.0)),
        ("0", Entry("0", boolean=False, integer=0, double=0.0)),
        ("-1", Entry("-1", boolean=True, double=-1.0)),
        ("2.5", Entry("2.5", boolean=True, double=2.5)),
        ("1e2", Entry("1e2", boolean=True, integer=100, double=100.0)),
        ("on", Entry("on", boolean=True)),
        ("words", Entry("words")),
        ("", Entry("")),
        ("denominator: MILLION", Entry("denominator: MILLION", fraction=(0, 1_000_000))),
        ("numerator: 5", Entry("numerator: 5", fraction=(5, 100))),
        ("{numerator: 5, other: 1}", Entry("{numerator: 5, other: 1}")),
    ],
)  # fmt: skip
def test_text_is_read_as_everything_it_can_be(text: str, entry: Entry) -> None:
    assert parse_entry(text) == entry


def test_nested_structs_are_dotted_keys() -> None:
    layer = {"a": {"b": 1, "c": {"numerator": 5, "denominator": "TEN_THOUSAND"}}, "a.d": True, "e": "x"}
    entries = compiled({"name": "base", "static_layer": layer}).entries
    assert sorted(entries) == ["a.b", "a.c", "a.d", "e"]
    assert entries["a.c"].fraction == (5, 10_000)


@pytest.mark.parametrize(
    ("layers", "path", "reason"),
    [
        (
            [{"name": "a", "static_layer": {"x": [1]}}],
            "[0].static_layer",
            "Invalid runtime entry value for x",
        ),
        (
            [{"name": "a", "admin_layer": {}}, {"name": "a", "static_layer": {}}],
            "[1].name",
            "Duplicate layer name: a",
        ),
        (
            [{"name": "a", "admin_layer": {}}, {"name": "b", "admin_layer": {}}],
            "[1].admin_layer",
            "Too many admin layers specified in LayeredRuntime, at most one may be specified",
        ),
    ],
)
def test_layers_that_cannot_be_are_refused(layers: list[dict[str, object]], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(*layers)
    assert (raised.value.path, raised.value.reason) == (f"layered_runtime.layers{path}", reason)


def test_no_layers_are_one_for_the_admin() -> None:
    assert not compile_runtime(Bootstrap()).is_live
    made = compile_runtime(json_format.ParseDict({"layered_runtime": {}}, Bootstrap()))
    assert made.is_live
    assert len(made.layers) == 1
