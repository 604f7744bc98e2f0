"""``envoy.config.route.v3.RateLimit`` compiled: the descriptors of :mod:`sidecar.api.rate_limit`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from sidecar.api.rate_limit import SKIPPED, Action, Entry, Override, Policy, RateLimits
from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.compile.rate_limit_extensions import compile_extension_action
from sidecar.config.compile.route_predicates import compile_query_matcher
from sidecar.core.address import split_address
from sidecar.core.address_ranges import compile_addresses
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.observability.formatter import compile_header_value

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream

__all__ = ["compile_rate_limits", "compile_route_rate_limits"]

_MOST_HITS = 1_000_000_000
_UNITS = {"SECOND": 1, "MINUTE": 2, "HOUR": 3, "DAY": 4, "MONTH": 5, "YEAR": 6, "WEEK": 7}


def compile_route_rate_limits(
    action: Any, path: str, virtual_host: tuple[Policy, ...], context: FactoryContext
) -> RateLimits | None:
    """What a RouteAction says, with its virtual host's; None for nothing.  Raises: ConfigError."""
    own = compile_rate_limits(action.rate_limits, f"{path}.rate_limits", context)
    if not own and not virtual_host:
        return None
    return RateLimits(own, virtual_host, action.include_vh_rate_limits.value)


def compile_rate_limits(
    messages: Any,
    path: str,
    context: FactoryContext,
    *,
    is_embedded: bool = False,
    has_limits: bool = False,
) -> tuple[Policy, ...]:
    """The policies of a list.  Raises: ConfigError.

    ``is_embedded``: the list is a filter's, which has no stages; ``has_limits``: but overrides.
    """
    found = []
    for index, each in enumerate(messages):
        at = f"{path}[{index}]"
        if is_embedded and not has_limits and each.HasField("limit"):
            raise ConfigError(f"{at}.limit", "'limit' field is not supported")
        found.append(_policy(each, at, context, is_embedded))
    return tuple(found)


def _policy(message: Any, path: str, context: FactoryContext, is_embedded: bool) -> Policy:
    if is_embedded and (message.HasField("stage") or message.disable_key):
        raise ConfigError(path, "'stage' field and 'disable_key' field are not supported")
    return Policy(
        tuple(
            _action(each, f"{path}.actions[{index}]", context) for index, each in enumerate(message.actions)
        ),
        message.stage.value,
        message.disable_key,
        _limit(message.limit),
        _hits(message.hits_addend, f"{path}.hits_addend", context, is_embedded)
        if message.HasField("hits_addend")
        else None,
        message.hits_addend.is_negative_hits,
        message.apply_on_stream_done,
        message.x_ratelimit_option,
    )


# -- what is around the entries -----------------------------------------------------------------------
def _limit(message: Any) -> Callable[[Stream], Override | None] | None:
    kind = message.WhichOneof("override_specifier")
    if kind == "rate_limit":
        fixed = Override(message.rate_limit.requests_per_unit, message.rate_limit.unit)
        return lambda _: fixed
    if kind is None:
        return None
    key = message.dynamic_metadata.metadata_key
    read = _metadata_reader(key)

    def limit(stream: Stream) -> Override | None:
        value = read(stream.dynamic_metadata)
        if not isinstance(value, dict):
            return None
        number, unit = value.get("requests_per_unit"), _UNITS.get(str(value.get("unit")))
        if isinstance(number, bool) or not isinstance(number, int | float) or unit is None:
            return None
        return Override(int(number), unit)

    return limit


def _hits(
    message: Any, path: str, context: FactoryContext, is_embedded: bool
) -> int | Callable[[Stream], int | None] | None:
    if not is_embedded:
        context.warn(path, "has no effect in a route, as in Envoy")
        return None
    has_number = message.HasField("number")
    if has_number is bool(message.format):
        raise ConfigError(path, "hits_addend must contain either a format or a number")
    if not message.format:
        return int(message.number.value) if has_number else None
    if message.format.count("%") != 2:
        raise ConfigError(path, "hits_addend format must contain exactly one substitution")
    value = _formatted(message.format, path)
    if isinstance(value, bytes):
        return None

    def hits(stream: Stream) -> int | None:
        try:
            number = float(value(stream))
        except ValueError:
            return None
        return int(number) if 0 <= number <= _MOST_HITS else None

    return hits


def _formatted(text: str, path: str) -> bytes | Callable[[Stream], bytes]:
    try:
        return compile_header_value(text)
    except SidecarError as error:
        raise ConfigError(path, str(error)) from error


# -- entries ------------------------------------------------------------------------------------------
def _action(message: Any, path: str, context: FactoryContext) -> Action:
    kind = message.WhichOneof("action_specifier")
    value = getattr(message, kind)
    if kind == "source_cluster":
        entry = b"source_cluster", context.node.cluster.encode()
        return lambda _: entry
    if kind == "extension":
        return compile_extension_action(value, f"{path}.extension")
    if kind == "metadata":
        return _metadata(value, context)
    return _ACTIONS[kind](value, f"{path}.{kind}")


def _destination_cluster(_message: Any, _path: str) -> Action:
    return lambda stream: (
        None if stream.route is None else (b"destination_cluster", stream.route.cluster_name.encode())
    )


def _request_headers(message: Any, _path: str) -> Action:
    name, key = message.header_name.lower().encode(), message.descriptor_key.encode()
    absent = SKIPPED if message.skip_if_absent else None

    def take(stream: Stream) -> Entry | None:
        value = stream.request.headers.get(name)
        return absent if value is None else (key, value)

    return take


