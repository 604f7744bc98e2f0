"""Modules that are imported when they are used."""

from __future__ import annotations

import importlib
import sys

import pytest

from sidecar.core.import_later import import_later


def test_module_is_imported_when_something_of_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    import_later(["colorsys"])
    kept = importlib.import_module("colorsys")
    assert "rgb_to_hls" not in vars(kept)
    assert kept.rgb_to_hls(0, 0, 0) == (0, 0, 0)
    real = importlib.import_module("colorsys")
    assert real is not kept
    assert kept.rgb_to_hls is real.rgb_to_hls
    with pytest.raises(AttributeError):
        _ = kept.nothing_of_the_kind


def test_what_it_has_can_be_imported_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    import_later(["colorsys"])
    from colorsys import hsv_to_rgb

    assert hsv_to_rgb(0, 0, 1) == (1, 1, 1)


def test_module_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module("json")
    import_later(["json"])
    assert sys.modules["json"] is there
