"""Hash policies compiled: of a route, or of a load balancing extension (RouteAction.HashPolicy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.config.compile.route_rewrites import compile_substitution
from sidecar.router.hash_policy import (
    Cookie,
    HashPolicy,
    by_cookie,
    by_header,
    by_nothing,
    by_query,
    by_source_ip,
    combined,
)

__all__ = ["compile_hash_policies"]


def compile_hash_policies(messages: Sequence[Any], path: str) -> HashPolicy | None:
    """One policy of all ``messages``, or None where there are none.  Raises: ConfigError."""
    if not messages:
        return None
    return combined(
        [(_compile(each, f"{path}[{index}]"), each.terminal) for index, each in enumerate(messages)]
    )


def _compile(message: Any, path: str) -> HashPolicy:
    kind = message.WhichOneof("policy_specifier")
    if kind == "header":
        header = message.header
        replace = None
        if header.HasField("regex_rewrite"):
            replace = compile_substitution(header.regex_rewrite, f"{path}.header.regex_rewrite")
        return by_header(header.header_name.lower().encode(), replace)
    if kind == "cookie":
        cookie = message.cookie
        return by_cookie(
            Cookie(
                cookie.name.encode(),
                cookie.ttl.seconds if cookie.HasField("ttl") else None,
                cookie.path.encode(),
                tuple((each.name.encode(), each.value.encode()) for each in cookie.attributes),
            )
        )
    if kind == "query_parameter":
        return by_query(message.query_parameter.name.encode())
    if kind == "connection_properties" and message.connection_properties.source_ip:
        return by_source_ip()
    return by_nothing()
