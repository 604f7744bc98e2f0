"""Compiles ``envoy.extensions.filters.http.jwt_authn.v3.JwtProvider``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from re import compile as pattern
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.grpc_service import compile_call_retries
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.route_action import duration_s
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.extensions.jwt.claim_headers import ClaimHeader
from sidecar.extensions.jwt.discovery import Discovery
from sidecar.extensions.jwt.fetching import BackgroundFetch, RemoteKeys
from sidecar.extensions.jwt.keys import Jwks
from sidecar.extensions.jwt.locations import Places
from sidecar.extensions.jwt.provider import Audiences, Provider, ProviderSettings
from sidecar.extensions.jwt.status import Status
from sidecar.router.retry_policy import RetryPolicy, parse_retry_on

__all__ = ["OwnOptions", "compile_provider"]

#: A URL as Envoy takes it apart: who stands in front of the host is part of what is sent as the host.
_URI = pattern(
    r"(?P<scheme>[A-Za-z]+)://"
    r"(?P<authority>(?:[!-.0-9:;=A-Z_a-z~]*@)?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<path>(?:[/?][!-~]*)?)"
)
_HIGHEST_PORT = 65535
_BEARER = b"Bearer "
#: Defaults of ``jwt_cache_config``: tokens, and bytes of each.
_CACHE_SIZE, _CACHED_BYTES = 100, 4096
#: Below this RFC 7518 (3.2, 3.3) forbids what Envoy takes.
_GOOD_RSA_BITS, _GOOD_HMAC_BITS = 2048, 256
_LONGEST_S = 315_576_000_000 // 50


@dataclass(frozen=True, slots=True)
class OwnOptions:
    """What our own message adds to a provider (``ProviderOptions``)."""

    #: An ``HttpUri``, or None.
    discovery: Any = None
    is_unavailable: bool = False
    keep_keys_s: float = 0.0


_NONE = OwnOptions()
_RETRY_ON = "5xx,gateway-error,connect-failure,reset"


def compile_provider(
    name: str, message: Any, context: FactoryContext, stats: Any, own: OwnOptions = _NONE
) -> Provider:
    """One provider, which fetches its keys ahead if it is told so.  Raises: ConfigError."""
    at = context.at(f"providers[{name}]")
    settings = replace(
        _settings(name, message, at), keep_keys_s=own.keep_keys_s, is_unavailable=own.is_unavailable
    )
    if message.HasField("local_jwks"):
        return Provider(settings, _local(name, message.local_jwks, at))
    path = f"providers[{name}].remote_jwks"
    remote = _remote(name, message.remote_jwks, path)
    if own.discovery is not None:
        remote = replace(remote, discovery=_discovery(name, message.issuer, own.discovery))
    provider = Provider(settings, None, remote)
    if message.remote_jwks.HasField("async_fetch"):
        _fetch_ahead(provider, message.remote_jwks.async_fetch, context, stats)
    return provider


def _discovery(name: str, issuer: str, uri: Any) -> Discovery:
    match = _URI.fullmatch(uri.uri)
    if match is None or int(match["port"] or 0) > _HIGHEST_PORT:
        raise ConfigError(
            f"own:providers[{name}].discovery.uri", f"Provider '{name}' has an invalid URI: '{uri.uri}'"
        )
    if not issuer:
        raise ConfigError(
            f"own:providers[{name}].discovery",
            f"Provider '{name}' has no issuer, which the document has to be of",
        )
    return Discovery(
        issuer,
        uri.cluster,
        match["authority"].encode(),
        (match["path"] or "/").encode(),
        match["scheme"].lower().encode(),
        duration_s(uri.timeout),
    )


def _settings(name: str, message: Any, context: FactoryContext) -> ProviderSettings:
    path = f"providers[{name}]"
    lifetime = inf if message.require_expiration else None
    if message.HasField("max_lifetime"):
        lifetime = duration_s(message.max_lifetime)
    cache = None
    if message.HasField("jwt_cache_config"):
        config = message.jwt_cache_config
        cache = config.jwt_cache_size or _CACHE_SIZE, config.jwt_max_token_size or _CACHED_BYTES
    subject = None
    if message.HasField("subjects"):
        subject = compile_string_matcher(message.subjects, f"{path}.subjects")
    return ProviderSettings(
        places=_places(message),
        audiences=Audiences(tuple(message.audiences)),
        subject=subject,
        max_lifetime_s=lifetime,
        clock_skew_s=message.clock_skew_seconds or 60,
        forward=message.forward,
        forward_payload_header=message.forward_payload_header.lower().encode(),
        pad_forward_payload_header=message.pad_forward_payload_header,
        claim_headers=tuple(
            _claim_header(name, each, f"{path}.claim_to_headers[{index}]")
            for index, each in enumerate(message.claim_to_headers)
        ),
        payload_in_metadata=message.payload_in_metadata,
        space_delimited_claims=tuple(message.normalize_payload_in_metadata.space_delimited_claims),
        header_in_metadata=message.header_in_metadata,
        failed_status_in_metadata=message.failed_status_in_metadata,
        clear_route_cache=message.clear_route_cache,
        cache=cache,
    )


def _places(message: Any) -> Places:
    headers = tuple((each.name.lower().encode(), each.value_prefix.encode()) for each in message.from_headers)
    params = tuple(each.encode() for each in message.from_params)
    cookies = tuple(each.encode() for each in message.from_cookies)
    if not headers and not params and not cookies:
        headers, params = ((b"authorization", _BEARER),), (b"access_token",)
    return Places(message.issuer, headers, params, cookies)


def _claim_header(provider: str, message: Any, path: str) -> ClaimHeader:
    if bool(message.claim_name) == bool(message.claim_path):
        reason = (
            f"Provider '{provider}' has a claim_to_headers entry for header '{message.header_name}' which "
            "does not set exactly one of claim_name and claim_path"
        )
        raise ConfigError(path, reason)
    steps = [each.key for each in message.claim_path] or message.claim_name.split(".")
    return ClaimHeader(message.header_name.lower().encode(), tuple(steps))


def _parser() -> Callable[[bytes], Jwks]:
    from sidecar.extensions.jwt.key_sets import parse_jwks

    return parse_jwks


def _local(name: str, source: Any, context: FactoryContext) -> Jwks | None:
    path = f"providers[{name}].local_jwks"
    data = context.read_data_source(source, path)
    if not data:
        context.warn(f"{context.path}.local_jwks", "has no keys: every token is refused")
        return None
    jwks = _parser()(data)
    if jwks.status is not Status.Ok:
        raise ConfigError(
            path, f"Provider '{name}' in jwt_authn config has invalid local jwks: {jwks.status.text}"
        )
    for status in jwks.left_out:
        context.warn(f"{context.path}.local_jwks", f"a key is left out: {status.text}")
    for key in jwks.keys:
        good = _GOOD_HMAC_BITS if isinstance(key.key, bytes) else _GOOD_RSA_BITS
        if ("HS256" in key.verifiers or "RS256" in key.verifiers) and key.bits < good:
            label = f"key '{key.kid}'" if key.kid else "a key"
            context.warn(
                f"{context.path}.local_jwks", f"{label} has {key.bits} bits, RFC 7518 wants {good} at least"
            )
    return jwks


def _remote(name: str, message: Any, path: str) -> RemoteKeys:
    uri = message.http_uri.uri
    match = _URI.fullmatch(uri)
    if match is None or int(match["port"] or 0) > _HIGHEST_PORT:
        raise ConfigError(f"{path}.http_uri.uri", f"Provider '{name}' has an invalid URI: '{uri}'")
    retry_policy = None
    if message.HasField("retry_policy"):
        retry_policy = _retry_policy(message.retry_policy, f"{path}.retry_policy")
    duration = 600.0
    if message.HasField("cache_duration"):
        if message.cache_duration.seconds * 2 > _LONGEST_S:
            raise ConfigError(f"{path}.cache_duration", "Invalid duration: Duration out-of-range")
        duration = float(message.cache_duration.seconds)
    return RemoteKeys(
        message.http_uri.cluster,
        match["authority"].encode(),
        (match["path"] or "/").encode(),
        match["scheme"].lower().encode(),
        duration_s(message.http_uri.timeout),
        _parser(),
        duration,
        retry_policy,
    )


def _retry_policy(message: Any, path: str) -> RetryPolicy:
    back_off = message.retry_back_off
    if back_off.HasField("max_interval") and duration_s(back_off.max_interval) < duration_s(
        back_off.base_interval
    ):
        raise ConfigError(path, "max_interval must be greater than or equal to the base_interval")
    # What the message says of when is not looked at, as in Envoy.
    return replace(compile_call_retries(message, path), retry_on=parse_retry_on(_RETRY_ON))


def _fetch_ahead(provider: Provider, message: Any, context: FactoryContext, stats: Any) -> None:
    if context.every is None or context.before_serving is None or context.http_client is None:
        return
    failed_s = 1.0
    if message.HasField("failed_refetch_duration"):
        failed_s = duration_s(message.failed_refetch_duration)
    fetch = BackgroundFetch(provider, stats, context.http_client(), context.every, failed_s)
    context.on_close(fetch.close)

    async def first() -> None:
        fetch.start()
        if not message.fast_listener:
            await fetch.first_is_over()

    context.before_serving(first)
