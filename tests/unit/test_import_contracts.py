"""The contract type that `.importlinter` is written in."""

import sys
from pathlib import Path

import pytest
from grimp import ImportGraph

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from import_contracts import DirectImportsContract


@pytest.fixture
def graph() -> ImportGraph:
    graph = ImportGraph()
    graph.add_module("trio", is_squashed=True)
    for importer, imported in (("a.net", "trio"), ("a.http.driver", "trio"), ("a.core", "a.net")):
        graph.add_import(
            importer=importer, imported=imported, line_number=3, line_contents=f"import {imported}"
        )
    return graph


def found(graph: ImportGraph, **options: list[str]) -> list[str]:
    contract = DirectImportsContract("x", session_options={}, contract_options={"name": "x", **options})
    checked = contract.check(graph, verbose=False)
    assert checked.kept == (not checked.metadata["found"])
    return checked.metadata["found"]


def test_contract_when_an_importer_is_not_allowed_names_it_and_its_line(graph: ImportGraph) -> None:
    assert found(graph, imported=["trio"], allowed_importers=["a.net*"]) == [
        "a.http.driver imports trio (line 3)"
    ]


def test_contract_when_all_importers_are_allowed_is_kept(graph: ImportGraph) -> None:
    assert found(graph, imported=["trio"], allowed_importers=["a.net", "a.http*"]) == []


def test_contract_with_forbidden_importers_leaves_the_others_alone(graph: ImportGraph) -> None:
    assert found(graph, imported=["trio"], forbidden_importers=["a.http*", "a.core"]) == [
        "a.http.driver imports trio (line 3)"
    ]


def test_contract_when_both_lists_match_allows(graph: ImportGraph) -> None:
    options = {"allowed_importers": ["a.http.driver"], "forbidden_importers": ["a.http*"]}
    assert found(graph, imported=["trio"], **options) == []
