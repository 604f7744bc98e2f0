"""The names that BoringSSL, which Envoy is built with, and OpenSSL give to the same things.

Configurations are written in BoringSSL's; logs, stats and failure reasons are read by people who know
Envoy's.  Numbers of errors are those of BoringSSL's ``ssl.h``: library 16, and the reason.
"""

from __future__ import annotations

import re
import ssl

__all__ = [
    "CIPHERS",
    "CIPHERSUITES",
    "CIPHERSUITE_IDS",
    "CIPHER_IDS",
    "DEFAULT_CIPHERS",
    "DEFAULT_GROUPS",
    "GROUPS",
    "GROUP_NAMES",
    "SIGNATURE_ALGORITHMS",
    "failure_reason",
    "openssl_ciphers",
    "signature_name",
]

#: The suites up to TLS 1.2 that BoringSSL knows, by OpenSSL's name, with their standard one.
CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-PSK-CHACHA20-POLY1305": "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-PSK-AES128-CBC-SHA": "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA",
    "ECDHE-PSK-AES256-CBC-SHA": "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA",
    "ECDHE-ECDSA-AES128-SHA": "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "ECDHE-RSA-AES128-SHA": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "ECDHE-RSA-AES128-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "ECDHE-ECDSA-AES256-SHA": "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "ECDHE-RSA-AES256-SHA": "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "AES128-GCM-SHA256": "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "AES256-GCM-SHA384": "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "AES128-SHA": "TLS_RSA_WITH_AES_128_CBC_SHA",
    "AES256-SHA": "TLS_RSA_WITH_AES_256_CBC_SHA",
    "PSK-AES128-CBC-SHA": "TLS_PSK_WITH_AES_128_CBC_SHA",
    "PSK-AES256-CBC-SHA": "TLS_PSK_WITH_AES_256_CBC_SHA",
    "DES-CBC3-SHA": "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
}
#: Their numbers (RFC 8446 and others, IANA's registry), for those that can be of equal preference.
_NUMBERS = (
    "c02b c02f c02c c030 cca9 cca8 ccac c035 c036 c009 c013 c027 c00a c014 009c 009d 002f 0035 008c 008d 000a"
)
CIPHER_IDS = dict(zip(CIPHERS, map(bytes.fromhex, _NUMBERS.split(" ")), strict=True))
CIPHERSUITE_IDS = {
    "TLS_AES_128_GCM_SHA256": b"\x13\x01",
    "TLS_AES_256_GCM_SHA384": b"\x13\x02",
    "TLS_CHACHA20_POLY1305_SHA256": b"\x13\x03",
}
_LEGACY = {"ECDHE-RSA-AES128-SHA256", "DES-CBC3-SHA"}
_STANDARD = {standard: name for name, standard in CIPHERS.items()}
#: What BoringSSL takes for many suites at once.
_ALIAS_NAMES = (
    "ALL HIGH FIPS SHA SHA1 kRSA kECDHE kEECDH ECDHE EECDH kPSK PSK aRSA aECDSA ECDSA aPSK RSA 3DES AES128 "
    "AES256 AES AESGCM CHACHA20 SSLv3 TLSv1 TLSv1.2"
)
_ALIASES = frozenset(_ALIAS_NAMES.split(" "))
#: In BoringSSL's order on machines that do AES in hardware; they are not configurable there.
CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#: ``TlsParameters.cipher_suites`` that are left out.
DEFAULT_CIPHERS = (
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
#: ``TlsParameters.ecdh_curves`` that are left out.
DEFAULT_GROUPS = ("X25519", "P-256")
#: Groups by BoringSSL's names, with OpenSSL's; None for those that OpenSSL has not before 3.5.
GROUPS: dict[str, str | None] = {
    "P-224": "P-224",
    "P-256": "P-256",
    "prime256v1": "P-256",
    "P-384": "P-384",
    "secp384r1": "P-384",
    "P-521": "P-521",
    "secp521r1": "P-521",
    "X25519": "X25519",
    "X25519Kyber768Draft00": None,
    "X25519MLKEM768": None,
    "MLKEM1024": None,
}
#: Groups by OpenSSL's NIDs (``obj_mac.h``), as the stats name them.
GROUP_NAMES = {415: "P-256", 713: "P-224", 715: "P-384", 716: "P-521", 1034: "X25519"}
_SIGNATURE_NAMES = (
    "rsa_pkcs1_sha256 rsa_pkcs1_sha384 rsa_pkcs1_sha512 ecdsa_secp256r1_sha256 ecdsa_secp384r1_sha384 "
    "ecdsa_secp521r1_sha512 rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512 ed25519 "
    "rsa_pkcs1_sha1 ecdsa_sha1"
)
SIGNATURE_ALGORITHMS = frozenset(_SIGNATURE_NAMES.split(" "))
_DIGESTS = {64: "sha1", 672: "sha256", 673: "sha384", 674: "sha512"}
_CURVE_OF_DIGEST = {"sha256": "secp256r1", "sha384": "secp384r1", "sha512": "secp521r1"}

#: The numbers of the reasons that both libraries have by one name.
_REASONS = {
    "BAD_SIGNATURE": 114,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "CLIENTHELLO_TLSEXT": 132,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "DIGEST_CHECK_FAILED": 142,
    "EXCESSIVE_MESSAGE_SIZE": 150,
    "HTTPS_PROXY_REQUEST": 155,
    "HTTP_REQUEST": 156,
    "INAPPROPRIATE_FALLBACK": 157,
    "LENGTH_MISMATCH": 162,
    "NO_RENEGOTIATION": 182,
    "NO_SHARED_CIPHER": 184,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNEXPECTED_MESSAGE": 223,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_CIPHER_RETURNED": 242,
    "WRONG_VERSION_NUMBER": 247,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
    "NO_SHARED_GROUP": 266,
    "KEY_USAGE_BIT_INCORRECT": 302,
    "NO_APPLICATION_PROTOCOL": 307,
}
_SAME = {
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "WRONG_SSL_VERSION": "UNSUPPORTED_PROTOCOL",
    "VERSION_TOO_LOW": "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE": "UNSUPPORTED_PROTOCOL",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_NO_CERTIFICATE": "TLSV1_ALERT_NO_CERTIFICATE",
}
_ALERTS = {
    "CLOSE_NOTIFY": 0, "UNEXPECTED_MESSAGE": 10, "BAD_RECORD_MAC": 20, "DECRYPTION_FAILED": 21,
    "RECORD_OVERFLOW": 22, "DECOMPRESSION_FAILURE": 30, "HANDSHAKE_FAILURE": 40, "NO_CERTIFICATE": 41,
    "BAD_CERTIFICATE": 42, "UNSUPPORTED_CERTIFICATE": 43, "CERTIFICATE_REVOKED": 44,
    "CERTIFICATE_EXPIRED": 45, "CERTIFICATE_UNKNOWN": 46, "ILLEGAL_PARAMETER": 47, "UNKNOWN_CA": 48,
    "ACCESS_DENIED": 49, "DECODE_ERROR": 50, "DECRYPT_ERROR": 51, "EXPORT_RESTRICTION": 60,
    "PROTOCOL_VERSION": 70, "INSUFFICIENT_SECURITY": 71, "INTERNAL_ERROR": 80, "INAPPROPRIATE_FALLBACK": 86,
    "USER_CANCELLED": 90, "NO_RENEGOTIATION": 100, "UNSUPPORTED_EXTENSION": 110,
    "CERTIFICATE_UNOBTAINABLE": 111, "UNRECOGNIZED_NAME": 112, "BAD_CERTIFICATE_STATUS_RESPONSE": 113,
    "BAD_CERTIFICATE_HASH_VALUE": 114, "UNKNOWN_PSK_IDENTITY": 115, "CERTIFICATE_REQUIRED": 116,
    "NO_APPLICATION_PROTOCOL": 120,
}  # fmt: skip
_ALERT = re.compile(r"(?:SSLV3|TLSV1)_ALERT_(\w+)")
#: OpenSSL leaves ALERT out of the names of these.
_SHORT = re.compile(
    r"TLSV1_(UNSUPPORTED_EXTENSION|UNRECOGNIZED_NAME|BAD_CERTIFICATE_\w+|CERTIFICATE_UNOBTAINABLE)"
)
_LIBRARY = 16 << 24


def openssl_ciphers(suites: tuple[str, ...]) -> tuple[list[tuple[str, ...]], list[str]]:
    """``cipher_suites`` by groups of equal preference, and what BoringSSL would not take."""
    groups: list[tuple[str, ...]] = []
    refused: list[str] = []
    for text in ":".join(suites).split(":"):
        rules: list[str] = []
        for token in text.removeprefix("[").removesuffix("]").split("|"):
            sign = token[:1] if token[:1] in "!-+" else ""
            name = token[len(sign) :]
            name = _STANDARD.get(name, name)
            parts = name.split("+")
            if name in CIPHERS or all(part in _ALIASES for part in parts):
                rules.append(sign + name)
            else:
                refused.append(token)
        groups.append(tuple(rules))
    return (groups if refused else _expanded(groups)), refused


def _expanded(groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """``groups`` by single names: ALL is more in OpenSSL than in BoringSSL, anonymous suites among it.

    What a name for many brings stands in BoringSSL's order; suites that are there for old times' sake
    alone must be named.
    """
    if all(name in CIPHERS for group in groups for name in group):
        return groups
    allowed = _meant_by(":".join(name for group in groups for name in group))
    found: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for group in groups:
        if all(name in CIPHERS for name in group):
            kept = [tuple(name for name in group if name in allowed and name not in seen)]
        else:
            brought = {each for name in group if name[:1] not in "!-" for each in _meant_by(name)} - _LEGACY
            kept = [(name,) for name in CIPHERS if name in brought & allowed and name not in seen]
        found += [each for each in kept if each]
        seen.update(name for each in kept for name in each)
    return found


def _meant_by(rules: str) -> set[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(f"{rules}:@SECLEVEL=0")
    except ssl.SSLError:
        return set()
    return {each["name"] for each in context.get_ciphers()}


def signature_name(kind: int, digest: int) -> str:
    """The standard name of what the peer signed with, by OpenSSL's NIDs; empty when it did not."""
    name = _DIGESTS.get(digest, "")
    if kind == 408:  # EVP_PKEY_EC
        return f"ecdsa_{_CURVE_OF_DIGEST[name]}_{name}" if name in _CURVE_OF_DIGEST else "ecdsa_sha1"
    if kind == 912:  # EVP_PKEY_RSA_PSS
        return f"rsa_pss_rsae_{name}"
    if kind == 6:  # EVP_PKEY_RSA
        return f"rsa_pkcs1_{name}"
    return "ed25519" if kind == 1087 else ""


def failure_reason(error: ssl.SSLError, extra: str = "") -> str:
    """``error`` as Envoy's ``transport_failure_reason`` says it, as far as the two libraries agree on names.

    ``extra`` is what a verifier of ours has to add.
    """
    reason = error.reason or ""
    name = _SHORT.sub(r"TLSV1_ALERT_\1", _SAME.get(reason, reason))
    number = _REASONS.get(name)
    if number is None:
        found = _ALERT.match(name)
        alert = _ALERTS.get(found[1]) if found else None
        number = 1000 + alert if alert is not None else 0
    if not name:
        return f"TLS_error:|{error.args[-1] if error.args else error}:TLS_error_end"
    text = f"TLS_error:|{_LIBRARY + number}:SSL routines:OPENSSL_internal:{name}"
    return f"{text}:{extra}:TLS_error_end" if extra else f"{text}:TLS_error_end"
