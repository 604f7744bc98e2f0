"""The conditions of ``envoy.config.route.v3.RouteMatch`` besides the path, compiled to plain functions.

Each is given the request's headers and its stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from sidecar.config.compile.chance import compile_fraction
from sidecar.config.compile.filter_state_matcher import compile_filter_state_matcher
from sidecar.config.compile.matchers import Matcher, compile_header_matcher, compile_string_matcher
from sidecar.config.compile.value_matchers import compile_metadata_matcher
from sidecar.core.cookies import cookie_values
from sidecar.core.headers import RequestHeaders
from sidecar.core.runtime import Runtime
from sidecar.http.local_reply import is_grpc
from sidecar.observability.attributes import filter_state
from sidecar.router.cluster_choice import random_value
from sidecar.router.route import Predicate

__all__ = ["compile_predicates", "compile_query_matcher"]


def compile_predicates(match: Any, path: str, runtime: Runtime) -> tuple[Predicate, ...]:
    """The conditions of a RouteMatch besides its path, the cheap ones first.  Raises: ConfigError."""
    predicates: list[Predicate] = []
    if match.HasField("runtime_fraction"):
        share = compile_fraction(match.runtime_fraction, runtime)
        predicates.append(lambda _, stream: share.covers(random_value(stream)))
    if match.HasField("grpc"):
        predicates.append(_is_grpc)
    for index, each in enumerate(match.headers):
        predicates.append(_on_headers(compile_header_matcher(each, f"{path}.headers[{index}]")))
    tests = [
        _query_test(each, f"{path}.query_parameters[{index}]")
        for index, each in enumerate(match.query_parameters)
    ]
    if tests:
        predicates.append(lambda headers, _: _has_parameters(headers, tests))
    if match.cookies:
        predicates.append(_cookies(match.cookies, f"{path}.cookies"))
    if match.HasField("tls_context"):
        predicates.append(_tls(match.tls_context))
    for index, each in enumerate(match.dynamic_metadata):
        predicates.append(_metadata(each, f"{path}.dynamic_metadata[{index}]"))
    for index, each in enumerate(match.filter_state):
        predicates.append(_filter_state(each, f"{path}.filter_state[{index}]"))
    return tuple(predicates)


def compile_query_matcher(
    messages: Any, path: str, *, is_decoded: bool = False
) -> Callable[[RequestHeaders], bool]:
    """Whether a request has all of these query parameters; ``is_decoded``: without percent-encoding.

    Raises: ConfigError.
    """
    tests = [_query_test(each, f"{path}[{index}]") for index, each in enumerate(messages)]
    decode = unquote_to_bytes if is_decoded else bytes
    return lambda headers: _has_parameters(headers, tests, decode)


def _on_headers(matches: Callable[[Any], bool]) -> Predicate:
    return lambda headers, _: matches(headers)


def _query_test(message: Any, path: str) -> tuple[bytes, Matcher | None]:
    """The name of a query parameter, and what its first value must be; None: anything."""
    name = message.name.encode()
    kind = message.WhichOneof("query_parameter_match_specifier")
    if kind == "string_match":
        return name, compile_string_matcher(message.string_match, f"{path}.string_match")
    if kind == "present_match" and not message.present_match:
        return name, _never
    return name, None


def _never(_: bytes) -> bool:
    return False


def _has_parameters(
    headers: RequestHeaders,
    tests: list[tuple[bytes, Matcher | None]],
    decode: Callable[[bytes], bytes] = bytes,
) -> bool:
    """Parameters are compared as they stand in the URL; of a repeated one the first counts."""
    found: dict[bytes, bytes] = {}
    query = (headers.path or b"").partition(b"?")[2].partition(b"#")[0]
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        found.setdefault(decode(name), decode(value))
    for name, test in tests:
        value_found = found.get(name)
        if value_found is None:
            if test is not _never:
                return False
        elif test is not None and not test(value_found):
            return False
    return True


def _is_grpc(headers: RequestHeaders, _: Any) -> bool:
    """Whether this is a gRPC request (``Grpc::Common::isGrpcRequestHeaders``)."""
    value = headers.get(b"content-type")
    return value is not None and is_grpc(value)


def _cookies(matchers: Any, path: str) -> Predicate:
    """All of them; one that is inverted holds for a cookie that is not there."""
    tests = [
        (
            each.name.encode(),
            compile_string_matcher(each.string_match, f"{path}[{index}].string_match"),
            bool(each.invert_match),
        )
        for index, each in enumerate(matchers)
    ]

    def matches(headers: RequestHeaders, _: Any) -> bool:
        cookies = cookie_values(headers)
        for name, test, invert in tests:
            value = cookies.get(name)
            if (value is not None and test(value)) == invert:
                return False
        return True

    return matches


def _tls(message: Any) -> Predicate:
    """Whether the client showed a certificate, and whether it was found good."""
    presented = message.presented.value if message.HasField("presented") else None
    validated = message.validated.value if message.HasField("validated") else None

    def matches(_: RequestHeaders, stream: Any) -> bool:
        tls = None if stream is None else stream.connection.tls
        if presented is not None and presented != (tls is not None and tls.has_peer):
            return False
        return validated is None or validated == (tls is not None and tls.is_validated)

    return matches


def _metadata(message: Any, path: str) -> Predicate:
    matches = compile_metadata_matcher(message, path)
    return lambda _, stream: matches(None if stream is None else stream.dynamic_metadata)


def _filter_state(message: Any, path: str) -> Predicate:
    holds = compile_filter_state_matcher(message, path)
    key = message.key

    def matches(_: RequestHeaders, stream: Any) -> bool:
        return holds(None if stream is None else filter_state(stream, key))

    return matches
