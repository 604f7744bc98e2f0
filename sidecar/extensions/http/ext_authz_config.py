"""Compiles ``envoy.extensions.filters.http.ext_authz.v3.ExtAuthz``, and what routes say of it."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import ALWAYS, compile_chance
from sidecar.config.compile.grpc_service import compile_call_retries, compile_grpc_client
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.mutation_rules import compile_mutation_rules
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.value_matchers import compile_metadata_matcher
from sidecar.config.errors import Path
from sidecar.config.registry import Report
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.extensions.authz.authz_config import compile_labels
from sidecar.extensions.http.ext_authz import BodySettings, ExtAuthzFilter, RouteCheck, Settings
from sidecar.extensions.http.ext_authz_check import (
    Attributes,
    CheckService,
    GrpcCheckService,
    HttpCheckService,
    Passes,
)
from sidecar.extensions.http.ext_authz_mutations import RequestMutations
from sidecar.observability.formatter import compile_header_value
from sidecar.router.header_mutation import OVERWRITE, HeaderAddition, HeaderMutations

__all__ = ["ExtAuthzFactory"]

_MESSAGES = "envoy.extensions.filters.http.ext_authz.v3"
_TIMEOUT_S = 0.2
#: Of ``envoy.config.core.v3.ApiVersion``.
_V2 = 1
#: What a service of HTTP is told in any case.
_OF_HTTP = frozenset((b"authorization", b":method", b":path", b":authority"))
_OF_REFUSALS = frozenset((b":status", b"content-length", b"www-authenticate", b"location"))


class ExtAuthzFactory:
    """``envoy.filters.http.ext_authz``."""

    name = "envoy.filters.http.ext_authz"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.ExtAuthz"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.ExtAuthzPerRoute"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.HasField("allowed_headers") and message.http_service.authorization_request.HasField(
            "allowed_headers"
        ):
            report.error((*path, "allowed_headers"), "Invalid duplicate configuration for allowed_headers.")
        if message.HasField("grpc_service") and message.transport_api_version == _V2:
            report.error(
                (*path, "transport_api_version"),
                "the v2 xDS major version is no longer supported",
                "write V3",
            )
        if message.HasField("http_service"):
            _check_http_service(message.http_service, (*path, "http_service"), report)

    def compile(self, message: Any, context: FactoryContext) -> ExtAuthzFilter:
        """The filter.  Raises: ConfigError."""
        scope = context.stats.scope("ext_authz")
        if message.stat_prefix:
            scope = scope.scope(message.stat_prefix)
        return ExtAuthzFilter(
            _settings(message, context),
            _attributes(message, context),
            _service(message, context),
            scope,
            context.find_cluster,
        )

    def compile_route(self, message: Any, context: FactoryContext) -> RouteCheck:
        """One level's settings.  Raises: ConfigError."""
        if message.WhichOneof("override") != "check_settings":
            return RouteCheck(disabled=message.disabled)
        settings = message.check_settings
        if settings.disable_request_body_buffering and settings.HasField("with_request_body"):
            reason = (
                "Invalid configuration for check_settings. Only one of disable_request_body_buffering or "
                "with_request_body can be set."
            )
            raise ConfigError(f"{context.path}.check_settings", reason)
        emits = settings.emit_client_span
        return RouteCheck(
            context_extensions=dict(settings.context_extensions),
            disable_request_body_buffering=settings.disable_request_body_buffering,
            body=_body(settings),
            service=_service(settings, context.at("check_settings")),
            emit_client_span=emits.value if settings.HasField("emit_client_span") else None,
        )


def _check_http_service(message: Any, path: Path, report: Report) -> None:
    for name in ("path_prefix", "path_override"):
        text = getattr(message, name)
        if text and not text.startswith("/"):
            report.error((*path, name), f'{name} should start with "/".')
    if message.path_prefix and message.path_override:
        report.error(
            (*path, "path_override"), "Only one of path_prefix or path_override may be set, not both."
        )
    for number, each in enumerate(message.authorization_request.headers_to_add):
        here = (*path, "authorization_request", "headers_to_add", number)
        if each.key.startswith(":") or each.key.lower() == "host":
            report.error((*here, "key"), ":-prefixed or host headers may not be modified")
        try:
            compile_header_value(each.value)
        except SidecarError as error:
            report.error((*here, "value"), str(error))


def _settings(message: Any, context: FactoryContext) -> Settings:
    path = context.path
    enabled = None
    if message.HasField("filter_enabled"):
        enabled = compile_chance(message.filter_enabled, context.runtime)
    of_metadata = None
    if message.HasField("filter_enabled_metadata"):
        of_metadata = compile_metadata_matcher(
            message.filter_enabled_metadata, f"{path}.filter_enabled_metadata"
        )
    rules = None
    if message.HasField("decoder_header_mutation_rules"):
        rules = compile_mutation_rules(
            message.decoder_header_mutation_rules, f"{path}.decoder_header_mutation_rules"
        )
    code = message.status_on_error.code
    charges = message.charge_cluster_response_stats
    ingests = message.enable_dynamic_metadata_ingestion
    return Settings(
        failure_mode_allow=message.failure_mode_allow,
        failure_mode_allow_header_add=message.failure_mode_allow_header_add,
        body=_body(message),
        clear_route_cache=message.clear_route_cache,
        clear_route_cache_headers=frozenset(
            name.lower().encode() for name in message.clear_route_cache_headers
        ),
        shadow_mode=message.shadow_mode,
        emit_filter_state_stats=message.emit_filter_state_stats,
        status_on_error=code or 403,
        filter_enabled=None if enabled is ALWAYS else enabled,
        filter_enabled_metadata=of_metadata,
        deny_at_disable=context.runtime.flag(
            message.deny_at_disable.runtime_key, message.deny_at_disable.default_value.value
        ),
        stat_prefix=message.stat_prefix,
        charge_cluster_response_stats=charges.value
        if message.HasField("charge_cluster_response_stats")
        else True,
        enable_dynamic_metadata_ingestion=ingests.value
        if message.HasField("enable_dynamic_metadata_ingestion")
        else True,
        max_denied_response_body_bytes=message.max_denied_response_body_bytes,
        enforce_response_header_limits=message.enforce_response_header_limits,
        emit_client_span=message.emit_client_span.value if message.HasField("emit_client_span") else True,
        mutations=RequestMutations(message.validate_mutations, rules),
    )


