# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""``openssl s_client`` and ``curl`` as clients: what they are answered, and what they say of it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import trio

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, curl, pki, tls_listener
from .tls_downstream import DIRECT, ssl_stats

SUBJECT = "connections"
PROXY = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
CA = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}"
OLD = "tls_params: {tls_minimum_protocol_version: TLSv1_0, tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ALL]}"
KEY = "session_ticket_keys: {keys: [{filename: FILE(ticket.key)}]}"
RESUMING = ("resumed", "keyed", "stateless-off", "stateful-off", "off", "short")


class Files(Mapping[str, bytes]):
    """The certificates, and a key for tickets."""

    def __getitem__(self, name: str) -> bytes:
        return bytes(range(80)) if name == "ticket.key" else CERTIFICATES[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*CERTIFICATES, "ticket.key"])

    def __len__(self) -> int:
        return len(CERTIFICATES) + 1


SETUP = Setup(
    "tls-programs",
    bootstrap(
        [
            tls_listener("main", "alpn_protocols: [h2, http/1.1]", "", "server", "rsa", "wild", routes=DIRECT),
            tls_listener("old", OLD, "", "server", "rsa", routes=DIRECT),
            tls_listener("new", "tls_params: {tls_minimum_protocol_version: TLSv1_3}", routes=DIRECT),
            tls_listener("mutual", f"{CA}\nalpn_protocols: [http/1.1]", "require_client_certificate: true", routes=DIRECT),
            tls_listener("http1", "alpn_protocols: [http/1.1]", routes=DIRECT),
            tls_listener("proxied", "alpn_protocols: [h2, http/1.1]", routes=DIRECT, log="%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %PROTOCOL% %RESPONSE_CODE%\n",
                         extra=f"listener_filters: [{{name: p, typed_config: {{'@type': {PROXY}}}}}]"),
            tls_listener("resumed", routes=DIRECT),
            tls_listener("keyed", "", KEY, routes=DIRECT),
            tls_listener("stateless-off", "", "disable_stateless_session_resumption: true", routes=DIRECT),
            tls_listener("stateful-off", "", "disable_stateful_session_resumption: true", routes=DIRECT),
            tls_listener("off", "", "disable_stateless_session_resumption: true\ndisable_stateful_session_resumption: true", routes=DIRECT),
            tls_listener("short", "", "session_timeout: 77s", routes=DIRECT),
            tls_listener("logged", "key_log: {path: FILE(keys.log)}", routes=DIRECT),
        ]
    ),
    {},
    Files(),
)  # fmt: skip
REQUEST = b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n"
SHOWN = r"^New, |^Reused, |^subject=|ALPN|Verify return code|^HTTP/|alert number|^no peer"


async def openssl(
    s: Session, to: str, *arguments: str, label: str, sent: bytes = REQUEST, shown: str = SHOWN
) -> None:
    """What ``openssl s_client`` prints, and whether it came to an answer."""
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{s.proxy.ports[to]}",
        "-CAfile",
        pki().path("root"),
    ]
    if sent:
        command.append("-ign_eof")
    with trio.move_on_after(5):
        done = await trio.run_process(
            [*command, *arguments], stdin=sent, capture_stdout=True, stderr=subprocess.STDOUT, check=False
        )
        lines = done.stdout.decode("latin-1").splitlines()
        # What TLS 1.3 says behind the handshake is told once for each ticket.
        lines = list(dict.fromkeys(line for line in lines if re.search(shown, line)))
        seen = [re.sub(r"^.*(SSL alert number)", r"\1", line.strip()) for line in lines]
        s.see(label, seen)
        return
    s.see(label, "waits")


@scenario(SETUP)
async def tls_openssl_versions(s: Session) -> None:
    """Every version against listeners of old and of new ones."""
    for to in ("main", "old", "new"):
        async with s.counting(*ssl_stats(to, "handshake", "connection_error")):
            for version in ("-tls1", "-tls1_1", "-tls1_2", "-tls1_3"):
                await openssl(s, to, version, "-cipher", "ALL:@SECLEVEL=0", label=f"{to} {version}")


@scenario(SETUP)
async def tls_openssl_chain(s: Session) -> None:
    """What a server shows is what it was given, also where it trusts who has issued that."""
    for to in ("main", "mutual"):
        for version in ("-tls1_2", "-tls1_3"):
            await openssl(s, to, version, label=f"{to} {version}", sent=b"", shown=r"^ \d+ s:")


@scenario(SETUP)
async def tls_openssl_client_certificates(s: Session) -> None:
    """Accepted, of somebody else, expired, none; with the alert that the client is sent."""
    async with s.counting(
        *ssl_stats(
            "mutual",
            "handshake",
            "connection_error",
            "fail_verify_error",
            "fail_verify_no_cert",
            "no_certificate",
        )
    ):
        for version in ("-tls1_2", "-tls1_3"):
            for name in ("client", "deep", "foreign", "expired", ""):
                own = (
                    ("-cert", pki().path(name), "-key", pki().path(name), "-cert_chain", pki().path(name))
                    if name
                    else ()
                )
                await openssl(s, "mutual", version, *own, label=f"{version} {name or 'nobody'}")


