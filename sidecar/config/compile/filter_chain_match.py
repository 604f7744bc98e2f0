"""``FilterChainMatch`` compiled, and ``Listener.filter_chain_matcher`` with the inputs of a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidecar.config.compile.matching import MatcherCompiler
from sidecar.config.compile.network_inputs import NETWORK_INPUTS
from sidecar.core.address import parse_range
from sidecar.core.errors import ConfigError
from sidecar.core.filter_chain_match import ChainMatch, Finder

__all__ = ["compile_chain_match", "compile_chain_matcher"]

#: What an action says whose chain is not there: the connection is closed, the default chain is not asked.
_NO_CHAIN: Any = object()


def compile_chain_match(message: Any, path: str) -> ChainMatch:
    """One ``filter_chain_match``.  Raises: ConfigError, with the listener's address left out of its words."""
    if message.address_suffix or message.HasField("suffix_len"):
        raise ConfigError(path, "filter chain contains unimplemented fields")
    names = []
    for index, name in enumerate(message.server_names):
        if "*" in name and not name.startswith("*."):
            reason = 'partial wildcards are not supported in "server_names"'
            raise ConfigError(f"{path}.server_names[{index}]", reason)
        names.append(name.lower())
    return ChainMatch(
        destination_port=message.destination_port.value,
        prefix_ranges=_ranges(message.prefix_ranges, f"{path}.prefix_ranges"),
        server_names=tuple(names),
        transport_protocol=message.transport_protocol,
        application_protocols=tuple(message.application_protocols),
        direct_source_prefix_ranges=_ranges(
            message.direct_source_prefix_ranges, f"{path}.direct_source_prefix_ranges"
        ),
        source_type=message.source_type,
        source_prefix_ranges=_ranges(message.source_prefix_ranges, f"{path}.source_prefix_ranges"),
        source_ports=tuple(message.source_ports),
    )


def _ranges(messages: Sequence[Any], path: str) -> tuple[Any, ...]:
    found = []
    for index, each in enumerate(messages):
        try:
            found.append(parse_range(each.address_prefix, each.prefix_len.value))
        except ValueError as error:
            raise ConfigError(f"{path}[{index}]", str(error)) from error
    return tuple(found)


def compile_chain_matcher(message: Any, path: str, chains: Mapping[str, Any], default: Any) -> Finder:
    """The finder of ``filter_chain_matcher`` over chains by name.  Raises: ConfigError."""
    actions: dict[str, Callable[[Any, str], Any]] = {
        "google.protobuf.StringValue": lambda action, _: chains.get(action.value, _NO_CHAIN)
    }
    tree = MatcherCompiler(NETWORK_INPUTS, actions, keeps_matching=True).tree(message, path)

    def find(facts: Any) -> Any:
        found = tree.match(facts)
        if found is None:
            return default
        return None if found is _NO_CHAIN else found

    return find
