"""Compiles ``envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor``, and what routes say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.cel import compile_cel_text
from sidecar.config.compile.grpc_service import compile_grpc_service, compile_initial_metadata
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.mutation_rules import compile_mutation_rules
from sidecar.config.compile.route_action import duration_s
from sidecar.config.errors import Path
from sidecar.config.registry import Report
from sidecar.extensions.http.ext_proc import ExtProcFilter, RouteProcessing
from sidecar.extensions.proc.exchange import RETAIN, Passes, Settings
from sidecar.extensions.proc.http_processor import HttpProcessor
from sidecar.extensions.proc.modes import FULL_DUPLEX_STREAMED, NONE, SEND
from sidecar.extensions.proc.proc_messages import mode_of

if TYPE_CHECKING:
    from sidecar.observability.cel import Cel
    from sidecar.router.http_client import HttpClient

__all__ = ["ExtProcFactory"]

_MESSAGES = "envoy.extensions.filters.http.ext_proc.v3"
_TIMEOUT_S = 0.2
_DEFERRED_CLOSE_S = 5.0
_STATUS_ON_ERROR = 500


class ExtProcFactory:
    """``envoy.filters.http.ext_proc``."""

    name = "envoy.filters.http.ext_proc"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.ExternalProcessor"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.ExtProcPerRoute"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.HasField("grpc_service") == message.HasField("http_service"):
            report.error(path, "One and only one of grpc_service or http_service must be configured")
        if message.disable_clear_route_cache and message.route_cache_action:
            report.error(
                (*path, "route_cache_action"),
                "disable_clear_route_cache and route_cache_action can not be set to none-default at the same "
                "time.",
            )
        _check_mode(message, (*path, "processing_mode"), report)

    def compile(self, message: Any, context: FactoryContext) -> ExtProcFilter:
        """The filter.  Raises: ConfigError."""
        assert context.http_client is not None
        client = context.http_client()
        by_http = message.HasField("http_service")
        return ExtProcFilter(
            _settings(message, context),
            None if by_http else compile_grpc_service(message.grpc_service, context.at("grpc_service")),
            client,
            context.stats.scope("ext_proc"),
            f"{message.stat_prefix}." if message.stat_prefix else "",
            _http_processor(message.http_service.http_service, client) if by_http else None,
        )

    def compile_route(self, message: Any, context: FactoryContext) -> RouteProcessing:
        """One level's settings.  Raises: ConfigError."""
        if message.WhichOneof("override") != "overrides":
            return RouteProcessing(disabled=message.disabled)
        overrides = message.overrides
        at = context.at("overrides")
        options = overrides.metadata_options
        forwards = options.HasField("forwarding_namespaces")
        return RouteProcessing(
            mode=mode_of(overrides.processing_mode) if overrides.HasField("processing_mode") else None,
            service=compile_grpc_service(overrides.grpc_service, at.at("grpc_service"))
            if overrides.HasField("grpc_service")
            else None,
            initial_metadata=compile_initial_metadata(
                overrides.grpc_initial_metadata, at, "grpc_initial_metadata"
            ),
            failure_mode_allow=overrides.failure_mode_allow.value
            if overrides.HasField("failure_mode_allow")
            else None,
            forwarding_untyped=tuple(options.forwarding_namespaces.untyped) if forwards else None,
            forwarding_typed=tuple(options.forwarding_namespaces.typed) if forwards else None,
            receiving_untyped=tuple(options.receiving_namespaces.untyped)
            if options.HasField("receiving_namespaces")
            else None,
        )


def _http_processor(message: Any, client: HttpClient) -> HttpProcessor:
    """An ``HttpService``, of whose URI the authority and the path count."""
    uri = message.http_uri
    address = urlsplit(uri.uri)
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    return HttpProcessor(client, uri.cluster, address.netloc.encode(), path.encode(), duration_s(uri.timeout))


def _check_mode(message: Any, path: Path, report: Report) -> None:
    mode = message.processing_mode
    if message.HasField("http_service") and (
        mode.request_body_mode != NONE
        or mode.response_body_mode != NONE
        or mode.request_trailer_mode == SEND
        or mode.response_trailer_mode == SEND
    ):
        report.error(
            path,
            "If the ext_proc filter is configured with http_service instead of gRPC service, then the "
            "processing modes of this filter can not be configured to send body or trailer.",
        )
    for side in ("request", "response"):
        if (
            getattr(mode, f"{side}_body_mode") == FULL_DUPLEX_STREAMED
            and getattr(mode, f"{side}_trailer_mode") != SEND
        ):
            report.error(
                (*path, f"{side}_trailer_mode"),
                f"If the ext_proc filter has the {side}_body_mode set to FULL_DUPLEX_STREAMED, then the "
                f"{side}_trailer_mode has to be set to SEND",
            )


def _settings(message: Any, context: FactoryContext) -> Settings:
    path = context.path
    options = message.metadata_options
    return Settings(
        mode=mode_of(message.processing_mode),
        failure_mode_allow=message.failure_mode_allow,
        message_timeout_s=duration_s(message.message_timeout)
        if message.HasField("message_timeout")
        else _TIMEOUT_S,
        max_message_timeout_s=duration_s(message.max_message_timeout),
        rules=compile_mutation_rules(message.mutation_rules, f"{path}.mutation_rules"),
        passes=_passes(message.forward_rules, f"{path}.forward_rules"),
        allow_mode_override=message.allow_mode_override,
        allowed_override_modes=tuple(mode_of(each) for each in message.allowed_override_modes),
        disable_immediate_response=message.disable_immediate_response,
        route_cache_action=RETAIN if message.disable_clear_route_cache else message.route_cache_action,
        observability_mode=message.observability_mode,
        deferred_close_timeout_s=duration_s(message.deferred_close_timeout)
        if message.HasField("deferred_close_timeout")
        else _DEFERRED_CLOSE_S,
        send_body_without_waiting_for_header_response=message.send_body_without_waiting_for_header_response,
        status_on_error=message.status_on_error.code or _STATUS_ON_ERROR,
        allow_content_length_header=message.allow_content_length_header,
        forwarding_untyped=tuple(options.forwarding_namespaces.untyped),
        forwarding_typed=tuple(options.forwarding_namespaces.typed),
        receiving_untyped=tuple(options.receiving_namespaces.untyped),
        cluster_untyped=tuple(options.cluster_metadata_forwarding_namespaces.untyped),
        cluster_typed=tuple(options.cluster_metadata_forwarding_namespaces.typed),
        attributes={
            side: _attributes(getattr(message, f"{side}_attributes"), f"{path}.{side}_attributes")
            for side in ("request", "response")
        },
        filter_metadata=json_format.MessageToDict(message.filter_metadata),
    )


def _attributes(texts: Any, path: str) -> tuple[tuple[str, Cel], ...]:
    """Expressions by their own text, each once."""
    found = {text: compile_cel_text(text, f"{path}[{index}]") for index, text in enumerate(texts)}
    return tuple(found.items())


def _passes(rules: Any, path: str) -> Passes | None:
    """Whether the processor may see a header; None for every one."""
    allowed = _tests(rules.allowed_headers, f"{path}.allowed_headers")
    refused = _tests(rules.disallowed_headers, f"{path}.disallowed_headers")
    if not allowed and not refused:
        return None

    def passes(name: bytes) -> bool:
        if any(test(name) for test in refused):
            return False
        return not allowed or any(test(name) for test in allowed)

    return passes


def _tests(message: Any, path: str) -> list[Passes]:
    return [
        compile_string_matcher(each, f"{path}.patterns[{index}]")
        for index, each in enumerate(message.patterns)
    ]
