"""``DownstreamTlsContext`` and ``UpstreamTlsContext`` compiled to the contexts of :mod:`sidecar.net`.

``envoy.extensions.transport_sockets.tls.v3``.  Reasons are Envoy's words where it refuses the same.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar.config.compile.route_timeouts import duration_s
from sidecar.config.compile.tls_certificates import compile_certificate, compile_rules, compile_ticket_keys
from sidecar.core.errors import ConfigError
from sidecar.net.tls_certificate import Identity
from sidecar.net.tls_client import TlsClient
from sidecar.net.tls_context import ClientContext, ServerContext, TlsSettings
from sidecar.net.tls_library import library
from sidecar.net.tls_names import (
    DEFAULT_CIPHERS,
    DEFAULT_GROUPS,
    GROUPS,
    SIGNATURE_ALGORITHMS,
    openssl_ciphers,
)
from sidecar.net.tls_server import TlsServer
from sidecar.net.tls_verify import PeerRules

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_downstream_tls", "compile_upstream_tls"]

C = TypeVar("C")
_MOST_ALPN_BYTES = 255

_VERSIONS = (
    None,
    ssl.TLSVersion.TLSv1,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)


def compile_downstream_tls(message: Any, context: FactoryContext) -> TlsServer:
    """The server's side of a filter chain.  Raises: ConfigError."""
    path = context.path
    common = _Common(message.common_tls_context, context, is_server=True)
    if not common.certificates:
        raise ConfigError(path, "No TLS certificates found for server context")
    ticket_keys = compile_ticket_keys(message.session_ticket_keys, f"{path}.session_ticket_keys", context)
    ticket_secret = None
    if message.HasField("session_ticket_keys_sds_secret_config"):
        place = f"{path}.session_ticket_keys_sds_secret_config"
        ticket_secret = context.secrets.find(
            message.session_ticket_keys_sds_secret_config, "session_ticket_keys", place, context
        )
        common.secrets.append(ticket_secret)
    rest = {
        "requires_client_certificate": message.require_client_certificate.value,
        "full_scan": message.full_scan_certs_on_sni_mismatch.value,
        "prefers_client_ciphers": message.prefer_client_ciphers,
        "has_tickets": not message.disable_stateless_session_resumption,
        "has_session_cache": not message.disable_stateful_session_resumption,
        "staple_policy": message.ocsp_staple_policy,
        "session_timeout_s": int(duration_s(message.session_timeout)),
    }

    def make() -> ServerContext | None:
        settings = common.settings()
        if settings is None:
            return None
        keys = ticket_keys
        if ticket_secret is not None and ticket_secret.secret is not None:
            keys = ticket_secret.secret.value
        return _made(lambda: ServerContext(replace(settings, ticket_keys=keys, **rest)), path)

    server = TlsServer(make())
    if message.require_client_certificate.value and common.asks_for_nothing():
        context.warn(
            f"{path}.require_client_certificate",
            "has no effect without a validation_context that says whom to trust, as in Envoy",
        )
    common.keep_current(server, make)
    return server


def compile_upstream_tls(message: Any, context: FactoryContext) -> TlsClient:
    """The client's side of a cluster.  Raises: ConfigError."""
    common = _Common(message.common_tls_context, context, is_server=False)
    if message.auto_sni_san_validation and common.asks_for_nothing():
        raise ConfigError(
            f"{context.path}.auto_sni_san_validation",
            "'auto_sni_san_validation' was configured without a validation context",
        )
    rest = {
        "sni": message.sni,
        "auto_host_sni": message.auto_host_sni,
        "auto_sni_san_validation": message.auto_sni_san_validation,
        "allows_renegotiation": message.allow_renegotiation,
        "max_session_keys": message.max_session_keys.value if message.HasField("max_session_keys") else 1,
    }

    def make() -> ClientContext | None:
        settings = common.settings()
        if settings is None:
            return None
        return _made(lambda: ClientContext(replace(settings, **rest)), context.path)

    client = TlsClient(make())
    common.keep_current(client, make)
    return client


def _made(make: Callable[[], C], path: str) -> C:
    try:
        return make()
    except (ValueError, ssl.SSLError) as error:
        raise ConfigError(f"{path}.common_tls_context", str(error)) from error


