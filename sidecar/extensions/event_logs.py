"""Files of event logs (outlier detection, health checks): one per path, whoever writes to it."""

from __future__ import annotations

from sidecar.core.errors import ConfigError
from sidecar.extensions.access_loggers.log_file import FilesystemStats, LogFile
from sidecar.observability.stats import Store

__all__ = ["EventLogs"]


class EventLogs:
    """See the module; the server flushes, reopens and closes them with its access logs."""

    def __init__(self, store: Store) -> None:
        #: Told whether or not there is a file.
        self._stats = FilesystemStats(store.scope("filesystem"))
        self.files: dict[str, LogFile] = {}

    def open(self, path: str, at: str) -> LogFile:
        """The file; ``at`` is where the configuration names it.  Raises: ConfigError."""
        file = self.files.get(path)
        if file is None:
            try:
                file = LogFile(path, self._stats)
            except OSError as error:
                raise ConfigError(at, f"unable to open file '{path}': {error.strerror}") from error
            self.files[path] = file
        return file
