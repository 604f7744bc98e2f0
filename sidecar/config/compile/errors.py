"""The place of an extension's error: a factory counts paths from its own message."""

from __future__ import annotations

from sidecar.core.errors import ConfigError

__all__ = ["placed"]


def placed(error: ConfigError, base: str) -> ConfigError:
    """``error`` with its path counted from the bootstrap's root; ``base`` is the path of the extension."""
    if error.path.startswith(("static_resources", "dynamic_resources")):
        return error
    path = f"{base}.{error.path}" if error.path else base
    return ConfigError(path, error.reason, line_in_text=error.line_in_text)
