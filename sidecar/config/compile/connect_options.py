"""``upstream_bind_config`` and ``upstream_connection_options``, of a cluster or of the cluster manager."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.core.address import Address, is_ip
from sidecar.core.errors import ConfigError
from sidecar.net.socket_options import SocketOption, keepalive_options
from sidecar.upstream.connect_options import ConnectOptions, SourceAddress

__all__ = ["compile_connect_options", "compile_socket_options"]

_BIND = "upstream_bind_config"
#: By ``AddressFamilyVersion`` and ``SocketIpVersion``.
_FAMILIES = (0, socket.AF_INET, socket.AF_INET6)
#: Of Linux; Python has no names for them.
_IPV6_FREEBIND = 78
_IP_FREEBIND = 15


def compile_connect_options(
    message: Any, context: FactoryContext, manager_bind: Any = None
) -> ConnectOptions | None:
    """The options of a cluster; None where nothing is said.

    ``manager_bind`` is the cluster manager's ``BindConfig``, for clusters without one.  Raises: ConfigError.
    """
    options: tuple[SocketOption, ...] = ()
    sources: tuple[SourceAddress, ...] = ()
    if message.HasField(_BIND):
        path = f"{context.path}.{_BIND}" if context.path else _BIND
        sources = _Bind(message.upstream_bind_config, path, f"Cluster {message.name}").sources()
    elif manager_bind is not None:
        sources = _Bind(manager_bind, f"cluster_manager.{_BIND}", "Bootstrap").sources()
    connection = message.upstream_connection_options
    first_family, first_count = 0, 1
    if connection.HasField("tcp_keepalive"):
        keepalive = connection.tcp_keepalive
        options += keepalive_options(
            *(_wrapped(keepalive, f"keepalive_{name}") for name in ("probes", "time", "interval"))
        )
    if connection.HasField("happy_eyeballs_config"):
        eyeballs = connection.happy_eyeballs_config
        first_family = _FAMILIES[eyeballs.first_address_family_version]
        first_count = _wrapped(eyeballs, "first_address_family_count") or 1
    if not options and not sources and not first_family and first_count == 1:
        return None
    return ConnectOptions(sources, options, first_family, first_count)


class _Bind:
    """One ``BindConfig``: ``owner`` is who has it, in Envoy's words."""

    def __init__(self, message: Any, path: str, owner: str) -> None:
        self._message = message
        self._path = path
        self._owner = owner
        self._common = tuple(compile_socket_options(message.socket_options))

    def sources(self) -> tuple[SourceAddress, ...]:
        """The addresses to come from.  Raises: ConfigError."""
        message = self._message
        extra, additional = message.extra_source_addresses, message.additional_source_addresses
        if extra and additional:
            raise self._error(
                "Can't specify both `extra_source_addresses` and `additional_source_addresses` in the "
                "{}'s upstream binding config",
            )
        if not message.HasField("source_address"):
            if extra or additional:
                raise self._error(
                    "{}'s upstream binding config has extra/additional source addresses but no "
                    "source_address. Extra/additional addresses cannot be specified if source_address is "
                    "not set."
                )
            return (SourceAddress(None, self._common),) if self._common else ()
        first = self._address(message.source_address, "source_address")
        found = [self._source(first, self._common)]
        if len(extra) > 1 or len(additional) > 1:
            raise self._error(
                "{}'s upstream binding config has more than one extra/additional source addresses. Only one "
                "extra/additional source can be supported in BindConfig's "
                "extra_source_addresses/additional_source_addresses field"
            )
        for each in extra:
            options = self._common
            if each.HasField("socket_options"):
                options = tuple(compile_socket_options(each.socket_options.socket_options))
            address = self._address(each.address, "extra_source_addresses[0].address")
            found.append(self._source(address, options))
        found += [
            self._source(self._address(each, "additional_source_addresses[0]"), self._common)
            for each in additional
        ]
        if len(found) == 2 and found[1].address is not None and found[1].address.family == first.family:
            raise self._error(
                "{}'s upstream binding config has two same IP version source addresses. Only two different "
                "IP version source addresses can be supported in BindConfig's source_address and "
                "extra_source_addresses/additional_source_addresses fields"
            )
        return tuple(found)

    def _source(self, address: Address, options: tuple[SocketOption, ...]) -> SourceAddress:
        if self._message.HasField("freebind"):
            value = int(self._message.freebind.value)
            if address.family == socket.AF_INET6:
                freebind = SocketOption(socket.IPPROTO_IPV6, _IPV6_FREEBIND, value)
            else:
                freebind = SocketOption(socket.IPPROTO_IP, _IP_FREEBIND, value)
            options = (freebind, *options)
        return SourceAddress(address, options)

    def _address(self, message: Any, field: str) -> Address:
        if not is_ip(message.address):
            raise ConfigError(f"{self._path}.{field}.address", f"malformed IP address: {message.address}")
        return Address.ip(message.address, message.port_value)

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(self._path, reason.format(self._owner))


def compile_socket_options(messages: Iterable[Any]) -> Iterator[SocketOption]:
    """The options that a configuration names, without those of datagrams."""
    for message in messages:
        if message.HasField("type") and not message.type.HasField("stream"):
            continue  # of datagrams alone
        kind = message.WhichOneof("value")
        value = message.int_value if kind == "int_value" else message.buf_value
        family = _FAMILIES[message.ip_version]
        yield SocketOption(message.level, message.name, value, message.state, family)


def _wrapped(message: Any, field: str) -> int | None:
    return getattr(message, field).value if message.HasField(field) else None
