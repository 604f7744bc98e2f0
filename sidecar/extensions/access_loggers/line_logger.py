"""Access loggers that write a line: to a file, to standard output, to standard error."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.api.stream import Stream
from sidecar.extensions.access_loggers.log_file import LogFile

__all__ = ["LineLogger"]


class LineLogger:
    """An :class:`sidecar.api.filters.AccessLogger` of formatted lines."""

    __slots__ = ("_file", "_line", "_wanted", "is_prompt", "reads_wire")

    def __init__(
        self,
        line: Callable[[Stream], bytes],
        file: LogFile,
        *,
        is_prompt: bool = False,
        reads_wire: bool = False,
        wanted: Callable[[Stream], bool] | None = None,
    ) -> None:
        file.users += 1
        self._line = line
        self._file = file
        self._wanted = wanted
        #: Whether to flush at every sweep instead of every flush interval.
        self.is_prompt = is_prompt
        #: Whether its lines tell what a stream took on the wire, which has to be counted then.
        self.reads_wire = reads_wire

    def log(self, stream: Stream) -> None:
        """Write the line of a finished stream, if the filter wants it."""
        if self._wanted is None or self._wanted(stream):
            self._file.write(self._line(stream))

    def filtered(self, wanted: Callable[[Stream], bool]) -> LineLogger:
        """This logger behind a filter, in its place."""
        self._wanted = wanted
        return self

    def flush(self) -> None:
        self._file.flush()

    def reopen(self) -> None:
        """Open the file anew (SIGUSR1, ``/reopen_logs``)."""
        self._file.reopen()

    def close(self) -> None:
        """The last logger of a file closes it."""
        self._file.users -= 1
        if self._file.users <= 0:
            self._file.close()
        else:
            self._file.flush()
