"""Compiles the file, stdout and stderr access loggers.

``envoy.extensions.access_loggers.file.v3.FileAccessLog``,
``envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`` and ``StderrAccessLog``.  Loggers of one
path share one file, so that their lines come in the order of the requests, as Envoy's do.
"""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.config.compile.substitution_format import (
    compile_plain_format,
    compile_substitution_format,
    compile_text_format,
    struct_to_dict,
)
from sidecar.core.errors import ConfigError
from sidecar.extensions.access_loggers.line_logger import LineLogger
from sidecar.extensions.access_loggers.log_file import DEFAULT_MIN_FLUSH_BYTES, FilesystemStats, LogFile
from sidecar.observability.formatter import DEFAULT_FORMAT, Line, compile_json, compile_text

__all__ = ["FileFactory", "StderrFactory", "StdoutFactory"]


class _LineFactory:
    """What the three have in common."""

    category = "envoy.access_loggers"
    is_prompt = False

    def __init__(self, *, min_flush_bytes: int = DEFAULT_MIN_FLUSH_BYTES) -> None:
        self._min_flush_bytes = min_flush_bytes
        self._files: dict[str, LogFile] = {}

    def with_filter(self, compiled: LineLogger, message: Any, context: FactoryContext) -> LineLogger:
        """``compiled`` behind an ``envoy.config.accesslog.v3.AccessLogFilter``.

        Raises: ConfigError with a path from the message that holds the field ``filter``.
        """
        return compiled.filtered(compile_log_filter(message, context, "filter"))

    def _logger(self, path: str, line: Line, context: FactoryContext) -> LineLogger:
        file = self._files.get(path)
        if file is None or file.users <= 0:
            stats = FilesystemStats(context.root_stats.scope("filesystem"))
            try:
                file = LogFile(path, stats, min_flush_bytes=self._min_flush_bytes)
            except OSError as error:
                raise ConfigError("path", f"unable to open file '{path}': {error.strerror}") from error
            self._files[path] = file
        return LineLogger(line.program(), file, is_prompt=self.is_prompt, reads_wire=line.reads_wire)


class FileFactory(_LineFactory):
    """``envoy.access_loggers.file``."""

    name = "envoy.access_loggers.file"
    config_type = "envoy.extensions.access_loggers.file.v3.FileAccessLog"

    def compile(self, message: Any, context: FactoryContext) -> LineLogger:
        """A logger that appends to ``path``.  Raises: ConfigError."""
        line = self._line(message, context)
        return self._logger(message.path, line, context)

    def _line(self, message: Any, context: FactoryContext) -> Line:
        kind = message.WhichOneof("access_log_format")
        if kind == "log_format":
            return compile_substitution_format(message.log_format, context, "log_format", is_log=True)
        if kind == "format":
            # An empty one is the default, as in Envoy.
            return compile_text_format(message.format or DEFAULT_FORMAT, context, "format", is_log=True)
        if kind in ("json_format", "typed_json_format"):
            return compile_plain_format(
                lambda: compile_json(struct_to_dict(getattr(message, kind))),
                str(getattr(message, kind)),
                context,
                kind,
                is_log=True,
            )
        return compile_text(DEFAULT_FORMAT)


class _StreamFactory(_LineFactory):
    """A standard stream."""

    is_prompt = True
    path = ""

    def compile(self, message: Any, context: FactoryContext) -> LineLogger:
        """A logger that writes to the standard stream.  Raises: ConfigError."""
        if message.WhichOneof("access_log_format") == "log_format":
            line = compile_substitution_format(message.log_format, context, "log_format", is_log=True)
        else:
            line = compile_text(DEFAULT_FORMAT)
        return self._logger(self.path, line, context)


class StdoutFactory(_StreamFactory):
    """``envoy.access_loggers.stdout``."""

    name = "envoy.access_loggers.stdout"
    config_type = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    path = "/dev/stdout"


class StderrFactory(_StreamFactory):
    """``envoy.access_loggers.stderr``."""

    name = "envoy.access_loggers.stderr"
    config_type = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
    path = "/dev/stderr"
