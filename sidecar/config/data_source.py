"""Reads ``envoy.config.core.v3.DataSource``."""

from __future__ import annotations

import os
from typing import Any

from sidecar.core.errors import ConfigError

__all__ = ["read_data_source"]


def read_data_source(message: Any, path: str) -> bytes:
    """The bytes that ``message`` stands for.  Raises: ConfigError at ``path``."""
    kind = message.WhichOneof("specifier")
    if kind == "filename":
        try:
            with open(message.filename, "rb") as file:
                return file.read()
        except OSError as error:
            raise ConfigError(
                f"{path}.filename", f"Invalid path: {message.filename} ({error.strerror})"
            ) from error
    if kind == "inline_bytes":
        return bytes(message.inline_bytes)
    if kind == "inline_string":
        return bytes(message.inline_string.encode())
    if kind == "environment_variable":
        value = os.environ.get(message.environment_variable)
        if value is None:
            reason = f"Environment variable doesn't exist: {message.environment_variable}"
            raise ConfigError(f"{path}.environment_variable", reason)
        return value.encode("utf-8", "surrogateescape")
    raise ConfigError(path, "Unexpected DataSource::specifier_case(): 0", line_in_text=None)
