"""Envoy's command-line flags: one table, and the parser over it.

The parser reads as Envoy's (TCLAP): ``--flag value``, a flag once, no abbreviations; ``--flag=value`` is
taken besides.  A flag whose feature is still to come is accepted, and :func:`parse` says so in a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.cli.cpus import cpu_count
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError
from sidecar.core.log import LEVELS, LOGGERS
from sidecar.core.options import Options

__all__ = ["FLAGS", "Flag", "UsageError", "parse", "usage"]

_MAX_UINT32 = 2**32 - 1


class UsageError(SidecarError):
    """The command line cannot be understood.  The text is Envoy's."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.  ``kind``: ``text``, ``number``, ``switch``, ``list`` (may be repeated)."""

    name: str
    help: str
    kind: str = "text"
    short: str = ""
    #: What is missing when the flag is given; empty for a flag that works.
    later: str = ""
    choices: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The attribute of :class:`sidecar.core.options.Options`."""
        return self.name.replace("-", "_")


FLAGS: tuple[Flag, ...] = (
    Flag("config-path", "path of the configuration (.yaml, .json, .pb, .pb_text)", short="c"),
    Flag("config-yaml", "configuration as YAML text, merged over that of --config-path"),
    Flag("mode", "serve (default), validate, or init_only", choices=("serve", "validate", "init_only")),
    Flag("concurrency", "number of workers (default: the CPUs that this process may use)", "number"),
    Flag("base-id", "number that tells several proxies on one machine apart", "number"),
    Flag("use-dynamic-base-id", "choose the base id", "switch"),
    Flag("base-id-path", "file to write the base id to"),
    Flag("restart-epoch", "number of hot restarts before this one", "number"),
    Flag("drain-time-s", "seconds that draining takes", "number"),
    Flag(
        "drain-strategy",
        "gradual (default) or immediate",
        choices=("gradual", "immediate"),
    ),
    Flag(
        "parent-shutdown-time-s",
        "seconds after which a hot restart ends the old process",
        "number",
    ),
    Flag("disable-hot-restart", "no hot restart", "switch"),
    Flag("socket-path", "path of the hot restart sockets"),
    Flag("socket-mode", "permissions of the hot restart sockets"),
    Flag("skip-hot-restart-on-no-parent", "start even when there is no parent", "switch"),
    Flag("skip-hot-restart-parent-stats", "do not take over the parent's stats", "switch"),
    Flag("log-level", "trace, debug, info (default), warning, error, critical or off", short="l"),
    Flag("component-log-level", "levels of loggers: upstream:debug,config:trace"),
    Flag("log-path", "file to log to in place of standard error"),
    Flag("log-format", "format of log lines, a spdlog pattern"),
    Flag("log-format-escaped", "write line breaks in log messages as \\n", "switch"),
    Flag(
        "enable-fine-grain-logging",
        "log levels by file",
        "switch",
        later="levels are set by logger, not by file",
    ),
    Flag("log-stacktrace-single-entry", "a stack trace in one log entry", "switch"),
    Flag("service-cluster", "the node's cluster"),
    Flag("service-node", "the node's id"),
    Flag("service-zone", "the node's zone"),
    Flag("admin-address-path", "file to write the address of the admin interface to"),
    Flag(
        "local-address-ip-version",
        "v4 (default) or v6",
        choices=("v4", "v6"),
        later="the local address is that of each connection",
    ),
    Flag("allow-unknown-static-fields", "skip unknown fields of the configuration", "switch"),
    Flag("allow-unknown-fields", "deprecated name of --allow-unknown-static-fields", "switch"),
    Flag(
        "reject-unknown-dynamic-fields",
        "refuse unknown fields of xDS resources",
        "switch",
        later="xDS is not available yet",
    ),
    Flag(
        "ignore-unknown-dynamic-fields",
        "skip unknown fields of xDS resources in silence",
        "switch",
        later="xDS is not available yet",
    ),
    Flag(
        "skip-deprecated-logs",
        "do not warn of deprecated fields",
        "switch",
        later="warnings about deprecated fields are always given",
    ),
    Flag("file-flush-interval-msec", "milliseconds between flushes of access logs", "number"),
    Flag("file-flush-min-size-kb", "KiB of access log that are flushed at once", "number"),
    Flag("cpuset-threads", "count workers by the cpuset (as without it)", "switch"),
    Flag("enable-mutex-tracing", "trace mutexes", "switch", later="there are no mutexes to trace"),
    Flag("enable-core-dump", "dump core", "switch", later="core dumps are left to ulimit"),
    Flag("disable-extensions", "extensions to leave out, by name", later="all extensions are available"),
    Flag(
        "stats-tag",
        "tag:value for all stats",
        "list",
        later="tags of one's own are not available yet",
    ),
    Flag("shutdown-grace-s", "seconds that SIGTERM lets new connections come (default 0)", "number"),
    Flag("shutdown-deadline-s", "seconds from SIGTERM to the end at the latest (default 30)", "number"),
    Flag("format", "how problems of the configuration are printed", choices=("text", "json")),
    Flag("http1-codec", "llhttp (default) or h11", choices=("llhttp", "h11")),
    Flag("http2-codec", "native (default) or h2", choices=("native", "h2")),
    Flag("wasm-cache-dir", "directory that keeps compiled Wasm modules, or none (default: the user's cache)"),
    Flag("version", "print the version and exit", "switch"),
    Flag("hot-restart-version", "print the version of the hot restart protocol and exit", "switch"),
    Flag("help", "print this and exit", "switch", short="h"),
)

_BY_NAME = {f"--{flag.name}": flag for flag in FLAGS}
_BY_NAME |= {f"-{flag.short}": flag for flag in FLAGS if flag.short}
#: Envoy's words for a choice that is none.
_UNKNOWN_CHOICE = {
    "mode": "unknown mode",
    "drain-strategy": "unknown drain-strategy",
    "local-address-ip-version": "unknown IP address version",
}
_CPUSET = "--cpuset-threads is now the default behavior and no longer required."
_CPUSET_AND_NUMBER = "Both --concurrency and --cpuset-threads options are set; not applying --cpuset-threads."


def parse(arguments: Sequence[str]) -> tuple[Options, list[str], str]:
    """The options, warnings to log, and the one of ``version``, ``help`` … that was asked for (or "").

    Raises: UsageError.
    """
    given = _read(arguments)
    for name in ("help", "version", "hot-restart-version"):
        if name in given:
            return Options(), [], name
    warnings: list[str] = []
    if given.pop("allow-unknown-fields", False):
        warnings.append("--allow-unknown-fields is deprecated, use --allow-unknown-static-fields instead.")
        given["allow-unknown-static-fields"] = True
    standard = Options()
    for name, value in given.items():
        flag = _BY_NAME[f"--{name}"]
        if flag.later and value != getattr(standard, flag.field):
            warnings.append(f"--{name}: {flag.later}")
    values: dict[str, Any] = {_BY_NAME[f"--{name}"].field: value for name, value in given.items()}
    _check_level(values.get("log_level", "info"))
    values["component_log_levels"] = _component_levels(values.get("component_log_level", ""))
    if values.get("disable_extensions"):
        values["disable_extensions"] = tuple(values["disable_extensions"].split(","))
    if "stats_tag" in values:
        values["stats_tag"] = tuple(values["stats_tag"])
    if values.get("use_dynamic_base_id") and values.get("restart_epoch"):
        raise UsageError(
            f"error: cannot use --restart-epoch={values['restart_epoch']} with --use-dynamic-base-id"
        )
    if values.get("cpuset_threads"):
        warnings.append(_CPUSET_AND_NUMBER if "concurrency" in values else _CPUSET)
    values["concurrency"] = max(1, values["concurrency"]) if "concurrency" in values else cpu_count()
    return Options(**values), warnings, ""


def usage() -> str:
    """What ``--help`` prints."""
    lines = [
        "USAGE: sidecar [flags] -c FILE      serve a configuration",
        "       sidecar validate FILE        check a configuration",
        "       sidecar restart              have a running proxy start its next epoch",
        "       sidecar demo                 show a sample application behind the proxy",
        "",
        "Flags (Envoy's, and --format, --http1-codec, --http2-codec, --wasm-cache-dir):",
    ]
    metavar = {"text": " <string>", "number": " <uint32_t>", "switch": "", "list": " <string>"}
    for flag in FLAGS:
        short = f"-{flag.short}, " if flag.short else ""
        lines.append(f"  {short}--{flag.name}{metavar[flag.kind]}")
        later = f" (accepted; {flag.later})" if flag.later else ""
        lines.append(f"      {flag.help}{later}")
    return "\n".join(lines) + "\n"


def _read(arguments: Sequence[str]) -> dict[str, Any]:
    """The flags given, by name, with their values."""
    given: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("--", "--ignore_rest"):
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        flag = _BY_NAME.get(name)
        if flag is None or (equals and flag.kind == "switch"):
            raise UsageError(f"PARSE ERROR: Argument: {word}\n             Couldn't find match for argument")
        label = f"-{flag.short} (--{flag.name})" if flag.short else f"(--{flag.name})"
        if flag.name in given and flag.kind != "list":
            raise UsageError(f"PARSE ERROR: Argument: {label}\n             Argument already set!")
        if flag.kind == "switch":
            given[flag.name] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(
                    f"PARSE ERROR: Argument: {label}\n             Missing a value for this argument!"
                )
            value = rest.pop(0)
        if flag.kind == "number":
            if not value.isdecimal() or int(value) > _MAX_UINT32:
                reason = f"Couldn't read argument value from string '{value}'"
                raise UsageError(f"PARSE ERROR: Argument: {label}\n             {reason}")
            given[flag.name] = int(value)
        elif flag.kind == "list":
            given.setdefault(flag.name, []).append(value)
        elif flag.choices and value not in flag.choices:
            raise UsageError(f"error: {_UNKNOWN_CHOICE.get(flag.name, f'unknown {flag.name}')} '{value}'")
        else:
            given[flag.name] = value
    return given


def _check_level(level: str) -> None:
    if level != "warn" and level not in LEVELS:
        raise UsageError(f"error: invalid log level specified '{level}'")


def _component_levels(text: str) -> dict[str, str]:
    levels: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, colon, level = part.partition(":")
        if not colon or not level or ":" in level:
            raise UsageError(f"error: component log level not correctly specified '{part}'")
        _check_level(level)
        if name not in LOGGERS:
            raise UsageError(f"error: invalid component specified '{name}'")
        levels[name] = level
    return levels
