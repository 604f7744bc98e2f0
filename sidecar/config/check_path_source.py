"""Files that resources come from: Envoy wants to find them, and their directory, when it starts.

Reasons are Envoy's own words (seen on 1.40).
"""

from __future__ import annotations

import os
from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_config_source", "check_path_source", "missing_file"]


def check_config_source(context: Context, path: Path, source: Any) -> None:
    """The file of an ``envoy.config.core.v3.ConfigSource``, if resources come from one."""
    kind = source.WhichOneof("config_source_specifier")
    if kind == "path_config_source":
        place = source.path_config_source
        check_path_source(context, (*path, kind), place.path, place.watched_directory.path)
    elif kind == "path":
        check_path_source(context, path, source.path, "")


def missing_file(file: str) -> str:
    """Envoy's words for a file that has to be there."""
    return f"paths must refer to an existing path in the system: '{file}' does not exist"


def check_path_source(context: Context, path: Path, file: str, watched_directory: str) -> None:
    """A ``PathConfigSource`` of ``envoy.config.core.v3``, or the deprecated ``path`` of a ConfigSource."""
    if context.report.has_failed(path) or (not file and path[-1] == "path_config_source"):
        return  # a rule of the API says it
    here = (*path, "path")
    if not os.path.exists(file):
        context.report.error(
            here,
            missing_file(file),
            "the file is read at start, and whenever another one is moved into its place",
        )
    elif watched_directory:
        _check_directory(context, (*path, "watched_directory", "path"), watched_directory)
    elif "/" not in file:
        context.report.error(here, f"invalid file path {file}", f"write ./{file}")


def _check_directory(context: Context, path: Path, directory: str) -> None:
    try:
        os.stat(directory)
    except OSError as error:
        reason = f"unable to add filesystem watch for file {directory}/: {error.strerror}"
        context.report.error(path, reason)
