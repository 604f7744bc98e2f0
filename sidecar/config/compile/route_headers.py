"""``request_headers_to_add`` and its three siblings compiled to :class:`HeaderMutations`.

One level at a time (envoy.config.route.v3.RouteConfiguration, VirtualHost, Route, ClusterWeight); which
level applies when is :mod:`sidecar.config.compile.route`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sidecar.config.compile.substitution_format import explain_format_error
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.observability.formatter import compile_header_value
from sidecar.router.header_mutation import APPEND, OVERWRITE, HeaderAddition, HeaderMutations

__all__ = ["compile_additions", "compile_header_mutations"]


def compile_header_mutations(message: Any, side: str, path: str) -> HeaderMutations:
    """What ``message`` (a level) does to the headers of ``side``: ``request`` or ``response``.

    Raises: ConfigError.
    """
    additions = compile_additions(getattr(message, f"{side}_headers_to_add"), f"{path}.{side}_headers_to_add")
    removals = tuple(name.lower().encode() for name in getattr(message, f"{side}_headers_to_remove"))
    return HeaderMutations(additions, removals)


def compile_additions(options: Any, path: str, extensions: Iterable[Any] = ()) -> tuple[HeaderAddition, ...]:
    """The list of ``envoy.config.core.v3.HeaderValueOption`` at ``path``.

    ``extensions``: operators that formatters bring.  Raises: ConfigError.
    """
    additions = []
    for index, option in enumerate(options):
        key = option.header.key
        if key.startswith(":") or key.lower() == "host":
            raise ConfigError(f"{path}[{index}].header.key", ":-prefixed or host headers may not be modified")
        name = key.lower().encode()
        action = option.append_action
        if option.HasField("append"):
            if action != APPEND:
                reason = "Both append and append_action are set and it's not allowed"
                raise ConfigError(f"{path}[{index}].append", reason)
            action = APPEND if option.append.value else OVERWRITE
        value: bytes | Callable[[Any], bytes]
        try:
            # raw_value means nothing here, as in Envoy.
            value = compile_header_value(option.header.value, extensions=extensions)
        except SidecarError as error:
            raise ConfigError(f"{path}[{index}].header.value", explain_format_error(error)) from error
        additions.append(HeaderAddition(name, value, action, option.keep_empty_value))
    return tuple(additions)
