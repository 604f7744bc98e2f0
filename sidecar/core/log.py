"""Application logs: Envoy's logger names, levels and format patterns over the standard library.

The logger ``upstream`` of ``--component-log-level`` and of the admin's ``/logging`` is Python's
``sidecar.upstream``.  Records go to standard error or to ``--log-path``.  Access logs are not made here.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable

__all__ = [
    "DEFAULT_FORMAT",
    "LEVELS",
    "LOGGERS",
    "TRACE",
    "PatternFormatter",
    "close",
    "get_levels",
    "level_number",
    "set_all_levels",
    "set_level",
    "set_pattern",
    "setup",
    "tags_of",
    "watch",
]

DEFAULT_FORMAT = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

TRACE = 5
_OFF = 100
#: Envoy's names, the least severe first.  ``warn`` is taken for ``warning``.
LEVELS: dict[str, int] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": _OFF,
}
_NAMES = {number: name for name, number in LEVELS.items()}

#: The loggers that Envoy 1.40 lists and accepts.
LOGGERS: tuple[str, ...] = (
    "a2a",
    "admin",
    "ai_protocol_manager",
    "alternate_protocols_cache",
    "aws",
    "assert",
    "backtrace",
    "basic_auth",
    "cache_filter",
    "client",
    "config",
    "connection",
    "conn_handler",
    "compression",
    "credential_injector",
    "decompression",
    "dns",
    "dubbo",
    "envoy_bug",
    "ext_authz",
    "ext_proc",
    "rocketmq",
    "file",
    "filter",
    "forward_proxy",
    "geolocation",
    "grpc",
    "happy_eyeballs",
    "hc",
    "health_checker",
    "http",
    "http2",
    "hystrix",
    "init",
    "io",
    "jwt",
    "json_rpc",
    "kafka",
    "key_value_store",
    "lua",
    "local_rate_limit",
    "main",
    "matcher",
    "mcp",
    "misc",
    "mongo",
    "multi_connection",
    "notification",
    "oauth2",
    "quic",
    "quic_stream",
    "pool",
    "rate_limit_quota",
    "rbac",
    "rds",
    "redis",
    "router",
    "runtime",
    "stats",
    "secret",
    "sse",
    "tap",
    "testing",
    "thrift",
    "tracing",
    "upstream",
    "udp",
    "wasm",
    "websocket",
    "golang",
    "stats_sinks",
    "dynamic_modules",
    "ip_tagging",
)

_ROOT = "sidecar"
#: What the tags of a message stand in, at its beginning.
_TAGS = "[Tags: "
_TAGS_END = "] "
_watchers: list[Callable[[], None]] = []
_FLAG = re.compile(r"%([-=]?\d+)?(.)", re.DOTALL)
_Piece = Callable[[logging.LogRecord], str]


def setup(
    level: str = "info",
    component_levels: dict[str, str] | None = None,
    *,
    path: str = "",
    pattern: str = DEFAULT_FORMAT,
    escape: bool = False,
) -> None:
    """Begin to log; a second call replaces the first.  Raises: OSError when ``path`` cannot be opened."""
    logging.addLevelName(TRACE, "TRACE")
    handler: logging.Handler
    handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(PatternFormatter(pattern, escape=escape))
    close()
    root = logging.getLogger(_ROOT)
    root.addHandler(handler)
    root.propagate = False
    set_all_levels(level)
    for name, its_level in (component_levels or {}).items():
        set_level(name, its_level)


def set_pattern(pattern: str) -> None:
    """Write lines in another pattern from now on."""
    for handler in logging.getLogger(_ROOT).handlers:
        handler.setFormatter(PatternFormatter(pattern))


def watch(changed: Callable[[], None]) -> None:
    """Have ``changed`` called now, and whenever a level changed."""
    _watchers.append(changed)
    changed()


def tags_of(connection_id: int, stream_id: int = 0) -> str:
    """What a line about a connection, or a stream of it, begins with."""
    stream = f',"StreamId":"{stream_id}"' if stream_id else ""
    return f'{_TAGS}"ConnectionId":"{connection_id}"{stream}] '


def close() -> None:
    """End what :func:`setup` began; loggers go back to Python's own."""
    root = logging.getLogger(_ROOT)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate = True


def level_number(level: str) -> int:
    """The number of a level's name; ``KeyError`` for what is none."""
    return LEVELS["warning" if level == "warn" else level]


def get_levels() -> dict[str, str]:
    """Every logger with the name of its level, in Envoy's order."""
    return {name: _level_name(logging.getLogger(f"{_ROOT}.{name}").getEffectiveLevel()) for name in LOGGERS}


def set_level(name: str, level: str) -> None:
    """Set one logger's level; ``KeyError`` for an unknown logger or level."""
    number = level_number(level)
    if name not in LOGGERS:
        raise KeyError(name)
    logging.getLogger(f"{_ROOT}.{name}").setLevel(number)
    _tell()


def set_all_levels(level: str) -> None:
    """Set every logger's level; ``KeyError`` for an unknown one."""
    number = level_number(level)
    logging.getLogger(_ROOT).setLevel(number)
    for name in LOGGERS:
        logging.getLogger(f"{_ROOT}.{name}").setLevel(number)
    _tell()


def _tell() -> None:
    for changed in _watchers:
        changed()


