"""The examples on the pages about filters are Envoy's configuration: Envoy accepts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from tests.support.filter_pages import EXAMPLES, Example, wrapped

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("example", [each for each in EXAMPLES if not each.is_own], ids=str)
def test_envoy_accepts_the_example(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(wrapped(example), encoding="utf-8")
    verdict = envoy_verdict(path)
    assert verdict.accepted, verdict.text
