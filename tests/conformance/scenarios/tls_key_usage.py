# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""What a peer's key may be used for, by its certificate: BoringSSL looks at it, whatever the field says."""

from __future__ import annotations

import ssl
from functools import cache

from cryptography import x509

from tests.support.pki import Leaf

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, get_tls, pki, server_context, tls_listener
from ..upstream import answers, ok
from .tls_downstream import DIRECT, ssl_stats
from .tls_upstream import V12, V13, tls_cluster

SUBJECT = "connections"
LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "f=%UPSTREAM_TRANSPORT_FAILURE_REASON% v=%UPSTREAM_TLS_VERSION% c=%UPSTREAM_TLS_CIPHER% "
    "s=%UPSTREAM_PEER_SUBJECT%\n"
)
_BITS = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _BITS})


@cache
def _leaves() -> dict[str, Leaf]:
    root = pki().root
    found = {
        "rsa-signs": root.leaf(
            "rsa-signs", "DNS:example.com", is_rsa=True, usage=_usage("digital_signature")
        ),
        "rsa-enciphers": root.leaf(
            "rsa-enciphers", "DNS:example.com", is_rsa=True, usage=_usage("key_encipherment")
        ),
        "rsa-agrees": root.leaf("rsa-agrees", "DNS:example.com", is_rsa=True, usage=_usage("key_agreement")),
        "rsa-any": root.leaf("rsa-any", "DNS:example.com", is_rsa=True, has_usage=False),
        "ec-signs": root.leaf("ec-signs", "DNS:example.com", usage=_usage("digital_signature")),
        "ec-agrees": root.leaf("ec-agrees", "DNS:example.com", usage=_usage("key_agreement")),
        "ec-any": root.leaf("ec-any", "DNS:example.com", has_usage=False),
    }
    for name, leaf in found.items():
        (pki().directory / f"{name}.pem").write_bytes(leaf.pem)
    return found


def _path(name: str) -> str:
    _leaves()
    return name


OLD = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}\ntls_params: {cipher_suites: [AES128-GCM-SHA256]}"
NEW = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}\ntls_params: {tls_maximum_protocol_version: TLSv1_3}"
CLUSTERS = [
    tls_cluster("usual", NEW),
    tls_cluster("enforced", NEW, "enforce_rsa_key_usage: true"),
    tls_cluster("lenient", NEW, "enforce_rsa_key_usage: false"),
    tls_cluster("blind", "tls_params: {tls_maximum_protocol_version: TLSv1_3}"),
    tls_cluster("transport", OLD),
]
ROUTES = "\n".join(
    f"- {{match: {{prefix: /{each['name']}}}, route: {{cluster: {each['name']}}}}}" for each in CLUSTERS
)
SETUP = Setup(
    "tls-key-usage",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            tls_listener("mutual", "validation_context: {trusted_ca: {filename: FILE(root.pem)}}", "require_client_certificate: true", routes=DIRECT),
        ],
        CLUSTERS,
    ),
    {"app": "h1"},
    CERTIFICATES,
)  # fmt: skip
COUNTERS = ("handshake", "connection_error", "fail_verify_error")


async def _ask(s: Session, cluster: str, leaf: str, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]) -> None:
    upstream = s.upstream()
    upstream.tls = server_context(_path(leaf), versions=versions, has_tickets=False)
    upstream.script = answers(ok(b"ok", "connection: close"))
    label = f"{cluster} {leaf} {versions[0].name}"
    async with (
        s.counting(*(f"cluster.{cluster}.ssl.{each}" for each in COUNTERS)),
        s.logging(1),
    ):
        await s.get(f"/{cluster}", label=label)


@scenario(SETUP)
async def tls_key_usage_of_upstreams(s: Session) -> None:
    """Keys of servers, by what they are used for: TLS 1.2 with Diffie-Hellman, and 1.3."""
    for versions in (V12, V13):
        for leaf in (
            "rsa-signs",
            "rsa-enciphers",
            "rsa-agrees",
            "rsa-any",
            "ec-signs",
            "ec-agrees",
            "ec-any",
        ):
            await _ask(s, "usual", leaf, versions)


@scenario(SETUP)
async def tls_key_usage_is_always_enforced(s: Session) -> None:
    """The field means nothing; nor does it matter whether the certificate is verified."""
    for cluster in ("enforced", "lenient", "blind"):
        await _ask(s, cluster, "rsa-enciphers", V12)
        await _ask(s, cluster, "rsa-enciphers", V13)


@scenario(SETUP)
async def tls_key_usage_of_key_transport(s: Session) -> None:
    """Without Diffie-Hellman the key has to encipher."""
    for leaf in ("rsa-signs", "rsa-enciphers", "rsa-agrees", "rsa-any"):
        await _ask(s, "transport", leaf, V12)


@scenario(SETUP)
async def tls_key_usage_of_clients(s: Session) -> None:
    """Keys of clients sign."""
    for versions in (V12, V13):
        for leaf in ("rsa-signs", "rsa-enciphers", "ec-signs", "ec-agrees", "ec-any"):
            async with s.counting(*ssl_stats("mutual", *COUNTERS)):
                label = f"{leaf} {versions[0].name}"
                await get_tls(
                    s, to="mutual", context=client_context(_path(leaf), versions=versions), label=label
                )
