# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Client certificates: who is let in, with which alert the others are refused, and what is told of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, connect_tls, get_tls, hidden, pki, tls_listener
from .tls_downstream import COUNTERS, DIRECT, V12, V13, ssl_stats

SUBJECT = "connections"
CA = "trusted_ca: {filename: FILE(root.pem)}"
LOG = (
    "%RESPONSE_CODE% s=%DOWNSTREAM_PEER_SUBJECT% i=%DOWNSTREAM_PEER_ISSUER% dns=%DOWNSTREAM_PEER_DNS_SAN% "
    "uri=%DOWNSTREAM_PEER_URI_SAN% ip=%DOWNSTREAM_PEER_IP_SAN% email=%DOWNSTREAM_PEER_EMAIL_SAN% "
    "other=%DOWNSTREAM_PEER_OTHERNAME_SAN% serial=%DOWNSTREAM_PEER_SERIAL% f256=%DOWNSTREAM_PEER_FINGERPRINT_256% "
    "f1=%DOWNSTREAM_PEER_FINGERPRINT_1% chain=%DOWNSTREAM_PEER_CHAIN_SERIALS% from=%DOWNSTREAM_PEER_CERT_V_START% "
    "to=%DOWNSTREAM_PEER_CERT_V_END(%b %d %Y)% cert=%DOWNSTREAM_PEER_CERT% xfcc=%REQ(x-forwarded-client-cert)%\n"
)


def mtls(name: str, context: str, tls: str = "", hcm: str = "") -> dict[str, object]:
    validation = f"validation_context: {{{context}}}" if context else ""
    return tls_listener(name, validation, tls, routes=DIRECT, log=LOG, hcm=hcm)


def san(kind: str, matcher: str) -> str:
    return f"{CA}, match_typed_subject_alt_names: [{{san_type: {kind}, matcher: {{{matcher}}}}}]"


class Files(Mapping[str, bytes]):
    """The certificates, and what is made from them."""

    def __getitem__(self, name: str) -> bytes:
        return {**CERTIFICATES, "bundles.json": _bundles()}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*CERTIFICATES, "bundles.json"])

    def __len__(self) -> int:
        return len(CERTIFICATES) + 1


def _bundles() -> bytes:
    der = x509.load_pem_x509_certificate(pki().root.cert_pem).public_bytes(Encoding.DER)
    x5c = base64.b64encode(der).decode()
    return (
        '{"trust_domains": {"example.com": {"sequence_number": 1, "spiffe_refresh_hint": 2, "keys": '
        f'[{{"kty": "EC", "use": "x509-svid", "x5c": ["{x5c}"]}}]}}}}}}'
    ).encode()


RULES = Setup(
    "tls-clients",
    bootstrap(
        [
            mtls("required", CA, "require_client_certificate: true"),
            mtls("optional", CA),
            mtls("any", "", "require_client_certificate: true"),
            mtls("untrusted", f"{CA}, trust_chain_verification: ACCEPT_UNTRUSTED"),
            mtls("untrusted-san", f"{san('DNS', 'exact: client.example')}, trust_chain_verification: ACCEPT_UNTRUSTED"),
            mtls("hash", f"verify_certificate_hash: ['{'0' * 64}']"),
            mtls("dns", san("DNS", "exact: client.example")),
            mtls("dns-wild", san("DNS", "exact: a.client.example")),
            mtls("uri", san("URI", "prefix: 'spiffe://example.com/service/'")),
            mtls("email", san("EMAIL", "suffix: '@example.com'")),
            mtls("ip", san("IP_ADDRESS", "exact: '10.0.0.1'")),
            mtls("ip6", san("IP_ADDRESS", "exact: '2001:db8::1'")),
            mtls("upn", f"{CA}, match_typed_subject_alt_names: [{{san_type: OTHER_NAME, oid: 1.3.6.1.4.1.311.20.2.3, matcher: {{safe_regex: {{google_re2: {{}}, regex: 'user@.*'}}}}}}]"),
            mtls("old-san", f"{CA}, match_subject_alt_names: [{{exact: a@example.com}}]"),
            mtls("depth", f"{CA}, max_verify_depth: 0"),
            mtls("crl", f"{CA}, crl: {{filename: FILE(crl.pem)}}"),
            mtls("leaf-crl", f"{CA}, crl: {{filename: FILE(crl.pem)}}, only_verify_leaf_cert_crl: true"),
            mtls("late", f"{CA}, allow_expired_certificate: true", "require_client_certificate: true"),
            mtls("middle", "trusted_ca: {filename: FILE(middle.pem)}", "require_client_certificate: true"),
            mtls("spiffe", "custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig, trust_domains: [{name: example.com, trust_bundle: {filename: FILE(root.pem)}}, {name: other.example, trust_bundle: {filename: FILE(other.pem)}}]}}"),
            mtls("bundles", "custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig, trust_bundles: {filename: FILE(bundles.json)}}}", "require_client_certificate: true"),
        ]
    ),
    {},
    Files(),
)  # fmt: skip