def _body(message: Any) -> BodySettings | None:
    if not message.HasField("with_request_body"):
        return None
    settings = message.with_request_body
    return BodySettings(settings.max_request_bytes, settings.allow_partial_message, settings.pack_as_bytes)


def _attributes(message: Any, context: FactoryContext) -> Attributes:
    of_http = message.HasField("http_service")
    return Attributes(
        passes=_passes(message, context.path),
        encode_raw_headers=message.encode_raw_headers,
        pack_as_bytes=of_http or message.with_request_body.pack_as_bytes,
        include_peer_certificate=message.include_peer_certificate,
        include_tls_session=message.include_tls_session,
        labels=compile_labels(message, context),
        metadata_context_namespaces=tuple(message.metadata_context_namespaces),
        typed_metadata_context_namespaces=tuple(message.typed_metadata_context_namespaces),
        route_metadata_context_namespaces=tuple(message.route_metadata_context_namespaces),
        route_typed_metadata_context_namespaces=tuple(message.route_typed_metadata_context_namespaces),
    )


def _passes(message: Any, path: str) -> Passes | None:
    """Whether a service may see a header; None for every one."""
    refused = _matcher(message.disallowed_headers, f"{path}.disallowed_headers")
    allowed: Passes | None = None
    if message.HasField("http_service"):
        given = message.http_service.authorization_request
        if given.HasField("allowed_headers"):
            listed = _matcher(
                given.allowed_headers, f"{path}.http_service.authorization_request.allowed_headers"
            )
        else:
            listed = _matcher(message.allowed_headers, f"{path}.allowed_headers")
        allowed = _or(_OF_HTTP, listed)
    elif message.HasField("allowed_headers"):
        allowed = _matcher(message.allowed_headers, f"{path}.allowed_headers") or _nothing
    if refused is None:
        return allowed
    return lambda name: not refused(name) and (allowed is None or allowed(name))


def _matcher(message: Any, path: str) -> Passes | None:
    """Whether one of a ListStringMatcher's patterns takes a name; None for an empty list."""
    tests = [
        compile_string_matcher(each, f"{path}.patterns[{index}]")
        for index, each in enumerate(message.patterns)
    ]
    if not tests:
        return None
    return lambda name: any(test(name) for test in tests)


def _or(names: frozenset[bytes], test: Passes | None) -> Passes:
    return lambda name: name in names or (test is not None and test(name))


def _nothing(_name: bytes) -> bool:
    return False


def _service(message: Any, context: FactoryContext) -> CheckService | None:
    if message.HasField("grpc_service"):
        at = context.at("grpc_service")
        return GrpcCheckService(compile_grpc_client(message.grpc_service, at, default_timeout_s=_TIMEOUT_S))
    if message.HasField("http_service"):
        return _http_service(message.http_service, context.at("http_service"))
    return None


def _http_service(message: Any, context: FactoryContext) -> HttpCheckService:
    path = context.path
    answer = message.authorization_response
    at = f"{path}.authorization_response"
    names = (
        "allowed_upstream_headers",
        "allowed_upstream_headers_to_append",
        "allowed_client_headers_on_success",
        "dynamic_metadata_from_headers",
    )
    matchers = {name: _matcher(getattr(answer, name), f"{at}.{name}") for name in names}
    of_refusals = _matcher(answer.allowed_client_headers, f"{at}.allowed_client_headers")
    assert context.http_client is not None
    return HttpCheckService(
        context.http_client(),
        message.server_uri.cluster,
        duration_s(message.server_uri.timeout),
        message.path_prefix.encode(),
        message.path_override.encode(),
        headers_to_add=_additions(message.authorization_request.headers_to_add, context),
        retry_policy=compile_call_retries(message.retry_policy, f"{path}.retry_policy")
        if message.HasField("retry_policy")
        else None,
        allowed_client_headers=_all_but_host if of_refusals is None else _or(_OF_REFUSALS, of_refusals),
        **matchers,
    )


def _all_but_host(name: bytes) -> bool:
    return name != b":authority"


def _additions(headers: Any, context: FactoryContext) -> HeaderMutations | None:
    if not headers:
        return None
    additions = []
    for index, each in enumerate(headers):
        value: Any = each.value.encode()
        try:
            value = compile_header_value(each.value)
        except SidecarError as error:
            at = f"{context.path}.authorization_request.headers_to_add[{index}].value"
            context.warn(at, f"{error}; it is sent as it stands")
        additions.append(HeaderAddition(each.key.lower().encode(), value, OVERWRITE))
    return HeaderMutations(tuple(additions))
