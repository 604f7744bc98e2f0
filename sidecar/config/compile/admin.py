"""``envoy.config.bootstrap.v3.Admin`` compiled: who may ask for what, and its access logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sidecar.api.admin_access import OPEN, AccessRules
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.messages import message_class

__all__ = ["admin_logs", "compile_admin_rules"]

_FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"


def compile_admin_rules(admin: Any, extensions: Iterable[Any]) -> AccessRules:
    """``allow_paths``, and the rules that are among the bootstrap's extensions.  Raises: ConfigError."""
    tests = [
        compile_string_matcher(each, f"admin.allow_paths[{index}]")
        for index, each in enumerate(admin.allow_paths)
    ]
    rules = next((each for each in extensions if isinstance(each, AccessRules)), OPEN)
    return replace(rules, allows=lambda target: any(test(target) for test in tests)) if tests else rules


def admin_logs(admin: Any) -> Any:
    """``admin`` with a logger for ``access_log_path``, which is older than ``access_log``."""
    if not admin.access_log_path:
        return admin
    made = type(admin)()
    made.CopyFrom(admin)
    log: Any = message_class(_FILE_LOG)
    entry = made.access_log.add(name="envoy.access_loggers.file")
    entry.typed_config.Pack(log(path=admin.access_log_path))
    return made