async def ask(s: Session, to: str, *certs: str) -> None:
    """Who is let in, by TLS 1.2, where the client is told why not before it has sent anything."""
    async with s.counting(*ssl_stats(to, *COUNTERS)):
        for cert in certs:
            await get_tls(
                s, to=to, context=client_context(cert, versions=V12), label=f"{to} {cert or 'nobody'}"
            )


@scenario(RULES)
async def tls_client_certificate_is_required(s: Session) -> None:
    """With an authority and without; an intermediate one may be trusted by itself."""
    await ask(s, "required", "", "client", "deep", "foreign", "expired")
    await ask(s, "any", "", "client", "foreign", "expired")
    await ask(s, "middle", "", "client", "deep")


@scenario(RULES)
async def tls_client_certificate_late(s: Session) -> None:
    """TLS 1.3, where the client's handshake is over before it is judged: no request of it is answered."""
    async with s.counting(*ssl_stats("required", *COUNTERS), "http.required.downstream_rq_total"):
        for cert in ("", "client", "foreign", "expired"):
            await get_tls(
                s, to="required", context=client_context(cert, versions=V13), label=cert or "nobody"
            )


@scenario(RULES)
async def tls_client_certificate_is_optional(s: Session) -> None:
    """Who shows one is judged; who shows none is let in."""
    await ask(s, "optional", "", "client", "foreign", "expired")


@scenario(RULES)
async def tls_client_certificate_untrusted(s: Session) -> None:
    """ACCEPT_UNTRUSTED lets everybody in, and counts."""
    await ask(s, "untrusted", "", "client", "foreign", "expired")
    await ask(s, "untrusted-san", "", "client", "nosan", "foreign")


@scenario(RULES)
async def tls_client_names(s: Session) -> None:
    """match_typed_subject_alt_names of every kind; a match demands a certificate."""
    await ask(s, "dns", "", "client", "wildclient", "nosan", "foreign")
    await ask(s, "dns-wild", "client", "wildclient")
    await ask(s, "uri", "client", "nosan")
    for to in ("email", "ip", "ip6", "upn", "old-san"):
        await ask(s, to, "client", "wildclient")


@scenario(RULES)
async def tls_client_depth_and_dates(s: Session) -> None:
    """max_verify_depth counts intermediate authorities; allow_expired_certificate looks away from dates."""
    await ask(s, "depth", "client", "deep")
    await ask(s, "late", "client", "expired", "foreign")


@scenario(RULES)
async def tls_client_revoked(s: Session) -> None:
    """Certificates of a CRL; without a list of an intermediate authority its certificates are refused."""
    await ask(s, "crl", "client", "revoked", "deep")
    await ask(s, "leaf-crl", "client", "revoked", "deep")


@scenario(RULES, differs={"hash client handshake": "alert-of-a-wrong-hash"})
async def tls_client_hash(s: Session) -> None:
    """verify_certificate_hash without an authority."""
    await ask(s, "hash", "", "client")


@scenario(RULES)
async def tls_client_spiffe(s: Session) -> None:
    """The SPIFFE validator judges each identity by the bundle of its own domain."""
    await ask(s, "spiffe", "", "client", "foreign", "nosan", "expired", "nousage")
    await ask(s, "bundles", "", "client", "foreign")


XFCC = "{subject: true, uri: true, dns: true}"
ALL = "{subject: true, uri: true, dns: true, cert: true, chain: true}"
HEADERS = Setup(
    "tls-xfcc",
    bootstrap(
        [
            mtls("main", CA, hcm="{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: " + XFCC + "}"),
            mtls("whole", CA, hcm="{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: " + ALL + "}"),
            mtls("append", CA, hcm="{forward_client_cert_details: APPEND_FORWARD}"),
            mtls("forward", CA, hcm="{forward_client_cert_details: FORWARD_ONLY}"),
            mtls("always", CA, hcm="{forward_client_cert_details: ALWAYS_FORWARD_ONLY}"),
            mtls("sanitize", CA),
        ]
    ),
    {},
    CERTIFICATES,
)  # fmt: skip


@scenario(HEADERS)
async def tls_forwarded_client_cert(s: Session) -> None:
    """x-forwarded-client-cert in every mode, with a certificate and without, and the facts in the access log."""
    for to in ("main", "whole", "append", "forward", "always", "sanitize"):
        async with s.logging(5, to, shown=hidden):
            for cert in ("", "client", "nosan", "deep"):
                client = await connect_tls(s, to, client_context(cert), is_seen=False)
                assert client is not None
                await client.send(
                    b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: By=z;Hash=1\r\n\r\n"
                )
                await client.reply(f"{to} {cert}")
                if cert == "client":
                    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                    await client.reply(f"{to} {cert} without")
