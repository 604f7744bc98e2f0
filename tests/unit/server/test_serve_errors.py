"""What is told of a run that ended by more than one error."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sidecar.config.errors import ConfigErrors
from sidecar.config.load import load_bootstrap
from sidecar.core.errors import ConfigError
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.server.main import Server, serve


def test_error_beside_a_mistake_in_the_configuration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text("node: {id: one, cluster: two}\n")
    loaded = load_bootstrap(str(file), registry=make_registry())

    async def fail(_server: Server) -> None:
        mistake = ExceptionGroup("deeper", [ConfigError("node.id", "it is wrong")])
        raise ExceptionGroup("both", [mistake, ZeroDivisionError("by itself")])

    monkeypatch.setattr(Server, "run", fail)
    with caplog.at_level(logging.CRITICAL, "sidecar.main"), pytest.raises(ConfigErrors) as caught:
        serve(Options(), loaded)
    assert [problem.reason for problem in caught.value.problems] == ["it is wrong"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert "by itself" in repr(record.exc_info[1])
