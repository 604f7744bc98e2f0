"""``/logging``: shows and changes the levels of the application logs."""

from __future__ import annotations

from sidecar.core.log import LEVELS, LOGGERS, get_levels, set_all_levels, set_level

__all__ = ["logging_levels"]

_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
    f"levels: {' '.join(LEVELS)} \n"
)


def logging_levels(query: dict[str, str]) -> tuple[int, str]:
    """Status and text; levels change only when the whole request is understood."""
    error = _change(query)
    levels = "".join(f"  {name}: {level}\n" for name, level in get_levels().items())
    listing = f"active loggers:\n{levels}\n"
    if error:
        return 400, f"error: {error}\n\n{_USAGE}{listing}"
    return 200, listing


def _change(query: dict[str, str]) -> str:
    """Do what the query says; what is wrong with it, or nothing."""
    if not query:
        return ""
    if len(query) > 1:
        return "invalid number of parameters"
    name, value = next(iter(query.items()))
    if not value:
        return ""
    if name == "group":
        return "group parameter requires fine-grain logging to be enabled"
    if name == "level":
        if not _is_level(value):
            return "unknown logger level"
        set_all_levels(value)
        return ""
    if name != "paths":
        changes = [(name, value)]
    else:
        changes = []
        for pair in value.split(","):
            logger, _, level = pair.partition(":")
            if not logger or not level:
                return "empty logger name or empty logger level"
            changes.append((logger, level))
    if any(not _is_level(level) for _, level in changes):
        return "unknown logger level"
    if any(logger not in LOGGERS for logger, _ in changes):
        return "unknown logger name"
    for logger, level in changes:
        set_level(logger, level)
    return ""


def _is_level(text: str) -> bool:
    return text in LEVELS or text == "warn"
