"""The SPIFFE validator's trust bundles (``SPIFFECertValidatorConfig``)."""

from __future__ import annotations

import base64
import json
import ssl
from typing import TYPE_CHECKING, Any

from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.net.tls_certificate import MemoryFile

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_trust_domains"]

SPIFFE = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


def compile_trust_domains(message: Any, path: str, context: FactoryContext) -> dict[str, bytes]:
    """The bundles of a ``CertificateValidationContext``'s ``custom_validator_config``, in PEM, by domain.

    Raises: ConfigError, for other validators too.
    """
    at = f"{path}.custom_validator_config"
    name, found = resolve_any(message.custom_validator_config.typed_config)
    config: Any = found
    if name != SPIFFE or config is None:
        raise ConfigError(
            at, f"Failed to get certificate validator factory for {message.custom_validator_config.name}"
        )
    here = f"{at}.typed_config"
    if config.HasField("trust_bundles"):
        text = context.read_data_source(config.trust_bundles, f"{here}.trust_bundles")
        return _bundles(text, f"{here}.trust_bundles")
    domains: dict[str, bytes] = {}
    for index, each in enumerate(config.trust_domains):
        place = f"{here}.trust_domains[{index}]"
        if each.name in domains:
            raise ConfigError(
                place,
                "Multiple trust bundles are given for one trust domain for "
                f"{message.custom_validator_config.name}",
            )
        pem = context.read_data_source(each.trust_bundle, f"{place}.trust_bundle")
        probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            with MemoryFile(pem) as file:
                probe.load_verify_locations(cafile=file)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{place}.trust_bundle", f"Failed to load trusted CA certificate for {each.name}"
            ) from error
        domains[each.name] = pem
    return domains


def _bundles(text: bytes, path: str) -> dict[str, bytes]:
    """A map of SPIFFE bundles: JWKs whose ``x5c`` is an authority (SPIFFE Trust Domain and Bundle §4)."""
    try:
        parsed = json.loads(text)
        domains = {
            domain: b"".join(
                ssl.DER_cert_to_PEM_cert(base64.b64decode(certificate, validate=True)).encode()
                for key in bundle["keys"]
                if key.get("use") == "x509-svid"
                for certificate in key["x5c"]
            )
            for domain, bundle in parsed["trust_domains"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(path, "Failed to load SPIFFE Bundle map") from error
    if not domains or not all(domains.values()):
        raise ConfigError(path, "No trust domains found in SPIFFE bundle")
    return domains
