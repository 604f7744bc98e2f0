"""A file of log lines, written in batches.

Lines gather until there are enough bytes or somebody flushes; then they leave in one write.  The loop
must not wait for a slow reader: the descriptor is non-blocking where the system can make it so, what
does not leave stays for the next flush, and beyond a bound new lines are dropped and counted
(``filesystem.write_failed``).
"""

from __future__ import annotations

import logging
import os

from sidecar.observability.stats import Scope

__all__ = ["DEFAULT_MIN_FLUSH_BYTES", "FilesystemStats", "LogFile"]

logger = logging.getLogger("sidecar.file")

#: ``--file-flush-min-size-kb``.
DEFAULT_MIN_FLUSH_BYTES = 64 * 1024
#: What may wait for a reader that does not read.
_MAX_PENDING_BYTES = 4 * 1024 * 1024


class FilesystemStats:
    """``filesystem.*``."""

    __slots__ = (
        "flushed_by_timer",
        "reopen_failed",
        "write_buffered",
        "write_completed",
        "write_failed",
        "write_total_buffered",
    )

    def __init__(self, scope: Scope) -> None:
        self.write_buffered = scope.counter("write_buffered")
        self.write_completed = scope.counter("write_completed")
        self.write_failed = scope.counter("write_failed")
        self.flushed_by_timer = scope.counter("flushed_by_timer")
        self.reopen_failed = scope.counter("reopen_failed")
        self.write_total_buffered = scope.gauge("write_total_buffered")


class LogFile:
    """See the module.  Whoever opens it closes it; loggers that share it count themselves in and out."""

    __slots__ = ("_descriptor", "_lines", "_min_flush_bytes", "_rest", "_size", "path", "stats", "users")

    def __init__(
        self, path: str, stats: FilesystemStats, *, min_flush_bytes: int = DEFAULT_MIN_FLUSH_BYTES
    ) -> None:
        """Open ``path`` for appending.  Raises: OSError."""
        self.path = path
        self.stats = stats
        self.users = 0
        self._min_flush_bytes = min_flush_bytes
        self._lines: list[bytes] = []
        self._size = 0
        #: Bytes that a flush could not get rid of.
        self._rest = b""
        self._descriptor = _open(path)

    def write(self, line: bytes) -> None:
        """Take a line (with its line feed)."""
        self._lines.append(line)
        size = len(line)
        self._size += size
        self.stats.write_total_buffered.value += size
        if self._size >= self._min_flush_bytes:
            self._flush()

    def write_text(self, line: str) -> None:
        """Take a line of text."""
        self.write(line.encode("utf-8", "surrogateescape"))

    def flush(self) -> None:
        """Write what there is; called at every flush interval."""
        if self._lines or self._rest:
            self.stats.flushed_by_timer.value += 1
            self._flush()

    def reopen(self) -> None:
        """Open the path anew, after the file was renamed by a log rotation."""
        self._flush()
        try:
            fresh = _open(self.path)
        except OSError as error:
            self.stats.reopen_failed.value += 1
            logger.warning("cannot reopen access log '%s': %s", self.path, error.strerror)
            return
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = fresh

    def close(self) -> None:
        """Write what can be written and release the file; idempotent."""
        if self._descriptor < 0:
            return
        self._flush()
        os.close(self._descriptor)
        self._descriptor = -1
        self.stats.write_total_buffered.value -= len(self._rest)
        self._rest = b""

    def _flush(self) -> None:
        stats = self.stats
        data = b"".join(self._lines)
        stats.write_buffered.value += len(self._lines)
        stats.write_total_buffered.value -= self._size
        self._lines.clear()
        self._size = 0
        if len(self._rest) + len(data) > _MAX_PENDING_BYTES:
            stats.write_failed.value += 1
            data = b""
        else:
            stats.write_total_buffered.value += len(data)
        self._rest = self._write_out(self._rest + data)

    def _write_out(self, data: bytes) -> bytes:
        """Write; give back what has to wait."""
        stats = self.stats
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:
                return data
            except OSError as error:
                stats.write_failed.value += 1
                stats.write_total_buffered.value -= len(data)
                logger.debug("cannot write access log '%s': %s", self.path, error)
                return b""
            stats.write_total_buffered.value -= written
            data = data[written:]
            if not data:
                stats.write_completed.value += 1
        return b""


def _open(path: str) -> int:
    standard = {"/dev/stdout": 1, "/dev/stderr": 2}.get(path)
    try:
        # Opened anew also where it is a standard stream: O_NONBLOCK on the inherited description would
        # reach whoever shares it.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError:
        if standard is None:
            raise
        # A socket, say, which cannot be opened by name.
        return os.dup(standard)
