"""Manifests as people write them, injected: read beside `tests/golden/kubernetes/after`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.k8s import documents, rewrite
from tests.golden.kubernetes.renew import AFTER, BEFORE, injected
from tests.support import yaml_text
from tests.support.kubernetes import VERSIONS, validate

INPUTS = sorted(path.name for path in BEFORE.iterdir())
#: Objects of nobody's schema.
UNKNOWN = ("Rollout",)


def objects(text: str) -> Iterator[dict[str, Any]]:
    for document in yaml_text.load_all(text):
        if document is not None:
            yield from document["items"] if document["kind"] == "List" else [document]


@pytest.mark.parametrize("name", INPUTS)
def test_injection_is_as_it_was_read_last(name: str) -> None:
    outcome = injected((BEFORE / name).read_text(), name)
    assert not outcome.errors
    assert outcome.text == (AFTER / name).read_text(), "python -m tests.golden.kubernetes.renew"


@pytest.mark.parametrize("name", INPUTS)
def test_a_second_injection_changes_nothing(name: str) -> None:
    once = (AFTER / name).read_text()
    assert injected(once, name).text == once


@pytest.mark.parametrize("name", INPUTS)
def test_undo_gives_the_original_back_to_the_byte(name: str) -> None:
    undone = rewrite.undo_documents(documents.split((AFTER / name).read_text(), name))
    assert not undone.errors
    assert undone.text == (BEFORE / name).read_text()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", INPUTS)
def test_what_comes_out_is_valid_for_kubernetes(name: str, version: str) -> None:
    for text in ((BEFORE / name).read_text(), (AFTER / name).read_text()):
        checked = 0
        for item in objects(text):
            if item["kind"] not in UNKNOWN:
                validate(item, version)
                checked += 1
        assert checked


def test_there_are_as_many_inputs_as_were_asked_for() -> None:
    assert len(INPUTS) >= 30
    assert sorted(path.name for path in AFTER.iterdir()) == INPUTS


@pytest.mark.parametrize("name", INPUTS)
def test_what_was_not_injected_passes_to_the_byte(name: str) -> None:
    """Every document that is in the output as it was is there with its blanks and comments."""
    before, after = (BEFORE / name).read_text(), (AFTER / name).read_text()
    kept = [each.text for each in documents.split(before, name) if "containers" not in each.text]
    assert all(text in after for text in kept)
    if "sidecar-proxy" not in after:
        assert before == after


def configurations(text: str) -> Iterator[tuple[list[str], str]]:
    """The proxies' flags, and the bootstrap that each finds in its ConfigMap or nowhere."""
    maps = {item["metadata"]["name"]: item["data"] for item in objects(text) if item["kind"] == "ConfigMap"}
    for document in yaml_text.load_all(text):
        for container, volumes in _proxies(document):
            config = next((v["configMap"]["name"] for v in volumes if v["name"] == "sidecar-config"), None)
            args = container["args"]
            key = Path(args[args.index("-c") + 1]).name if "-c" in args else ""
            yield args, maps.get(config, {}).get(key, "") if config else ""


def _proxies(value: Any) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if isinstance(value, dict):
        for group in ("initContainers", "containers"):
            for container in value.get(group) or () if isinstance(value.get(group), list) else ():
                if container.get("name") == "sidecar-proxy":
                    yield container, value["volumes"]
        for item in value.values():
            yield from _proxies(item)
    elif isinstance(value, list):
        for item in value:
            yield from _proxies(item)


def test_probes_and_their_answers_belong_together() -> None:
    """Each rewritten probe has one route, or one filter, of the proxy's health listener."""
    seen = 0
    for name in INPUTS:
        text = (AFTER / name).read_text()
        for args, _ in configurations(text):
            overlay = args[args.index("--config-yaml") + 1]
            listeners = json.loads(overlay)["static_resources"]["listeners"]
            health = json.dumps(next(item for item in listeners if item["name"] == "sidecar_health"))
            paths = {part.split('"')[0] for part in health.split("/app-health/")[1:]}
            asked = {part.split("\n")[0].strip(",}") for part in text.split("path: /app-health/")[1:]}
            assert paths == {part.split(",")[0] for part in asked}
            seen += len(paths)
    assert seen >= 12
