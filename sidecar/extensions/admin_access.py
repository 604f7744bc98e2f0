"""Compiles ``sidecar.extensions.admin.v1.AdminAccess``, among ``bootstrap_extensions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.admin_access import AccessRules
from sidecar.config.compile.errors import placed
from sidecar.config.compile.tls import compile_downstream_tls
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["AdminAccessFactory"]


class AdminAccessFactory:
    """``sidecar.admin.access``."""

    name = "sidecar.admin.access"
    category = "envoy.bootstrap"
    config_type = "sidecar.extensions.admin.v1.AdminAccess"

    def compile(self, message: Any, context: FactoryContext) -> AccessRules:
        """What is asked of requests.  Raises: ConfigError."""
        token = b""
        if message.HasField("bearer_token"):
            token = context.read_data_source(message.bearer_token, "bearer_token").strip()
            if not token:
                raise ConfigError("bearer_token", "an empty token lets everybody in")
        tls = None
        if message.HasField("tls"):
            try:
                tls = compile_downstream_tls(message.tls, context.at("tls"))
            except ConfigError as error:
                raise placed(error, "tls") from error
        return AccessRules(bearer_token=token, is_read_only=message.read_only, tls=tls)
