"""The ``sidecar`` command: Envoy's command line, and subcommands beside it.

``sidecar -c FILE`` serves; ``sidecar validate FILE``, ``sidecar lint FILE`` and ``sidecar demo`` are others.
Everything heavy (protobuf, trio, the server) is imported when it is wanted: ``--version`` answers at once.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.cli.flags import UsageError, parse, usage
from sidecar.cli.start import entry_point  # where scripts of earlier installations look for it
from sidecar.core import log
from sidecar.core.options import Options

if TYPE_CHECKING:
    from sidecar.config.errors import Problem
    from sidecar.config.load import Loaded

__all__ = ["entry_point", "main"]

#: Subcommands, each a function that takes the arguments behind it and returns the exit status.
_SUBCOMMANDS = {
    "demo": ("sidecar.cli.demo", "run_demo"),
    "inject": ("sidecar.cli.inject", "run_inject"),
    "iptables": ("sidecar.cli.iptables", "run_iptables"),
    "lint": ("sidecar.cli.lint", "run_lint"),
    "wait": ("sidecar.cli.wait", "run_wait"),
    "restart": ("sidecar.cli.restart", "run_restart"),
    "webhook": ("sidecar.cli.webhook", "run_webhook"),
    "worker": ("sidecar.server.workers.worker", "run_worker"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit status."""
    if argv and (found := _SUBCOMMANDS.get(argv[0])):
        module, function = found
        status: int = getattr(importlib.import_module(module), function)(list(argv[1:]))
        return status
    if argv and argv[0] == "validate":
        argv = ["--mode", "validate", *_named_config(argv[1:])]
    try:
        options, warnings, command = parse(argv)
    except UsageError as error:
        print(error, file=sys.stderr)
        if str(error).startswith("PARSE"):
            print("\nFor complete USAGE and HELP type:\n   sidecar --help", file=sys.stderr)
        return 1
    if command == "help":
        print(usage(), end="")
        return 0
    if command == "version":
        print(f"\nsidecar  version: {_version()}\n")
        return 0
    if command == "hot-restart-version":
        from sidecar.server.hot_restart.endpoint import VERSION

        print("disabled" if "--disable-hot-restart" in argv else VERSION, end="")
        return 0
    try:
        log.setup(
            options.log_level,
            options.component_log_levels,
            path=options.log_path,
            pattern=options.log_format,
            escape=options.log_format_escaped,
        )
    except OSError as error:
        reason = f"Failed to open log-file '{options.log_path}'. e.what(): {error}"
        print(f"error initializing configuration '{options.config_path}': {reason}", file=sys.stderr)
        return 1
    return _run(options, warnings, argv)


def _named_config(arguments: Sequence[str]) -> list[str]:
    """``sidecar validate FILE`` without its ``-c``."""
    if arguments and not arguments[0].startswith("-"):
        return ["-c", *arguments]
    return list(arguments)


def _version() -> str:
    """Envoy's shape: revision/version/tree state/build type/TLS library."""
    from sidecar._version import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    return f"0/{__version__}/Clean/RELEASE/Python-{python}"


def _run(options: Options, warnings: list[str], arguments: Sequence[str]) -> int:
    import logging

    logger = logging.getLogger("sidecar.config")
    for warning in warnings:
        logger.warning("%s", warning)
    if not options.config_path and not options.config_yaml:
        text = "At least one of --config-path or --config-yaml should be non-empty"
        print(f"error initializing configuration '': {text}", file=sys.stderr)
        return 1
    from sidecar.config.application_log import application_log_pattern
    from sidecar.config.errors import ConfigErrors

    validate = options.mode == "validate"
    try:
        loaded = _load(options)
        if validate:
            from sidecar.server.main import compile_only

            compile_only(options, loaded)
    except ConfigErrors as errors:
        _print_problems(options, errors.problems)
        return 1
    if validate:
        _print_problems(options, loaded.warnings)
        if options.format == "text":
            print(f"configuration '{options.config_path}' OK")
        return 0
    pattern = application_log_pattern(loaded.bootstrap)
    if pattern is not None:
        if options.log_format != log.DEFAULT_FORMAT:
            text = "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified."
            print(f"error initializing configuration '{options.config_path}': {text}", file=sys.stderr)
            return 1
        log.set_pattern(pattern)
    if loaded.refusals:
        _print_problems(options, [*loaded.refusals, *loaded.warnings])
        return 1
    for problem in loaded.warnings:
        logger.warning("%s", problem)
    from sidecar.server.main import prepare_workers

    supervisor = os.getpid()
    forked = prepare_workers(options)
    if isinstance(forked, int):
        from sidecar.server.workers.worker import run_worker

        del loaded
        return run_worker([str(forked), str(supervisor)])
    from sidecar.server.hot_restart.endpoint import RestartError, claim

    endpoint = None
    try:
        options, endpoint, warning = claim(options)
        if warning:
            logger.warning("%s", warning)
        if not _write_base_id(options):
            return 1
        from sidecar.server.main import serve

        status: int = serve(options, loaded, None, endpoint, arguments, forked)
    except ConfigErrors as errors:
        _print_problems(options, errors.problems)
        return 1
    except RestartError as error:
        print(f"hot restart: {error}", file=sys.stderr)
        return 1
    finally:
        if endpoint is not None:
            endpoint.close()
    return status


def _load(options: Options) -> Loaded:
    from sidecar.config.load import load_bootstrap
    from sidecar.extensions.catalog import make_registry

    return load_bootstrap(
        options.config_path or None,
        options.config_yaml or None,
        registry=make_registry(),
        allow_unknown_static_fields=options.allow_unknown_static_fields,
        node_id=options.service_node or None,
        node_cluster=options.service_cluster or None,
        node_zone=options.service_zone or None,
    )


def _print_problems(options: Options, problems: Sequence[Problem]) -> None:
    """For people on standard error, one after the other; for editors as JSON on standard output."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if options.format == "json":
        report = {
            "file": options.config_path,
            "ok": not errors,
            "problems": [problem.to_json() for problem in problems],
        }
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return
    for problem in problems:
        text = str(problem)
        print(text if problem.severity == "error" else f"warning: {text}", file=sys.stderr)
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        print(f"error initializing configuration '{options.config_path}': {count}", file=sys.stderr)


def _write_base_id(options: Options) -> bool:
    if not options.base_id_path:
        return True
    try:
        with open(options.base_id_path, "w", encoding="ascii") as file:
            file.write(str(options.base_id))
    except OSError as error:
        text = f"cannot open base id output file {options.base_id_path} for writing: {error.strerror}"
        print(text, file=sys.stderr)
        return False
    return True
