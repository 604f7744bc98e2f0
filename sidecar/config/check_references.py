"""What a configuration refers to outside of itself or elsewhere in it: files and peers."""

from __future__ import annotations

import os
from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = [
    "check_data_source",
    "check_file_access_log",
    "check_statsd",
]


def check_data_source(context: Context, path: Path, source: Any) -> None:
    """``envoy.config.core.v3.DataSource``: its file can be read."""
    kind = source.WhichOneof("specifier")
    if kind == "filename" and source.filename:
        _check_file(context, (*path, "filename"), source.filename)
    elif kind == "environment_variable" and source.environment_variable not in os.environ:
        context.report.error(
            (*path, "environment_variable"),
            f"Environment variable doesn't exist: {source.environment_variable}",
        )


def _check_file(context: Context, path: Path, filename: str) -> None:
    if not os.path.exists(filename):
        context.report.error(path, f"file {filename} does not exist")
    elif not os.access(filename, os.R_OK):
        context.report.error(path, f"unable to read file: {filename}")


def check_file_access_log(context: Context, path: Path, log: Any) -> None:
    """The folder of an access log is there; the file itself is made when serving."""
    folder = os.path.dirname(log.path)
    if log.path and folder and not os.path.isdir(folder):
        context.report.error(
            (*path, "path"),
            f"unable to open file '{log.path}': No such file or directory",
            f"make the folder {folder}: it is not created here",
        )
    elif log.path and os.path.isdir(log.path):
        context.report.error((*path, "path"), f"unable to open file '{log.path}': Is a directory")


def check_statsd(context: Context, path: Path, sink: Any) -> None:
    """``envoy.config.metrics.v3.StatsdSink`` over TCP needs its cluster and the node's name."""
    if sink.WhichOneof("statsd_specifier") != "tcp_cluster_name":
        return
    here = (*path, "tcp_cluster_name")
    name = sink.tcp_cluster_name
    if name and name not in context.clusters:
        context.report.error(here, f"tcp statsd: unknown cluster '{name}'", context.suggest_cluster(name))
    context.require_node(here, "tcp statsd")
