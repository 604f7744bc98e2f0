"""A configuration's verdict, by Envoy and by us."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.config.errors import ConfigErrors, Problem
from sidecar.config.load import Loaded, load_bootstrap
from sidecar.config.registry import Registry
from tests.support.oracle_binary import envoy_binary

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
LUA = "envoy.extensions.filters.http.lua.v3.Lua"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


@dataclass
class StubFactory:
    """Stands for an extension of ours, so that the tests need none."""

    name: str
    category: str
    config_type: str

    def compile(self, message: Any, context: Any) -> object:
        return message


def registry() -> Registry:
    """The extensions of the first release, by name alone."""
    loggers = "envoy.extensions.access_loggers"
    return Registry(
        (
            StubFactory("envoy.filters.network.http_connection_manager", "envoy.filters.network", HCM),
            StubFactory("envoy.filters.http.router", "envoy.filters.http", ROUTER),
            StubFactory("envoy.filters.http.lua", "envoy.filters.http", LUA),
            StubFactory(
                "envoy.filters.http.wasm", "envoy.filters.http", "envoy.extensions.filters.http.wasm.v3.Wasm"
            ),
            StubFactory(
                "envoy.access_loggers.file", "envoy.access_loggers", f"{loggers}.file.v3.FileAccessLog"
            ),
            StubFactory(
                "envoy.access_loggers.stdout", "envoy.access_loggers", f"{loggers}.stream.v3.StdoutAccessLog"
            ),
            StubFactory(
                "envoy.access_loggers.stderr", "envoy.access_loggers", f"{loggers}.stream.v3.StderrAccessLog"
            ),
        )
    )


@dataclass
class Verdict:
    """``accepted`` and the words it was given with."""

    accepted: bool
    text: str


def envoy_verdict(path: Path, *flags: str) -> Verdict:
    """What ``envoy --mode validate`` says of the file."""
    command = [
        envoy_binary(),
        "--mode",
        "validate",
        "--disable-hot-restart",
        "-l",
        "warning",
        "-c",
        str(path),
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    text = re.sub(r"\[20[^\]]*\]\[\d+\]", "", done.stdout + done.stderr)
    return Verdict(done.returncode == 0, text)


def load(path: Path | None, overlay: str | None = None, **flags: Any) -> Loaded | list[Problem]:
    """The loaded configuration, or all of its problems."""
    try:
        return load_bootstrap(None if path is None else str(path), overlay, registry=registry(), **flags)
    except ConfigErrors as errors:
        return errors.problems


def our_verdict(path: Path, overlay: str | None = None, **flags: Any) -> Verdict:
    """What we say of the file, in the same terms."""
    result = load(path, overlay, **flags)
    if isinstance(result, Loaded):
        return Verdict(True, "\n".join(map(str, result.warnings)))
    return Verdict(False, "\n".join(map(str, result)))
