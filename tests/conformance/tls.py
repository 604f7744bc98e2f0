"""TLS for scenarios: certificates that are made once in a run, real clients, and what they see.

Recordings do not depend on keys: what does is shown by the name of the certificate that it belongs to.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio
from cryptography.hazmat.primitives import hashes

from tests.support.pki import Authority, Leaf

from .client import H1Client
from .configuration import listener, parse
from .lab import Session
from .wire import TlsWire

DOWNSTREAM = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


class Pki:
    """All certificates of a run."""

    def __init__(self) -> None:
        self.root = Authority("root")
        self.middle = Authority("middle", self.root)
        self.other = Authority("other")
        self.leaves: dict[str, Leaf] = {
            "server": self.root.leaf("server", "DNS:example.com", "URI:spiffe://example.com/server"),
            "rsa": self.root.leaf("rsa", "DNS:example.com", is_rsa=True),
            "wild": self.root.leaf("wild", "DNS:*.wild.example"),
            "local": self.root.leaf("local", "DNS:localhost", "IP:127.0.0.1"),
            "plain": self.root.leaf("plain.example"),
            "client": self.root.leaf(
                "client", "DNS:client.example", "URI:spiffe://example.com/service/a", "EMAIL:a@example.com",
                "IP:10.0.0.1", "IP:2001:db8::1", "UPN:user@example.com",
            ),
            "wildclient": self.root.leaf("wildclient", "DNS:*.client.example"),
            "nosan": self.root.leaf("nosan"),
            "deep": self.middle.leaf("deep", "DNS:deep.example"),
            "foreign": self.other.leaf("foreign", "URI:spiffe://other.example/service/a"),
            "expired": self.root.leaf("expired", "DNS:client.example", is_expired=True),
            "nousage": self.root.leaf("nousage", "URI:spiffe://example.com/x", has_usage=False),
            "revoked": self.root.leaf("revoked", "DNS:client.example"),
        }  # fmt: skip
        self.files: dict[str, bytes] = {
            "root.pem": self.root.cert_pem,
            "middle.pem": self.middle.cert_pem,
            "other.pem": self.other.cert_pem,
            "both.pem": self.root.cert_pem + self.other.cert_pem,
            "crl.pem": self.root.revocation_list(self.leaves["revoked"]),
            "password": b"secret",
            "server-locked.pem": self.leaves["server"].encrypted_key_pem(b"secret"),
        }
        for name, leaf in self.leaves.items():
            self.files[f"{name}-cert.pem"] = leaf.cert_pem
            self.files[f"{name}-key.pem"] = leaf.key_pem
        self.directory = Path(tempfile.mkdtemp(prefix="pki-"))
        for name, leaf in self.leaves.items():
            (self.directory / f"{name}.pem").write_bytes(leaf.pem)
        (self.directory / "root.pem").write_bytes(self.root.cert_pem)

    def path(self, name: str) -> str:
        """Key and chain of a certificate, for clients."""
        return str(self.directory / f"{name}.pem")

    def hide(self, text: str) -> str:
        """``text`` with what depends on keys replaced by names."""
        for name, leaf in self.leaves.items():
            certificate = leaf.certificate
            pem = leaf.cert_pem.partition(b"-----END CERTIFICATE-----\n")
            own = (pem[0] + pem[1]).decode()
            for value, shown in (
                (leaf.sha256, "sha256"),
                (certificate.fingerprint(_sha1()).hex(), "sha1"),
                (_hex(certificate.serial_number), "serial"),
                (quote(own, safe=""), "url pem"),
            ):
                text = text.replace(value, f"<{shown} of {name}>")
        for name, authority in (("root", self.root), ("middle", self.middle)):
            text = text.replace(quote(authority.cert_pem.decode(), safe=""), f"<url pem of {name}>")
            text = text.replace(_hex(authority.certificate.serial_number), f"<serial of {name}>")
        return re.sub(r"sid=[0-9a-f]{64}", "sid=<id>", text)


def _sha1() -> Any:
    return hashes.SHA1()


def _hex(number: int) -> str:
    text = f"{number:x}"
    return text if len(text) % 2 == 0 else f"0{text}"


@cache
def pki() -> Pki:
    """The certificates of this run."""
    return Pki()


class Certificates(Mapping[str, bytes]):
    """The files of a setup: made when a proxy is started, not when scenarios are collected."""

    def __getitem__(self, name: str) -> bytes:
        return pki().files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(pki().files)

    def __len__(self) -> int:
        return len(pki().files)


CERTIFICATES = Certificates()


def certificate(name: str) -> str:
    """YAML of a TlsCertificate."""
    chain = f"certificate_chain: {{filename: FILE({name}-cert.pem)}}"
    return f"{{{chain}, private_key: {{filename: FILE({name}-key.pem)}}}}"


def downstream(common: str = "", context: str = "", *certificates: str) -> dict[str, Any]:
    """A transport socket; YAML of fields of the common context and of the context."""
    names = certificates or ("server",)
    made: dict[str, Any] = {"tls_certificates": [parse(certificate(name)) for name in names]}
    made.update(parse(common) or {})
    typed = {"@type": DOWNSTREAM, "common_tls_context": made, **(parse(context) or {})}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def tls_listener(
    name: str,
    common: str = "",
    context: str = "",
    *certificates: str,
    **settings: Any,
) -> dict[str, Any]:
    """A listener with TLS; its stats are ``listener.<name>.``."""
    made = listener(name, **settings)
    made["stat_prefix"] = name
    made["filter_chains"][0]["transport_socket"] = downstream(common, context, *certificates)
    return made


def client_context(
    cert: str = "",
    *,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    alpn: tuple[str, ...] = (),
    ciphers: str = "",
) -> ssl.SSLContext:
    """What a client is told; the server's certificate must be of the root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pki().root.cert_pem.decode())
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions, which are asked for
        context.minimum_version, context.maximum_version = versions
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if cert:
        context.load_cert_chain(pki().path(cert))
    return context


