"""The TLS listeners of one file answer a scan as Envoy's do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tls_check.__main__ import check

pytestmark = pytest.mark.oracle


@pytest.mark.timeout(400)
async def test_scan_of_tls_listeners_is_answered_as_by_envoy(tmp_path: Path) -> None:
    found = await check(tmp_path)
    answers = {(name, question): both for name, some in found.items() for question, both in some.items()}
    assert len(answers) > 200
    assert {key: both for key, both in answers.items() if both[0] != both[1]} == {}
