"""What a start tells the log, in Envoy's words and under its loggers' names: scripts look for them."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["tell_of_start"]

_main = logging.getLogger("sidecar.main")
_admin = logging.getLogger("sidecar.admin")
_config = logging.getLogger("sidecar.config")


def tell_of_start(bootstrap: Any, admin_address: str | None) -> None:
    """Tell what the configuration holds and where the admin server stands (None: there is none)."""
    if admin_address is None:
        _main.info("No admin address given, so no admin HTTP server started.")
    else:
        _main.info("Starting admin HTTP server at %s", admin_address)
        _admin.info("admin address: %s", admin_address)
    static = bootstrap.static_resources
    _config.info("loading tracing configuration")
    _config.info("loading %d static secret(s)", len(static.secrets))
    _config.info("loading %d cluster(s)", len(static.clusters))
    _config.info("loading %d listener(s)", len(static.listeners))
    _config.info("loading stats configuration")