async def connect_tls(
    s: Session,
    to: str = "main",
    context: ssl.SSLContext | None = None,
    *,
    sni: str | None = "example.com",
    label: str = "handshake",
    is_seen: bool = True,
) -> H1Client | None:
    """An HTTP/1 connection over TLS, and what the client sees of its handshake; None where it fails."""
    stream = await trio.open_tcp_stream("127.0.0.1", s.proxy.ports[to])
    tls = trio.SSLStream(
        stream, context or client_context(), server_hostname=sni or None, https_compatible=True
    )
    try:
        await tls.do_handshake()
    except (trio.BrokenResourceError, OSError) as error:
        cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
        reason = getattr(cause, "reason", None)
        # An end without an alert comes as an end of the stream or as a reset: that is a matter of time.
        s.see(label, {"refused": "closed" if reason in (None, "UNEXPECTED_EOF_WHILE_READING") else reason})
        await trio.aclose_forcefully(stream)
        return None
    if is_seen:
        s.see(label, shown_handshake(tls))
    client = H1Client.__new__(H1Client)
    client.wire = TlsWire(tls)
    client._session = s
    s._clients.append(client)
    return client


def server_context(
    cert: str = "server",
    *,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    alpn: tuple[str, ...] = (),
    ciphers: str = "",
    is_mutual: bool = False,
    has_tickets: bool = True,
) -> ssl.SSLContext:
    """What a scripted upstream is told; ``is_mutual``: clients show a certificate of the root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki().path(cert))
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = versions
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if is_mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pki().root.cert_pem.decode())
    if not has_tickets:
        context.options |= ssl.OP_NO_TICKET
    return context


def shown_handshake(tls: Any) -> dict[str, object]:
    """Version, suite, protocol and certificate."""
    certificate = tls.getpeercert() or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return {
        "version": tls.version(),
        "cipher": tls.cipher()[0],
        "alpn": tls.selected_alpn_protocol(),
        "certificate": names[0] if names else None,
        "resumed": bool(tls.session_reused),
    }


async def get_tls(
    s: Session,
    path: str = "/",
    *headers: str,
    to: str = "main",
    context: ssl.SSLContext | None = None,
    sni: str | None = "example.com",
    label: str = "",
) -> None:
    """One GET on a fresh connection; a handshake of TLS 1.3 that is refused late is seen as refused.

    Whether the alert still reaches the client then is a race with its own request, and not looked at.
    """
    client = await connect_tls(s, to, context, sni=sni, label=f"{label} handshake".strip())
    if client is None:
        return
    lines = [f"GET {path} HTTP/1.1", "host: example.com", "connection: close", *headers, "", ""]
    await client.send("\r\n".join(lines).encode())
    data, _ = await client.wire.rest()
    s.see(f"{label} reply".strip(), _shown_reply(data) if data else "refused")
    client.close()


def _shown_reply(data: bytes) -> object:
    head, _, body = data.decode("latin-1").partition("\r\n\r\n")
    return {"start": head.split("\r\n")[0], "body": pki().hide(body)}


async def s_client(s: Session, to: str, *arguments: str, label: str, wanted: str) -> None:
    """What ``openssl s_client`` prints: the lines that match ``wanted``."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.proxy.ports[to]}", *arguments]
    done = await trio.run_process(
        command, stdin=b"", capture_stdout=True, stderr=subprocess.DEVNULL, check=False
    )
    lines = done.stdout.decode("latin-1").splitlines()
    s.see(label, [line.strip() for line in lines if re.search(wanted, line)])


async def curl(s: Session, to: str, path: str, *arguments: str, label: str = "curl") -> None:
    """What ``curl`` gets for https://example.com: its exit status, HTTP version, status and body."""
    port = s.proxy.ports[to]
    command = [
        "curl", "--silent", "--max-time", "5", "--cacert", str(pki().directory / "root.pem"),
        "--resolve", f"example.com:{port}:127.0.0.1", "--write-out", "|%{http_version}|%{http_code}",
        *arguments, f"https://example.com:{port}{path}",
    ]  # fmt: skip
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
    s.see(label, {"exit": done.returncode, "output": done.stdout.decode("latin-1")})


def hidden(line: str) -> object:
    """A line of a log without what depends on keys."""
    return pki().hide(line)
