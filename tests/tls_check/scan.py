"""What a TLS server speaks, found out by asking: versions, suites, groups, certificates, protocols, OCSP
responses, what clients are to show, and whether their sessions are resumed.

Each question is a handshake that offers one thing alone.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import warnings

from cryptography import x509

__all__ = ["scan"]

_VERSIONS = {
    "TLS 1.0": ssl.TLSVersion.TLSv1,
    "TLS 1.1": ssl.TLSVersion.TLSv1_1,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
    "TLS 1.3": ssl.TLSVersion.TLSv1_3,
}
_SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_GROUPS = ("X25519", "P-256", "P-384", "P-521", "X448")
_PROTOCOLS = (("h2",), ("http/1.1",), ("http/1.1", "h2"), ("foo",))
_NAMES = ("example.com", "www.wild.example", "wild.example", "nobody.example", None)
_TIMEOUT_S = 5.0
_SECRETS = r"^(?:New, .*Cipher is .*|Server Temp Key: .*)$"
_STAPLE = r"^ *(?:OCSP response: .+|OCSP Response Status: .*|Cert Status: .*|Next Update: .*|New, .*)$"
_CLIENTS = r"^(?:Acceptable client .*|No client certificate CA .*|Client Certificate Types: .*|OU ?=.*)$"
_RESUMED = r"^(?:New|Reused), \S+ .*$"


def _context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of old versions, which are asked for
        context.minimum_version = version or ssl.TLSVersion.TLSv1_2
        context.maximum_version = version or ssl.TLSVersion.TLSv1_3
    return context


def _shake(port: int, context: ssl.SSLContext, name: str | None = "example.com") -> ssl.SSLSocket | None:
    plain = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except (OSError, ssl.SSLError):
        plain.close()
        return None


def _common_name(tls: ssl.SSLSocket) -> str:
    """The common name, read out of the DER: nobody is verified here."""
    der = tls.getpeercert(binary_form=True)
    if not der:
        return "nobody"
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def scan(port: int) -> dict[str, str]:
    """Questions with their answers."""
    found: dict[str, str] = {}

    def note(question: str, context: ssl.SSLContext, name: str | None = "example.com") -> None:
        tls = _shake(port, context, name)
        if tls is None:
            found[question] = "refused"
            return
        with tls:
            cipher = tls.cipher()
            parts = [tls.version() or "", cipher[0] if cipher else "", tls.selected_alpn_protocol() or "-"]
            found[question] = " ".join([*parts, _common_name(tls)])

    for label, version in _VERSIONS.items():
        note(label, _context(version))
    probe = _context()
    for suite in sorted({each["name"] for each in probe.get_ciphers() if each["protocol"] != "TLSv1.3"}):
        if "PSK" in suite or "SRP" in suite:
            continue  # these need secrets that nobody has
        context = _context(ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(f"{suite}:@SECLEVEL=0")
        note(f"suite {suite}", context)
    for protocols in _PROTOCOLS:
        context = _context()
        context.set_alpn_protocols(list(protocols))
        note(f"offers {'+'.join(protocols)}", context)
    for name in _NAMES:
        note(f"asks for {name}", _context(), name)
        rsa = _context(ssl.TLSVersion.TLSv1_2)
        rsa.set_ciphers("aRSA:@SECLEVEL=0")
        note(f"asks for {name}, verifies RSA alone", rsa, name)
    for suite in _SUITES_13:
        found[f"suite {suite}"] = _s_client(port, "-ciphersuites", suite)
    for group in _GROUPS:
        found[f"group {group}"] = _s_client(port, "-groups", group)
    for version in ("-tls1_2", "-tls1_3"):
        found[f"OCSP response {version}"] = _s_client(port, version, "-status", wanted=_STAPLE)
        found[f"wants of clients {version}"] = _s_client(port, version, wanted=_CLIENTS)
    # One handshake, and five that offer its session.
    found["resumes in TLS 1.2"] = _s_client(port, "-tls1_2", "-reconnect", wanted=_RESUMED)
    return found


def _s_client(port: int, *arguments: str, wanted: str = _SECRETS) -> str:
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-servername",
        "example.com",
        *arguments,
    ]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=15)
    lines = re.findall(wanted, done.stdout, flags=re.MULTILINE)
    return "; ".join(line.strip() for line in lines)
