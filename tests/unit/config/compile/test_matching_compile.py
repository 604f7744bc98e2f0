"""Match trees compiled: inputs that need no data."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.compile.matching import COMMON_INPUTS
from sidecar.config.messages import message_class

INPUT = "envoy.extensions.matching.common_inputs.environment_variable.v3.Config"


def test_environment_variable_is_matched_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    message: Any = message_class(INPUT)
    assert message is not None
    monkeypatch.setenv("MATCHED", "value")
    take = COMMON_INPUTS[INPUT](message(name="MATCHED"), "at")
    monkeypatch.setenv("MATCHED", "later")
    assert take(None) == b"value"
    assert COMMON_INPUTS[INPUT](message(name="NOT_SET_AT_ALL"), "at")(None) is None
