"""Line breaks in quoted scalars, compared with a running Envoy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.config.nodes import Mapping, Scalar
from sidecar.config.yaml_text import read_yaml
from tests.support.oracle_binary import envoy_binary
from tests.unit.observability.oracle import Oracle

#: What stands before, between, and behind a number of line breaks.
_SHAPES = (
    ("'a", "'"),
    ("'a", "  '"),
    ("'a", "  x'"),
    ("'a  ", "  '"),
    ("'a\t", "\t '"),
    ("'", "  '"),
    ("'", "  a'"),
    ("'ä€", "  '"),
    ("'a''", "  '"),
    ("'''", "  '"),
    ("!!str 'a", "  '"),
    ("! 'a", "  '"),
    ("'a b", "   c '"),
    ("&anchor 'a", "  '"),
    ('"a', '"'),
    ('"a', '  "'),
    ('"a', '  x"'),
    ('"a  ', '  "'),
    ('"', '  "'),
    ('"', '  a"'),
    (r'"\n', '  "'),
    (r'"a\n', '  "'),
    (r'"a\nb', '  "'),
    (r'"a\n\n', '  "'),
    (r'"a\x41', '  "'),
    (r'"a\u00e4', '  "'),
    ('"a\\\\', '  "'),
    (r'"a\ ', '  "'),
    (r'"a\ b', '  "'),
)
_CASES = [
    *(f"{before}{breaks * chr(10)}{behind}" for before, behind in _SHAPES for breaks in range(6)),
    *(f'"a\\{breaks * chr(10)}  "' for breaks in range(1, 6)),
    "'a\n\n\n  b\n\n\n  '",
]


def _read(text: str) -> list[object]:
    root = read_yaml(text.encode(), "f.yaml").root
    assert isinstance(root, Mapping)
    node = root.entries["node"][1]
    assert isinstance(node, Mapping)
    metadata = node.entries["metadata"][1]
    assert isinstance(metadata, Mapping)
    return [scalar.value for _, scalar in metadata.entries.values() if isinstance(scalar, Scalar)]


def _document(cases: list[str]) -> str:
    return "node:\n  metadata:\n" + "".join(f"    k{n}: {case}\n" for n, case in enumerate(cases))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'a\n\n  '", "a\n"),
        ("'a\n\n\n  '", "a\n"),
        ("'a\n\n\n  b'", "a\n\nb"),
        ("'\n\n  '", ""),
        ("'a''\n\n\n\n  '", "a'\n\n"),
        ('"a\\n\n\n\n\n  "', "a\n\n\n"),
        ('"a\\n\\n\\n"', "a\n\n\n"),
    ],
)
def test_line_feeds_at_the_end_are_clipped(written: str, value: str) -> None:
    assert _read(_document([written])) == [value]


@pytest.mark.oracle
@pytest.mark.skipif(envoy_binary() is None, reason="Envoy is not installed")
def test_quoted_scalars_are_those_of_the_oracle(tmp_path: Path) -> None:
    text = _document(_CASES)
    with Oracle(tmp_path, {}, "--config-yaml", text) as oracle:
        metadata = json.loads(oracle.text("/server_info"))["node"]["metadata"]
    theirs = [metadata[f"k{number}"] for number in range(len(_CASES))]
    ours = _read(text)
    assert [each for each in zip(_CASES, ours, theirs, strict=True) if each[1] != each[2]] == []
