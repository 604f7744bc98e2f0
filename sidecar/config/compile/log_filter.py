"""Compiles ``envoy.config.accesslog.v3.AccessLogFilter`` to a predicate over streams.

Access logs and the mappers of local replies have one.
"""

from __future__ import annotations

import operator
import random
import time
from collections.abc import Callable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.stream import FLAG_NAMES, Stream
from sidecar.config.compile.cel import cel_options, compile_cel_text
from sidecar.config.compile.chance import compile_number, fraction
from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.compile.value_matchers import compile_value_matcher
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.observability.header_operators import response_grpc_number

__all__ = ["compile_log_filter"]

Predicate = Callable[[Stream], bool]
_Compare = Callable[[int, int], bool]

#: ``ComparisonFilter.Op`` in the order of its numbers.
_COMPARISONS: tuple[_Compare, ...] = (operator.eq, operator.ge, operator.le, operator.ne)
_CEL_FILTER = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def compile_log_filter(message: Any, context: FactoryContext, path: str) -> Predicate:
    """Whether to log a stream.  Raises: ConfigError under ``path``.

    A kind that is still to come lets everything pass: the loader told it.
    """
    kind = message.WhichOneof("filter_specifier")
    compiler = _COMPILERS.get(kind or "")
    if compiler is None:
        return lambda stream: True
    return compiler(getattr(message, kind), context, f"{path}.{kind}")


def _status_code(message: Any, context: FactoryContext, path: str) -> Predicate:
    compare: _Compare = _COMPARISONS[message.comparison.op]
    wanted = compile_number(message.comparison.value, context.runtime)
    return lambda stream: compare(stream.response_code, wanted.value)


def _duration(message: Any, context: FactoryContext, path: str) -> Predicate:
    compare: _Compare = _COMPARISONS[message.comparison.op]
    wanted = compile_number(message.comparison.value, context.runtime)

    def wanted_duration(stream: Stream) -> bool:
        end_ns = stream.downstream_last_tx_ns or time.monotonic_ns()
        return compare((end_ns - (stream.first_start_ns or stream.start_ns)) // 1_000_000, wanted.value)

    return wanted_duration


def _not_health_check(message: Any, context: FactoryContext, path: str) -> Predicate:
    return lambda stream: not stream.is_health_check


def _runtime(message: Any, context: FactoryContext, path: str) -> Predicate:
    share = context.runtime.fraction(message.runtime_key, *fraction(message.percent_sampled))
    independent: bool = message.use_independent_randomness

    def sampled(stream: Stream) -> bool:
        number = None if independent else _request_number(stream.request_id)
        if number is None:
            number = random.getrandbits(64)
        return share.covers(number)

    return sampled


def _request_number(request_id: bytes | None) -> int | None:
    """The number in a request id that every proxy samples by alike: its first eight hex digits."""
    try:
        return None if request_id is None else int(request_id[:8], 16)
    except ValueError:
        return None


def _traceable(message: Any, context: FactoryContext, path: str) -> Predicate:
    return lambda stream: stream.trace_reason == "a"  # a trace that was forced inside, and no other


def _metadata(message: Any, context: FactoryContext, path: str) -> Predicate:
    default = message.match_if_key_not_found.value if message.HasField("match_if_key_not_found") else True
    matcher = message.matcher
    if not message.HasField("matcher"):
        return lambda stream: default
    matches = compile_value_matcher(matcher.value, f"{path}.matcher.value")  # invert means nothing here
    namespace = matcher.filter
    keys = [segment.key for segment in matcher.path]

    def by_metadata(stream: Stream) -> bool:
        value: Any = (stream.dynamic_metadata or {}).get(namespace, {})
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return default if value is None else matches(value)

    return by_metadata


def _all_of(message: Any, context: FactoryContext, path: str) -> Predicate:
    parts = _parts(message, context, path)
    return lambda stream: all(part(stream) for part in parts)


def _any_of(message: Any, context: FactoryContext, path: str) -> Predicate:
    parts = _parts(message, context, path)
    return lambda stream: any(part(stream) for part in parts)


def _parts(message: Any, context: FactoryContext, path: str) -> list[Predicate]:
    return [
        compile_log_filter(part, context, f"{path}.filters[{number}]")
        for number, part in enumerate(message.filters)
    ]


def _header(message: Any, context: FactoryContext, path: str) -> Predicate:
    matches = compile_header_matcher(message.header, f"{path}.header")
    return lambda stream: matches(stream.request.headers)


def _response_flag(message: Any, context: FactoryContext, path: str) -> Predicate:
    wanted = set(message.flags)
    unknown = wanted - {short for _, short, _ in FLAG_NAMES}
    if unknown:
        raise ConfigError(f"{path}.flags", f"unknown response flag '{min(unknown)}'")
    mask = sum(int(flag) for flag, short, _ in FLAG_NAMES if not wanted or short in wanted)
    return lambda stream: bool(stream.flags & mask)


def _grpc_status(message: Any, context: FactoryContext, path: str) -> Predicate:
    statuses = frozenset(message.statuses)
    exclude: bool = message.exclude
    return lambda stream: (response_grpc_number(stream) in statuses) != exclude


def _log_type(message: Any, context: FactoryContext, path: str) -> Predicate:
    names = message.DESCRIPTOR.fields_by_name["types"].enum_type.values_by_number
    types = frozenset(names[number].name for number in message.types)
    exclude: bool = message.exclude
    return lambda stream: (stream.access_log_type in types) != exclude


def _extension(message: Any, context: FactoryContext, path: str) -> Predicate:
    """``envoy.access_loggers.extension_filters.cel``; the loader told of others."""
    kind, inner = resolve_any(message.typed_config)
    expression: Any = inner
    if kind != _CEL_FILTER:
        return lambda stream: True
    at = f"{path}.typed_config.expression"
    return compile_cel_text(expression.expression, at, cel_options(expression)).matches


_COMPILERS: dict[str, Callable[[Any, FactoryContext, str], Predicate]] = {
    "status_code_filter": _status_code,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "traceable_filter": _traceable,
    "metadata_filter": _metadata,
    "runtime_filter": _runtime,
    "and_filter": _all_of,
    "or_filter": _any_of,
    "header_filter": _header,
    "response_flag_filter": _response_flag,
    "grpc_status_filter": _grpc_status,
    "log_type_filter": _log_type,
    "extension_filter": _extension,
}
