# ruff: noqa: E501  (a case is a line of a table)
"""TLS contexts: what Envoy accepts is accepted, what it refuses refused, each case tried on Envoy."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from cryptography.x509 import ocsp

from sidecar.cli.main import main
from tests.support.pki import Authority

pytestmark = pytest.mark.oracle

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_GOOD = "tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}}]"


def down(common: str = _GOOD, context: str = "", top: str = "") -> str:
    return (
        f"node: {{id: a, cluster: b}}\nstatic_resources:\n{top}  listeners:\n  - name: l\n"
        "    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    filter_chains:\n"
        f"    - transport_socket: {{name: t, typed_config: {{'@type': {_TLS}.DownstreamTlsContext, {context} common_tls_context: {{{common}}}}}}}\n"
        "      filters: [{name: e, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}]\n"
        "  clusters: [{name: c, type: STATIC}]\n"
    )


def up(common: str = "", context: str = "") -> str:
    return (
        "node: {id: a, cluster: b}\nstatic_resources:\n  clusters:\n  - name: c\n    type: STATIC\n"
        f"    transport_socket: {{name: t, typed_config: {{'@type': {_TLS}.UpstreamTlsContext, {context} common_tls_context: {{{common}}}}}}}\n"
    )


def params(text: str) -> str:
    return down(f"{_GOOD}, tls_params: {{{text}}}")


def stapled(name: str, staple: str, policy: str = "LENIENT_STAPLING") -> str:
    pair = f"certificate_chain: {{filename: DIR/{name}.pem}}, private_key: {{filename: DIR/{name}.key}}"
    return down(
        f"tls_certificates: [{{{pair}, ocsp_staple: {{{staple}}}}}]", f"ocsp_staple_policy: {policy},"
    )


def trust(text: str) -> str:
    return down(f"{_GOOD}, validation_context: {{{text}}}")


_CA = "trusted_ca: {filename: DIR/ca.pem}"
_SPIFFE = f"'@type': {_TLS}.SPIFFECertValidatorConfig"
CASES = {
    "good": down(),
    "no certificate": down(""),
    "missing file": down("tls_certificates: [{certificate_chain: {filename: DIR/none.pem}, private_key: {filename: DIR/a.key}}]"),
    "no chain": down("tls_certificates: [{private_key: {filename: DIR/a.key}}]"),
    "no key": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}}]"),
    "garbage": down("tls_certificates: [{certificate_chain: {inline_string: x}, private_key: {filename: DIR/a.key}}]"),
    "garbage key": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {inline_string: x}}]"),
    "other key": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/b.key}}]"),
    "short rsa": down("tls_certificates: [{certificate_chain: {filename: DIR/short.pem}, private_key: {filename: DIR/short.key}}]"),
    "locked": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/locked.key}, password: {inline_string: secret}}]"),
    "locked, wrong password": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/locked.key}, password: {inline_string: x}}]"),
    "locked, no password": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/locked.key}}]"),
    "environment": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {environment_variable: NOT_THERE_AT_ALL}}]"),
    "pkcs12": down("tls_certificates: [{pkcs12: {filename: DIR/a.p12}, password: {inline_string: secret}}]"),
    "pkcs12, wrong password": down("tls_certificates: [{pkcs12: {filename: DIR/a.p12}, password: {inline_string: x}}]"),
    "pkcs12 and chain": down("tls_certificates: [{pkcs12: {filename: DIR/a.p12}, password: {inline_string: secret}, certificate_chain: {filename: DIR/a.pem}}]"),
    "two certificates": down("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}}, {certificate_chain: {filename: DIR/b.pem}, private_key: {filename: DIR/b.key}}]"),
    "suites": params("cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256]"),
    "suites, unknown": params("cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256, FOO]"),
    "suites, of openssl alone": params("cipher_suites: [DHE-RSA-AES256-GCM-SHA384]"),
    "suites, standard name": params("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"),
    "suites, of TLS 1.3": params("cipher_suites: [TLS_AES_128_GCM_SHA256]"),
    "suites, equals": params("cipher_suites: ['[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]']"),
    "suites, all but": params("cipher_suites: ['ALL', '!RSA']"),
    "suites, old": params("cipher_suites: [AES128-SHA, ECDHE-RSA-AES256-SHA]"),
    "versions turned round": params("tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2"),
    "curves": params("ecdh_curves: [X25519, P-256, P-384, P-521]"),
    "curves, unknown": params("ecdh_curves: [X448]"),
    "curves, by standard name": params("ecdh_curves: [prime256v1]"),
    "curves, post quantum": params("ecdh_curves: [X25519MLKEM768, X25519]"),
    "signatures": params("signature_algorithms: [ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256]"),
    "signatures, unknown": params("signature_algorithms: [foo]"),
    "authority": trust(_CA),
    "authority, garbage": trust("trusted_ca: {inline_string: x}"),
    "authority, missing": trust("trusted_ca: {filename: DIR/none.pem}"),
    "names without an authority": trust("match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]"),
    "names without a kind": trust(f"{_CA}, match_typed_subject_alt_names: [{{matcher: {{exact: a}}}}]"),
    "other name without a type": trust(f"{_CA}, match_typed_subject_alt_names: [{{san_type: OTHER_NAME, matcher: {{exact: a}}}}]"),
    "hash": trust("verify_certificate_hash: ['" + "ab" * 32 + "']"),
    "hash with colons": trust("verify_certificate_hash: ['" + ":".join(["ab"] * 32) + "']"),
    "hash, short": trust("verify_certificate_hash: ['abcd']"),
    "hash, no hexadecimal": trust("verify_certificate_hash: ['" + "zz" * 32 + "']"),
    "spki": trust("verify_certificate_spki: ['NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=']"),
    "spki, bad": trust("verify_certificate_spki: ['NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9=']"),
    "crl": trust(f"{_CA}, crl: {{filename: DIR/crl.pem}}"),
    "crl, garbage": trust(f"{_CA}, crl: {{inline_string: x}}"),
    "crl without an authority": trust("crl: {filename: DIR/crl.pem}"),
    "expired without an authority": trust("allow_expired_certificate: true"),
    "expired": trust(f"{_CA}, allow_expired_certificate: true"),
    "untrusted without an authority": trust("trust_chain_verification: ACCEPT_UNTRUSTED"),
    "system roots": trust("system_root_certs: {}"),
    "system roots and authority": trust(f"{_CA}, system_root_certs: {{}}"),
    "spiffe": trust(f"custom_validator_config: {{name: envoy.tls.cert_validator.spiffe, typed_config: {{{_SPIFFE}, trust_domains: [{{name: a, trust_bundle: {{filename: DIR/ca.pem}}}}]}}}}"),
    "spiffe, twice": trust(f"custom_validator_config: {{name: envoy.tls.cert_validator.spiffe, typed_config: {{{_SPIFFE}, trust_domains: [{{name: a, trust_bundle: {{filename: DIR/ca.pem}}}}, {{name: a, trust_bundle: {{filename: DIR/ca.pem}}}}]}}}}"),
    "spiffe, garbage": trust(f"custom_validator_config: {{name: envoy.tls.cert_validator.spiffe, typed_config: {{{_SPIFFE}, trust_domains: [{{name: a, trust_bundle: {{inline_string: x}}}}]}}}}"),
    "spiffe, bundle that is none": trust(f"custom_validator_config: {{name: envoy.tls.cert_validator.spiffe, typed_config: {{{_SPIFFE}, trust_bundles: {{inline_string: '{{}}'}}}}}}"),
    "validator, unknown": trust("custom_validator_config: {name: foo, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}"),
    "ticket key": down(_GOOD, "session_ticket_keys: {keys: [{inline_string: '" + "k" * 80 + "'}]},"),
    "ticket key, short": down(_GOOD, "session_ticket_keys: {keys: [{inline_string: '" + "k" * 48 + "'}]},"),
    "ticket keys, none": down(_GOOD, "session_ticket_keys: {keys: []},"),
    "session timeout": down(_GOOD, "session_timeout: 10s,"),
    "session timeout, too long": down(_GOOD, "session_timeout: 4294967296s,"),
    "static secret": down("tls_certificate_sds_secret_configs: [{name: a}]", top="  secrets: [{name: a, tls_certificate: {certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}}}]\n"),
    "static secret, unknown": down("tls_certificate_sds_secret_configs: [{name: b}]", top="  secrets: [{name: a, tls_certificate: {certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}}}]\n"),
    "static secret of another kind": down("tls_certificate_sds_secret_configs: [{name: a}]", top="  secrets: [{name: a, validation_context: {trusted_ca: {filename: DIR/ca.pem}}}]\n"),
    "secret from a file": down("tls_certificate_sds_secret_configs: [{name: a, sds_config: {path_config_source: {path: DIR/a.pem}}}]"),
    "secret from no file": down("tls_certificate_sds_secret_configs: [{name: a, sds_config: {path_config_source: {path: DIR/none.yaml}}}]"),
    "secret from a file without a node": down("tls_certificate_sds_secret_configs: [{name: a, sds_config: {path_config_source: {path: DIR/a.pem}}}]").replace("node: {id: a, cluster: b}\n", ""),
    "upstream": up(),
    "upstream, all": up(f"{_GOOD}, validation_context: {{{_CA}}}", "sni: a.example, auto_host_sni: true, auto_sni_san_validation: true, allow_renegotiation: true, max_session_keys: 5,"),
    "upstream, names without an authority": up("", "auto_sni_san_validation: true,"),
    "upstream, sni too long": up("", f"sni: {'a' * 256},"),
    "upstream, two certificates": up("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}}, {certificate_chain: {filename: DIR/b.pem}, private_key: {filename: DIR/b.key}}]"),
    "upstream, other key": up("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/b.key}}]"),
    "upstream, alpn too long": up(f"alpn_protocols: [{'a' * 256}]"),
    "alpn too long": down(f"{_GOOD}, alpn_protocols: [{'a' * 256}]"),
    "staple": stapled("a", "filename: DIR/a.der"),
    "staple that must be": stapled("a", "filename: DIR/a.der", "MUST_STAPLE"),
    "staple that must be and is old": stapled("a", "filename: DIR/old.der", "MUST_STAPLE"),
    "staple that must be and is not": down(_GOOD, "ocsp_staple_policy: MUST_STAPLE,"),
    "staple, strictly, none": down(_GOOD, "ocsp_staple_policy: STRICT_STAPLING,"),
    "staple, unknown policy": down(_GOOD, "ocsp_staple_policy: NONE,"),
    "staple of another certificate": stapled("a", "filename: DIR/b.der"),
    "staple, inline": stapled("a", "inline_string: x"),
    "staple, garbage": stapled("a", "inline_bytes: AAAA"),
    "staple, empty": stapled("a", "inline_bytes: ''"),
    "staple, missing file": stapled("a", "filename: DIR/none.der"),
    "staple, PEM": stapled("a", "filename: DIR/a.pem"),
    "staple, unsuccessful": stapled("a", "filename: DIR/later.der"),
    "staple and something behind it": stapled("a", "filename: DIR/more.der"),
    "staple, demanded": stapled("must", "filename: DIR/must.der"),
    "staple, demanded and missing": down("tls_certificates: [{certificate_chain: {filename: DIR/must.pem}, private_key: {filename: DIR/must.key}}]"),
    "staple of a secret": down("tls_certificate_sds_secret_configs: [{name: a}]", top="  secrets: [{name: a, tls_certificate: {certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}, ocsp_staple: {filename: DIR/a.der}}}]\n"),
    "staple of a secret, another's": down("tls_certificate_sds_secret_configs: [{name: a}]", top="  secrets: [{name: a, tls_certificate: {certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}, ocsp_staple: {filename: DIR/b.der}}}]\n"),
    "staple upstream": up("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}, ocsp_staple: {filename: DIR/b.der}}]"),
    "staple upstream, inline": up("tls_certificates: [{certificate_chain: {filename: DIR/a.pem}, private_key: {filename: DIR/a.key}, ocsp_staple: {inline_string: x}}]"),
    "key usage": up("", "enforce_rsa_key_usage: false,"),
    "alpn, empty": down(f"{_GOOD}, alpn_protocols: ['']"),
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    made = tmp_path_factory.mktemp("certs")
    root = Authority("root")
    (made / "ca.pem").write_bytes(root.cert_pem)
    leaves = {
        "a": root.leaf("a", "DNS:a.example"),
        "b": root.leaf("b"),
        "must": root.leaf("must", must_staple=True),
        "short": root.leaf("s", is_rsa=True, bits=1024),
    }
    for name, leaf in leaves.items():
        (made / f"{name}.pem").write_bytes(leaf.cert_pem)
        (made / f"{name}.key").write_bytes(leaf.key_pem)
    for name in ("a", "b", "must"):
        (made / f"{name}.der").write_bytes(root.ocsp_response(leaves[name]))
    first = leaves["a"]
    (made / "old.der").write_bytes(
        root.ocsp_response(first, end=datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))
    )
    (made / "later.der").write_bytes(root.ocsp_response(first, status=ocsp.OCSPResponseStatus.TRY_LATER))
    (made / "more.der").write_bytes(root.ocsp_response(first) + b"x")
    (made / "locked.key").write_bytes(first.encrypted_key_pem(b"secret"))
    packed = pkcs12.serialize_key_and_certificates(
        b"a", first.key, first.certificate, None, BestAvailableEncryption(b"secret")
    )
    (made / "a.p12").write_bytes(packed)
    (made / "crl.pem").write_bytes(root.revocation_list(leaves["b"]))
    return made


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_tls_context_gets_envoys_verdict(
    text: str, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text.replace("DIR", str(directory)))
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    ours = capsys.readouterr().err
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours}"
    if not accepted:
        assert "c.yaml:" in ours