@scenario(SETUP)
async def tls_openssl_authorities(s: Session) -> None:
    """Clients are told which authorities are good, and which signatures."""
    wanted = r"Acceptable client|^OU ?=|^Client Certificate Types|^No client certificate CA"
    for version in ("-tls1_2", "-tls1_3"):
        await openssl(s, "mutual", version, label=version, shown=wanted)
        await openssl(s, "main", version, label=f"{version} main", shown=wanted)


@scenario(SETUP)
async def tls_openssl_names(s: Session) -> None:
    """Certificates by SNI and by what the client can verify; protocols by ALPN."""
    for name in ("example.com", "a.wild.example", "a.b.wild.example", "nobody.example"):
        await openssl(s, "main", "-servername", name, label=name)
    await openssl(s, "main", "-noservername", label="no name")
    await openssl(
        s, "main", "-servername", "example.com", "-sigalgs", "rsa_pss_rsae_sha256", label="rsa alone"
    )
    for protocols in ("h2,http/1.1", "http/1.1,h2", "http/1.1", "spdy/3", "spdy/3,http/1.1"):
        await openssl(
            s, "main", "-alpn", protocols, label=f"alpn {protocols}", sent=b"", shown=r"ALPN|alert number"
        )
        await openssl(
            s, "http1", "-alpn", protocols, label=f"http1 {protocols}", shown=r"ALPN|^HTTP/|alert number"
        )


@scenario(SETUP)
async def tls_openssl_resumes(s: Session) -> None:
    """A session that is kept in a file and offered again, by what a listener allows."""
    with tempfile.TemporaryDirectory() as name:
        for to in RESUMING:
            async with s.counting(*ssl_stats(to, "handshake", "session_reused")):
                for version in ("-tls1_2", "-tls1_3"):
                    file = str(Path(name) / f"{to}{version}")
                    await openssl(s, to, version, "-sess_out", file, label=f"{to} {version}")
                    if os.path.exists(file):  # noqa: ASYNC240 - nothing else runs meanwhile
                        await openssl(s, to, version, "-sess_in", file, label=f"{to} {version} again")
                    else:
                        s.see(f"{to} {version} again", "no session")
        await openssl(
            s, "main", "-tls1_2", "-sess_in", str(Path(name) / "resumed-tls1_2"), label="another listener"
        )
        await openssl(
            s,
            "stateful-off",
            "-tls1_2",
            "-sess_in",
            str(Path(name) / "resumed-tls1_2"),
            label="another with the same certificate",
        )


@scenario(SETUP)
async def tls_openssl_renegotiates(s: Session) -> None:
    """A client that asks for another handshake on a connection of TLS 1.2 is let go."""
    async with s.counting(*ssl_stats("main", "handshake", "connection_error")):
        await openssl(
            s,
            "main",
            "-tls1_2",
            "-legacy_renegotiation",
            label="asks",
            sent=b"R\n" + REQUEST,
            shown=r"RENEGOTIATING|^HTTP/|alert|no renegotiation|closed",
        )


@scenario(SETUP)
async def tls_openssl_keys_are_logged(s: Session) -> None:
    """key_log has the lines that Wireshark wants."""
    path = s.proxy.directory / "keys.log"
    before = len(_logged_keys(path))
    await openssl(s, "logged", "-tls1_2", label="1.2")
    await openssl(s, "logged", "-tls1_3", label="1.3")
    s.see("keys", sorted(_logged_keys(path)[before:]))


def _logged_keys(path: Path) -> list[str]:
    """What each line is, and how long its fields are."""
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines if not line.startswith("#")]
    return [f"{name} {[len(each) for each in rest]}" for name, *rest in words]


@scenario(SETUP)
async def tls_curl_protocols(s: Session) -> None:
    """HTTP by ALPN, versions of TLS, and the PROXY protocol in front."""
    for to in ("main", "http1"):
        await curl(s, to, "/", "--http2", label=f"{to} http2")
        await curl(s, to, "/", "--http1.1", label=f"{to} http1.1")
        await curl(s, to, "/", "--no-alpn", label=f"{to} without alpn")
    await curl(s, "main", "/", "--tlsv1.2", "--tls-max", "1.2", label="1.2")
    await curl(s, "new", "/", "--tlsv1.2", "--tls-max", "1.2", label="1.2 to 1.3")
    await curl(s, "new", "/", "--tlsv1.3", label="1.3")
    async with s.logging(2, "proxied"):
        await curl(s, "proxied", "/", "--haproxy-protocol", "--http2", label="proxied http2")
        await curl(s, "proxied", "/", "--haproxy-protocol", "--http1.1", label="proxied http1.1")
    await curl(s, "proxied", "/", label="without the head")
    await curl(s, "main", "/", "--haproxy-protocol", label="a head that nobody expects")


@scenario(SETUP)
async def tls_curl_client_certificates(s: Session) -> None:
    """Exit statuses of curl for a certificate that is good, and for others."""
    for name in ("client", "foreign", "expired", ""):
        own = ("--cert", pki().path(name), "--key", pki().path(name)) if name else ()
        await curl(s, "mutual", "/", "--tls-max", "1.2", *own, label=name or "nobody")
    await curl(s, "mutual", "/", "--cert", pki().path("client"), "--key", pki().path("client"), label="1.3")
