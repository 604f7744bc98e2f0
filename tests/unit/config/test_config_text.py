"""Reading YAML and JSON: values as Envoy's, each with its place."""

from __future__ import annotations

import pytest

from sidecar.config.errors import Mark
from sidecar.config.json_text import read_json
from sidecar.config.nodes import Document, Mapping, Node, Places, Scalar, Sequence
from sidecar.config.yaml_text import read_yaml


def yaml(text: str | bytes) -> Document:
    return read_yaml(text if isinstance(text, bytes) else text.encode(), "f.yaml")


def value(document: Document, key: str) -> Node:
    assert isinstance(document.root, Mapping), document.problems
    return document.root.entries[key][1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("off", False),
        ("Y", True),
        ("tRuE", "tRuE"),
        ("010", 8),
        ("0x1F", 31),
        ("-12", -12),
        ("+5", 5),
        ("08", "08"),
        ("0o10", "0o10"),
        ("2147483648", "2147483648"),
        ("0x100000000", "4294967296"),
        ("9223372036854775808", "9223372036854775808"),
        ("1.5", "1.5"),
        ("5s", "5s"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'null'", "null"),
        ("'5'", "5"),
        ("! 5", "5"),
        ("!!str 5", 5),
        ("!!str '5'", 5),
        ("|-\n  yes", "yes"),
    ],
)
def test_yaml_scalar_has_envoys_value(text: str, expected: object) -> None:
    node = value(yaml(f"k: {text}\n"), "k")
    assert isinstance(node, Scalar)
    assert node.value == expected
    assert type(node.value) is type(expected)


def test_yaml_nodes_know_where_they_are_written() -> None:
    document = yaml("a:\n  b: [x, {c: d}]\n")
    places = Places([document])
    assert places.locate(("a",)) == Mark("f.yaml", 1, 1)
    assert places.locate(("a", "b")) == Mark("f.yaml", 2, 3)
    assert places.locate(("a", "b", 0)) == Mark("f.yaml", 2, 7)
    assert places.locate(("a", "b", 1, "c")) == Mark("f.yaml", 2, 11)


def test_place_of_a_field_not_written_down_is_that_of_the_message_around_it() -> None:
    places = Places([yaml("a:\n  b: 1\n")])
    assert places.locate(("a", "zzz", 4)) == Mark("f.yaml", 1, 1)


def test_place_of_a_field_written_in_camel_case_is_found_by_its_proto_name() -> None:
    assert Places([yaml("a: 1\nstatPrefix: x\n")]).locate(("stat_prefix",)) == Mark("f.yaml", 2, 1)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("code: |\n  one\n  two\n", 2, 3),
        ("code: |-  # why\n\n    one\n", 2, 5),
        ("a: 1\ncode: >2\n    one\n", 3, 5),
        ("code: 'one'\n", 1, 8),
        ("code: one\n", 1, 7),
    ],
)
def test_place_of_a_text_is_its_first_line_not_its_header(text: str, line: int, column: int) -> None:
    assert Places([yaml(text)]).locate_text(("code",)) == Mark("f.yaml", line, column)


def test_yaml_key_that_stands_twice_warns_and_the_later_value_counts() -> None:
    document = yaml("a: 1\nb: 2\na: 3\n")
    node = value(document, "a")
    assert isinstance(node, Scalar)
    assert node.value == 3
    (warning,) = document.problems
    assert warning.severity == "warning"
    assert warning.mark == Mark("f.yaml", 3, 1)
    assert "line 1 is lost" in warning.reason


def test_yaml_merge_key_is_an_ordinary_key() -> None:
    assert isinstance(value(yaml("x: &x {a: 1}\ny:\n  <<: *x\n"), "y"), Mapping)


def test_yaml_entry_tagged_ignore_is_dropped_but_its_anchors_stay() -> None:
    document = yaml("!ignore x: &n {a: 1}\ny: *n\n")
    assert isinstance(document.root, Mapping)
    assert list(document.root.entries) == ["y"]


@pytest.mark.parametrize(
    ("text", "reason", "mark"),
    [
        ("a: *b\n", "the referenced anchor is not defined: b", (1, 4)),
        ("a: &x [*x]\n", "the alias '*x' stands inside its own anchor", (1, 8)),
        ("a: [1\n", "not YAML", (2, 1)),
        ("[a]: b\n", "a key must be a plain value", (1, 1)),
        ("", "the file is empty", (1, 1)),
        ("abc\n", "the file is a single value", (1, 1)),
        ("a: " + "[" * 101 + "]" * 101, "nested deeper than", (1, 104)),
        ("a: \x01\n", "not YAML", (1, 4)),
    ],
)
def test_yaml_that_cannot_be_read_says_where_and_why(text: str, reason: str, mark: tuple[int, int]) -> None:
    document = yaml(text)
    assert document.root is None
    (problem,) = document.problems
    assert reason in problem.reason
    assert problem.mark is not None
    assert (problem.mark.line, problem.mark.column) == mark


def test_yaml_tab_in_the_indentation_is_named() -> None:
    (problem,) = yaml("a:\n\tb: 1\n").problems
    assert problem.hint == "indent with spaces, not tabs"


def test_yaml_aliases_that_stand_for_too_much_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (problem,) = yaml("\n".join(lines)).problems
    assert "aliases stand for more than" in problem.reason


def test_yaml_bytes_that_are_not_utf8_are_replaced_with_a_warning() -> None:
    document = yaml(b'a: 1\nb: "\xff"\n')
    assert [problem.severity for problem in document.problems] == ["warning"]
    assert document.problems[0].mark == Mark("f.yaml", 2, 5)


def test_yaml_second_document_is_not_read() -> None:
    assert isinstance(yaml("a: 1\n---\nb: [\n").root, Mapping)


def test_json_values_know_where_they_are_written() -> None:
    document = read_json(b'{\n  "a": [1, {"b": "x\\ny"}],\n  c: \'d\',\n}', "f.json")
    assert isinstance(document.root, Mapping)
    places = Places([document])
    assert places.locate(("a", 1, "b")) == Mark("f.json", 2, 13)
    assert places.locate(("c",)) == Mark("f.json", 3, 3)
    node = places.node(("a", 1, "b"))
    assert isinstance(node, Scalar)
    assert node.value == "x\ny"
    assert isinstance(places.node(("a",)), Sequence)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("1e2", 100.0),
        ("true", True),
        ("null", None),
        ('"\\u00e9"', "é"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_json_scalar_has_its_value(text: str, expected: object) -> None:
    node = value(read_json(f'{{"k": {text}}}'.encode(), "f.json"), "k")
    assert isinstance(node, Scalar)
    assert node.value == expected
    assert type(node.value) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "{",
            '{"a"}',
            '{"a":}',
            '{"a": 01}',
            '{"a": 1.}',
            '{"a": "b',
            '{"a": "\x01"}',
            '{"a": "\\q"}',
        ),
        *('{"a": "\\u12"}', '{"a": nope}', "{} {}", "// c\n{}", '{"a": ' + "[" * 101, "{1: 2}", "a: b"),
    ],
)
def test_json_that_cannot_be_read_says_where(text: str) -> None:
    document = read_json(text.encode(), "f.json")
    assert document.root is None
    (problem,) = document.problems
    assert problem.severity == "error"
    assert problem.reason.startswith("not JSON: ")
    assert problem.mark is not None


def test_json_file_that_holds_yaml_hints_at_the_name() -> None:
    (problem,) = read_json(b"admin: {}\n", "f.conf").problems
    assert problem.hint == "only files named *.yaml or *.yml are read as YAML"
