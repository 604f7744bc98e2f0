"""The pages about filters: there is one for each, it shows every field, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.config.filter_pages import fill_in, messages_of, named_messages
from sidecar.config.load import load_bootstrap
from sidecar.config.supported_page import FILTERS, state_of
from sidecar.extensions.catalog import make_registry
from tests.support.filter_pages import EXAMPLES, wrapped

_FACTORIES = [each for each in make_registry().factories() if each.category == "envoy.filters.http"]


def _page(name: str) -> str:
    return (FILTERS / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("factory", _FACTORIES, ids=lambda each: each.config_type.rpartition(".")[2])
def test_filter_has_a_page_with_the_fields_of_its_messages(factory: object) -> None:
    name = factory.name.rpartition(".")[2]  # type: ignore[attr-defined]
    shown = named_messages(_page(name))
    wanted = {factory.config_type, getattr(factory, "route_config_type", None)} - {None}  # type: ignore[attr-defined]
    assert {each for each in wanted if messages_of(str(each))} <= set(shown)
    assert f"[{name}]({name}.md)" in _page("README")


def test_page_is_named_by_a_filter() -> None:
    names = {each.name.rpartition(".")[2] for each in _FACTORIES}
    assert {path.stem for path in FILTERS.glob("*.md")} == names | {"README"}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_of_a_page_is_accepted(
    example: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FILTERS.parent.parent)
    path = tmp_path / "envoy.yaml"
    path.write_text(wrapped(example), encoding="utf-8")  # type: ignore[arg-type]
    assert load_bootstrap(str(path), None, registry=make_registry()).warnings == []


def test_link_leads_somewhere() -> None:
    for path in FILTERS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]*(?:#[\w-]*)?)\)", path.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            found = path.parent / file if file else path
            assert found.exists(), (path.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {_anchor(each) for each in headings}, (path.name, target)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_field_of_a_message_is_a_row_with_its_state() -> None:
    name = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
    page = f"a\n<!-- fields: {name} -->\nold\n<!-- end of fields -->\nb\n"
    filled = fill_in(page, state_of)
    assert "| `disabled` | true or false | implemented |\n" in filled
    # The message that it leads to is of the same package.
    assert "| `max_request_bytes` | integer, not negative | implemented |\n" in filled
    assert "old" not in filled
    assert filled.startswith("a\n")
    assert filled.endswith("b\n")
    assert fill_in(filled, state_of) == filled