class _Common:
    """``CommonTlsContext`` at ``common_tls_context`` of the context's message, its secrets maybe to come."""

    def __init__(self, common: Any, context: FactoryContext, *, is_server: bool) -> None:
        """Raises: ConfigError."""
        path = f"{context.path}.common_tls_context"
        self._context = context
        self._path = path
        #: All that may change.
        self.secrets: list[Any] = []
        self.certificates: list[Callable[[], Identity | None]] = []
        for index, each in enumerate(common.tls_certificates):
            identity = compile_certificate(each, f"{path}.tls_certificates[{index}]", context)
            self.certificates.append(partial(_same, identity))
        for index, each in enumerate(common.tls_certificate_sds_secret_configs):
            found = self._find(each, "tls_certificate", f"tls_certificate_sds_secret_configs[{index}]")
            self.certificates.append(partial(_value, found))
        self._validation: Any = None
        self._default: Any = None
        self._rules: PeerRules | None = PeerRules()
        kind = common.WhichOneof("validation_context_type")
        if kind == "validation_context":
            self._rules = compile_rules(common.validation_context, f"{path}.validation_context", context)
        elif kind == "validation_context_sds_secret_config":
            self._validation = self._find(
                common.validation_context_sds_secret_config, "validation_context", kind
            )
        elif kind == "combined_validation_context":
            combined = common.combined_validation_context
            self._default = combined.default_validation_context
            self._validation = self._find(
                combined.validation_context_sds_secret_config,
                "validation_context",
                f"{kind}.validation_context_sds_secret_config",
            )
        for index, each in enumerate(common.alpn_protocols):
            if len(each.encode()) > _MOST_ALPN_BYTES:
                raise ConfigError(f"{path}.alpn_protocols[{index}]", "Invalid ALPN protocol string")
        self._params = replace(
            _parameters(common.tls_params, f"{path}.tls_params", is_server=is_server),
            alpn=tuple(each for each in common.alpn_protocols if each),
            key_log=common.key_log.path,
        )

    def _find(self, message: Any, kind: str, place: str) -> Any:
        found = self._context.secrets.find(message, kind, f"{self._path}.{place}", self._context)
        self.secrets.append(found)
        return found

    def asks_for_nothing(self) -> bool:
        """Whether no peer's certificate will be looked at."""
        return self._validation is None and not (self._rules or PeerRules()).asks_for_certificate

    def _current_rules(self) -> PeerRules | None:
        if self._validation is None:
            return self._rules
        secret = self._validation.secret
        if secret is None:
            return None
        if self._default is None:
            rules: PeerRules = secret.value
            return rules
        merged = type(self._default)()
        merged.CopyFrom(self._default)
        merged.MergeFrom(secret.message.validation_context)
        return compile_rules(merged, f"{self._path}.combined_validation_context", self._context)

    def settings(self) -> TlsSettings | None:
        """With the secrets that there are; None while one is missing.  Raises: ConfigError."""
        identities = [get() for get in self.certificates]
        rules = self._current_rules()
        if rules is None or None in identities:
            return None
        return replace(self._params, identities=tuple(each for each in identities if each), rules=rules)

    def keep_current(self, user: Any, make: Callable[[], Any]) -> None:
        """Give ``user`` another context when a secret changes; ``make`` may refuse it by ConfigError."""

        def changed() -> None:
            user.replace_context(make())

        for secret in self.secrets:
            self._context.on_close(secret.listen(changed))


def _same(identity: Identity) -> Identity | None:
    return identity


def _value(found: Any) -> Identity | None:
    return None if found.secret is None else found.secret.value


def _parameters(message: Any, path: str, *, is_server: bool) -> TlsSettings:
    minimum = _VERSIONS[message.tls_minimum_protocol_version] or ssl.TLSVersion.TLSv1_2
    default = ssl.TLSVersion.TLSv1_3 if is_server else ssl.TLSVersion.TLSv1_2
    maximum = _VERSIONS[message.tls_maximum_protocol_version] or default
    ciphers, refused = openssl_ciphers(tuple(message.cipher_suites) or DEFAULT_CIPHERS)
    if not ciphers:
        reason = f"Failed to initialize cipher suites {':'.join(message.cipher_suites)}"
        raise ConfigError(f"{path}.cipher_suites", reason)
    if refused:
        reason = (
            f"Failed to initialize cipher suites {':'.join(message.cipher_suites)}. The following ciphers"
            f" were rejected when tried individually: {', '.join(refused)}"
        )
        raise ConfigError(f"{path}.cipher_suites", reason)
    return TlsSettings(
        minimum=minimum,
        maximum=maximum,
        ciphers=tuple(ciphers),
        groups=_groups(message, path),
        signature_algorithms=_signature_algorithms(message, path),
    )


def _groups(message: Any, path: str) -> str:
    """``ecdh_curves`` in OpenSSL's names; those that it lacks are left out where others are offered."""
    names = ":".join(message.ecdh_curves or DEFAULT_GROUPS).split(":")
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise ConfigError(
            f"{path}.ecdh_curves", f"Failed to initialize ECDH curves {':'.join(message.ecdh_curves)}"
        )
    known = [found for name in names if (found := GROUPS[name])]
    if not known:
        raise ConfigError(f"{path}.ecdh_curves", f"OpenSSL has none of {', '.join(names)}")
    if message.ecdh_curves and library() is None:
        raise ConfigError(f"{path}.ecdh_curves", "the OpenSSL of this Python cannot be told the groups")
    return ":".join(known)


def _signature_algorithms(message: Any, path: str) -> str:
    names = list(message.signature_algorithms)
    unknown = [name for name in names if name not in SIGNATURE_ALGORITHMS]
    if unknown:
        raise ConfigError(
            f"{path}.signature_algorithms",
            f"Failed to initialize TLS signature algorithms {':'.join(names)}",
        )
    if names and library() is None:
        raise ConfigError(
            f"{path}.signature_algorithms",
            "the OpenSSL of this Python cannot be told the signature algorithms",
        )
    return ":".join(names)
