"""What a guest may log in a second."""

from __future__ import annotations

import pytest

from sidecar.extensions.wasm.log_meter import LogMeter
from sidecar.observability.stats import Store


def test_lines_beyond_the_rate_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    now = [10.0]
    dropped = Store().counter("dropped")
    meter = LogMeter(100, dropped, lambda: now[0])
    assert [meter.admit(40, "p") for _ in range(4)] == [True, True, False, False]
    now[0] += 0.5
    with caplog.at_level("WARNING"):
        assert meter.admit(40, "p")
    assert dropped.value == 2
    assert caplog.messages == ["p: 2 lines left out: more than 100 bytes in a second"]
    now[0] += 60.0
    assert meter.admit(1000, "p")
    assert not meter.admit(1, "p")