def _level_name(number: int) -> str:
    if number in _NAMES:
        return _NAMES[number]
    return next((name for limit, name in _NAMES.items() if number <= limit), "off")


class PatternFormatter(logging.Formatter):
    """A spdlog pattern, compiled once.  What spdlog does not know stays as it is written."""

    def __init__(self, pattern: str = DEFAULT_FORMAT, *, escape: bool = False) -> None:
        """``escape`` writes line breaks and other C escapes of the message as two characters."""
        super().__init__()
        self._escape = escape
        self._second = -1
        self._dates: dict[str, str] = {}
        #: Whether the message stands in JSON, and a traceback with it.
        self._has_json = "%j" in pattern or "%+" in pattern
        self._pieces = self._compile(pattern)

    def format(self, record: logging.LogRecord) -> str:
        text = "".join(piece if isinstance(piece, str) else piece(record) for piece in self._pieces)
        if record.exc_info and not self._has_json:
            text += "\n" + self.formatException(record.exc_info)
        return text

    def _compile(self, pattern: str) -> list[str | _Piece]:
        pieces: list[str | _Piece] = []
        end = 0
        for match in _FLAG.finditer(pattern):
            pieces.append(pattern[end : match.start()])
            end = match.end()
            width, flag = match.groups()
            piece = self._piece(flag)
            if piece is None:
                pieces.append(match.group(0))
            else:
                pieces.append(piece if width is None else _padded(piece, width))
        pieces.append(pattern[end:])
        return [piece for piece in pieces if piece != ""]

    def _piece(self, flag: str) -> _Piece | None:
        if flag in _STRFTIME:
            directive = _STRFTIME[flag]
            return lambda record: self._date(record, directive)
        if flag == "v":
            return self._message
        return _FLAGS.get(flag)

    def _message(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if self._escape:
            # \n, \t, \" and the like, and everything else that does not print, as C writes it.
            return message.encode("unicode_escape").decode("ascii")
        return message

    def _date(self, record: logging.LogRecord, directive: str) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._dates = {}
        text = self._dates.get(directive)
        if text is None:
            text = self._dates[directive] = time.strftime(directive, time.localtime(second))
        return text


#: spdlog flags that are dates, as strftime directives.
_STRFTIME = {
    "a": "%a",
    "A": "%A",
    "b": "%b",
    "h": "%b",
    "B": "%B",
    "c": "%a %b %d %H:%M:%S %Y",
    "C": "%y",
    "Y": "%Y",
    "D": "%m/%d/%y",
    "x": "%m/%d/%y",
    "m": "%m",
    "d": "%d",
    "H": "%H",
    "I": "%I",
    "M": "%M",
    "S": "%S",
    "p": "%p",
    "r": "%I:%M:%S %p",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
}


def _source_path(record: logging.LogRecord) -> str:
    """The path inside the package: ``sidecar/upstream/cluster.py``."""
    _, found, inner = record.pathname.rpartition(f"{os.sep}{_ROOT}{os.sep}")
    return f"{_ROOT}/{inner}" if found else record.filename


def _logger_name(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{_ROOT}.")


def _zone(record: logging.LogRecord) -> str:
    text = time.strftime("%z", time.localtime(record.created))
    return f"{text[:3]}:{text[3:]}"


_FLAGS: dict[str, _Piece] = {
    "l": lambda record: _level_name(record.levelno),
    "L": lambda record: _level_name(record.levelno)[:1].upper(),
    "n": _logger_name,
    "t": lambda record: str(record.thread and _native_thread()),
    "P": lambda record: str(record.process),
    "e": lambda record: f"{int(record.created % 1 * 1000):03d}",
    "f": lambda record: f"{int(record.created % 1 * 1_000_000):06d}",
    "F": lambda record: f"{int(record.created % 1 * 1_000_000_000):09d}",
    "E": lambda record: str(int(record.created)),
    "z": _zone,
    "s": lambda record: record.filename,
    "g": _source_path,
    "#": lambda record: str(record.lineno),
    "@": lambda record: f"{_source_path(record)}:{record.lineno}",
    "!": lambda record: record.funcName or "",
    "%": lambda record: "%",
    "^": lambda record: "",
    "$": lambda record: "",
}


def _escaped_newlines(record: logging.LogRecord) -> str:
    return record.getMessage().replace("\n", "\\n")


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json_message(record: logging.LogRecord) -> str:
    """A traceback belongs to the message: the line stays one."""
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + _TRACEBACKS.formatException(record.exc_info)
    return message


def _message_without_tags(record: logging.LogRecord) -> str:
    message = _json_message(record)
    if message.startswith(_TAGS):
        message = message.partition(_TAGS_END)[2]
    return _json(message)


def _tags(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return f",{message[len(_TAGS) :].partition(_TAGS_END)[0]}" if message.startswith(_TAGS) else ""


_TRACEBACKS = logging.Formatter()
_FLAGS.update(
    {
        "_": _escaped_newlines,
        "j": lambda record: _json(_json_message(record)),
        "+": _message_without_tags,
        "*": _tags,
    }
)


def _native_thread() -> int:
    import threading

    return threading.get_native_id()


def _padded(piece: _Piece, width: str) -> _Piece:
    align = {"-": "<", "=": "^"}.get(width[0], ">")
    spec = f"{align}{width.lstrip('-=')}"
    return lambda record: format(piece(record), spec)