def _query_parameters(message: Any, _path: str) -> Action:
    name, key = message.query_parameter_name.encode(), message.descriptor_key.encode()
    absent = SKIPPED if message.skip_if_absent else None

    def take(stream: Stream) -> Entry | None:
        query = (stream.request.headers.path or b"").partition(b"?")[2]
        for pair in query.split(b"&") if query else ():
            found, _, value = pair.partition(b"=")
            if unquote_to_bytes(found) == name:
                return key, unquote_to_bytes(value)
        return absent

    return take


def _remote_ip(stream: Stream) -> str | None:
    host, port = split_address(stream.remote_address)
    return None if port is None else host


def _remote_address(_message: Any, _path: str) -> Action:
    def take(stream: Stream) -> Entry | None:
        host = _remote_ip(stream)
        return None if host is None else (b"remote_address", host.encode())

    return take


def _masked_remote_address(message: Any, _path: str) -> Action:
    lengths = {
        4: message.v4_prefix_mask_len.value if message.HasField("v4_prefix_mask_len") else 32,
        6: message.v6_prefix_mask_len.value if message.HasField("v6_prefix_mask_len") else 128,
    }

    def take(stream: Stream) -> Entry | None:
        host = _remote_ip(stream)
        if host is None:
            return None
        address = ipaddress.ip_address(host)
        network = ipaddress.ip_network((address, lengths[address.version]), strict=False)
        return b"masked_remote_address", str(network).encode()

    return take


def _remote_address_match(message: Any, path: str) -> Action:
    matcher = message.address_matcher
    try:
        contains = compile_addresses(
            [(each.address_prefix, each.prefix_len.value) for each in matcher.ranges]
        )
    except ValueError as error:
        raise ConfigError(f"{path}.address_matcher.ranges", str(error)) from error
    wanted = not matcher.invert_match
    entry = _entry(message, b"remote_address_match")

    def take(stream: Stream) -> Entry | None:
        host = _remote_ip(stream)
        return entry if host is not None and contains(host) is wanted else None

    return take


def _entry(message: Any, default_key: bytes) -> Entry:
    """``descriptor_key`` and ``descriptor_value``, as they stand; ``default_value`` is not looked at."""
    return message.descriptor_key.encode() or default_key, message.descriptor_value.encode()


def _generic_key(message: Any, _path: str) -> Action:
    entry = _entry(message, b"generic_key")
    return lambda _: entry


def _header_value_match(message: Any, path: str) -> Action:
    tests = [
        compile_header_matcher(each, f"{path}.headers[{index}]") for index, each in enumerate(message.headers)
    ]
    return _match(message, b"header_match", lambda headers: all(test(headers) for test in tests))


def _query_parameter_value_match(message: Any, path: str) -> Action:
    test = compile_query_matcher(message.query_parameters, f"{path}.query_parameters", is_decoded=True)
    return _match(message, b"query_match", test)


def _match(message: Any, default_key: bytes, matches: Callable[[Any], bool]) -> Action:
    wanted = message.expect_match.value if message.HasField("expect_match") else True
    entry = _entry(message, default_key)
    return lambda stream: entry if matches(stream.request.headers) is wanted else None


def _metadata(message: Any, context: FactoryContext) -> Action:
    key, default = message.descriptor_key.encode(), message.default_value.encode()
    read = _metadata_reader(message.metadata_key)
    source = _SOURCES[message.source](context)
    absent = SKIPPED if message.skip_if_absent else None

    def take(stream: Stream) -> Entry | None:
        found = read(source(stream))
        if isinstance(found, bytes):
            value = found
        else:
            value = found.encode("utf-8", "surrogateescape") if isinstance(found, str) else b""
        value = value or default
        return (key, value) if value else absent

    return take


_Metadata = dict[str, dict[str, Any]] | None


def _of_stream(_context: FactoryContext) -> Callable[[Stream], _Metadata]:
    return lambda stream: stream.dynamic_metadata


def _of_route(_context: FactoryContext) -> Callable[[Stream], _Metadata]:
    return lambda stream: None if stream.route is None else stream.route.metadata


def _of_cluster(context: FactoryContext) -> Callable[[Stream], _Metadata]:
    def read(stream: Stream) -> _Metadata:
        cluster = None if stream.route is None else context.find_cluster(stream.route.cluster_name)
        return None if cluster is None else cluster.config.metadata

    return read


def _of_nothing(_context: FactoryContext) -> Callable[[Stream], _Metadata]:
    """A locality is chosen with the host: there is none yet, as in Envoy."""
    return lambda _: None


#: By ``MetaData.Source``: DYNAMIC, ROUTE_ENTRY, CLUSTER_ENTRY, CLUSTER_LOCALITY_ENTRY.
_SOURCES = (_of_stream, _of_route, _of_cluster, _of_nothing)


def _metadata_reader(message: Any) -> Callable[[Any], Any]:
    """What reads the value of an ``envoy.type.metadata.v3.MetadataKey``."""
    namespace, path = message.key, [each.key for each in message.path]

    def read(metadata: dict[str, dict[str, Any]] | None) -> Any:
        value: Any = (metadata or {}).get(namespace)
        for key in path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    return read


_ACTIONS: dict[str, Callable[[Any, str], Action]] = {
    "destination_cluster": _destination_cluster,
    "request_headers": _request_headers,
    "query_parameters": _query_parameters,
    "remote_address": _remote_address,
    "masked_remote_address": _masked_remote_address,
    "remote_address_match": _remote_address_match,
    "generic_key": _generic_key,
    "header_value_match": _header_value_match,
    "query_parameter_value_match": _query_parameter_value_match,
}
