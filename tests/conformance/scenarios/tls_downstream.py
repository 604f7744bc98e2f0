# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""TLS towards clients: versions, suites, certificates by SNI and key, ALPN, what logs and headers tell."""

from __future__ import annotations

import ssl

from ..configuration import TO_APP, bootstrap, cluster
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, connect_tls, curl, get_tls, hidden, s_client, tls_listener

SUBJECT = "connections"
V12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
V13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
V11 = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1)
V10 = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1)
DIRECT = "- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}"
ALPN = "alpn_protocols: [h2, http/1.1]"
LOG = (
    "%PROTOCOL% %RESPONSE_CODE% sni=%REQUESTED_SERVER_NAME% v=%DOWNSTREAM_TLS_VERSION% c=%DOWNSTREAM_TLS_CIPHER% "
    "sid=%DOWNSTREAM_TLS_SESSION_ID% ls=%DOWNSTREAM_LOCAL_SUBJECT% ldns=%DOWNSTREAM_LOCAL_DNS_SAN% "
    "luri=%DOWNSTREAM_LOCAL_URI_SAN% xfp=%REQ(x-forwarded-proto)% scheme=%REQ(:scheme)% peer=%DOWNSTREAM_PEER_SUBJECT%\n"
)


def main(name: str, common: str = "", context: str = "", *certificates: str) -> dict[str, object]:
    return tls_listener(name, common, context, *certificates, routes=DIRECT, log=LOG)


def ssl_stats(name: str, *names: str) -> tuple[str, ...]:
    return tuple(f"listener.{name}.ssl.{each}" for each in names)


COUNTERS = (
    "handshake", "connection_error", "session_reused", "no_certificate", "fail_verify_no_cert", "fail_verify_error",
    "fail_verify_san", "fail_verify_cert_hash",
)  # fmt: skip

HTTP = tuple(
    f"http.main.downstream_cx_{each}"
    for each in ("total", "active", "ssl_total", "ssl_active", "destroy", "destroy_local", "destroy_remote")
)

BASIC = Setup(
    "tls-basic",
    bootstrap(
        [
            main("main", ALPN),
            tls_listener("app", ALPN, routes=TO_APP),
            main(
                "old",
                "tls_params: {tls_minimum_protocol_version: TLSv1_0, tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-ECDSA-AES128-SHA, ECDHE-ECDSA-AES256-GCM-SHA384]}",
            ),
            main("new", "tls_params: {tls_minimum_protocol_version: TLSv1_3}"),
            main("curves", "tls_params: {ecdh_curves: [P-384]}"),
            main("mine", "", "prefer_client_ciphers: true"),
            main(
                "locked",
                "tls_certificates: [{certificate_chain: {filename: FILE(server-cert.pem)}, private_key: {filename: FILE(server-locked.pem)}, password: {filename: FILE(password)}}]",
            ),
            main("sni", "", "require_sni: true"),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
    CERTIFICATES,
)


@scenario(BASIC)
async def tls_versions(s: Session) -> None:
    """Versions of TLS and the suites that the two agree on; versions that are too old are refused by an alert."""
    async with s.counting(
        *ssl_stats("main", *COUNTERS, "versions.TLSv1.3", "versions.TLSv1.2", "curves.X25519", "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256"),
        "listener.main.downstream_cx_total", "listener.main.downstream_cx_destroy",
        *HTTP, "http.main.downstream_rq_2xx",
    ), s.logging(2, shown=hidden):  # fmt: skip
        for name, versions in {"1.3": V13, "1.2": V12, "1.1": V11, "1.0": V10}.items():
            await get_tls(s, context=client_context(versions=versions), label=name)


@scenario(BASIC)
async def tls_versions_that_are_asked_for(s: Session) -> None:
    """Old versions where the configuration asks for them, and TLS 1.3 alone."""
    for name, versions in {"1.3": V13, "1.2": V12, "1.1": V11, "1.0": V10}.items():
        await get_tls(s, to="old", context=client_context(versions=versions), label=f"old {name}")
        await get_tls(s, to="new", context=client_context(versions=versions), label=f"new {name}")


@scenario(BASIC)
async def tls_suites_by_preference(s: Session) -> None:
    """Whose order of suites counts: the server's for TLS 1.2, the client's among equals and for TLS 1.3."""
    a128, a256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
    chacha = "ECDHE-ECDSA-CHACHA20-POLY1305"
    wanted = "Cipher is"
    for listener in ("main", "mine"):
        for names in (
            f"{a256}:{a128}",
            f"{chacha}:{a128}",
            f"{a128}:{chacha}",
            f"{chacha}:{a256}",
            f"{a256}:{chacha}",
        ):
            await s_client(
                s, listener, "-tls1_2", "-cipher", names, label=f"{listener} {names}", wanted=wanted
            )
        for names in (
            "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
        ):  # fmt: skip
            await s_client(s, listener, "-ciphersuites", names, label=f"{listener} {names}", wanted=wanted)


@scenario(BASIC)
async def tls_groups(s: Session) -> None:
    """Groups of the key exchange: those of the configuration, X25519 and P-256 by default."""
    async with s.counting(
        *ssl_stats("main", "curves.X25519", "curves.P-256", "connection_error"),
        *ssl_stats("curves", "curves.P-384", "connection_error"),
    ):
        for listener in ("main", "curves"):
            for group in ("X25519", "P-256", "P-384"):
                await s_client(
                    s,
                    listener,
                    "-groups",
                    group,
                    label=f"{listener} {group}",
                    wanted="Server Temp Key|Cipher is",
                )


@scenario(BASIC)
async def tls_alpn(s: Session) -> None:
    """The protocol is the server's first that the client offers, and the codec follows it."""
    async with (
        s.counting(
            "http.main.downstream_cx_http1_total",
            "http.main.downstream_cx_http2_total",
            *ssl_stats("main", "handshake"),
        ),
        s.logging(6, shown=hidden),
    ):
        for offered in ((), ("http/1.1",), ("h3",), ("http/1.1", "foo")):
            await get_tls(s, context=client_context(alpn=offered), label=f"offers {'+'.join(offered)}")
        await curl(s, "main", "/", "--http2", label="curl http2")
        await curl(s, "main", "/", "--http1.1", label="curl http1")


@scenario(BASIC)
async def tls_request_to_an_upstream(s: Session) -> None:
    """What an upstream sees of a request that came over TLS."""
    async with s.logging(2, "app"):
        await get_tls(s, "/one", to="app")
        await get_tls(s, "/two", "x-forwarded-proto: http", to="app")


@scenario(BASIC, differs={"garbage": "alerts-of-openssl", "ssh": "alerts-of-openssl"})
async def tls_plain_text(s: Session) -> None:
    """Plain HTTP and garbage where TLS is spoken."""
    async with s.counting(
        *ssl_stats("main", *COUNTERS),
        *HTTP,
        "listener.main.downstream_cx_total",
        "listener.main.downstream_cx_destroy",
    ):
        for label, data in {
            "http": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "garbage": b"\x16\x03\x01\x00\x05hello",
            "ssh": b"SSH-2.0-x\r\n",
        }.items():
            client = await s.connect()
            await client.send(data)
            await client.closed(label)


@scenario(BASIC)
async def tls_client_that_leaves(s: Session) -> None:
    """Clients that leave before the handshake, inside it, and after it."""
    async with s.counting(
        *ssl_stats("main", *COUNTERS),
        *HTTP,
        "listener.main.downstream_cx_total",
        "listener.main.downstream_cx_destroy",
    ):
        client = await s.connect()
        client.close()
        client = await s.connect()
        await client.send(b"\x16\x03\x01\x02\x00\x01")
        client.half_close()
        await client.closed("inside")
        tls = await connect_tls(s)
        assert tls is not None
        tls.close()


@scenario(BASIC)
async def tls_key_with_a_password(s: Session) -> None:
    """A key that is locked, and a listener that requires SNI, which Envoy does not look at."""
    await get_tls(s, to="locked")
    await get_tls(s, to="sni", sni=None, label="no sni")


@scenario(BASIC)
async def tls_many_requests_on_a_connection(s: Session) -> None:
    """Keep-alive, pipelining, and a large body each way, on one connection."""
    s.upstream().script = _big
    client = await connect_tls(s, "app")
    assert client is not None
    await client.send(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    await client.reply("large")
    await client.send(b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
    for n in range(3):
        await client.reply(f"pipelined {n}")


async def _big(call: object) -> None:
    body = await call.body()  # type: ignore[attr-defined]
    size = 3_000_000 if body else 10
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"y" * size)  # type: ignore[attr-defined]


MANY = Setup(
    "tls-many",
    bootstrap(
        [
            main("main", "", "", "rsa", "server", "wild", "plain"),
            main("scan", "", "full_scan_certs_on_sni_mismatch: true", "rsa", "server", "wild", "plain"),
        ]
    ),
    {},
    CERTIFICATES,
)


@scenario(MANY)
async def tls_certificate_by_sni(s: Session) -> None:
    """Of several certificates the one that is asked for by name, and of two the one the client can verify."""
    rsa_only = client_context(versions=V12, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    for listener in ("main", "scan"):
        for sni in (
            "example.com",
            "EXAMPLE.com",
            "www.wild.example",
            "a.b.wild.example",
            "wild.example",
            "plain.example",
            "unknown.example",
            None,
        ):
            await get_tls(s, to=listener, sni=sni, label=f"{listener} {sni}")
        for sni in ("example.com", "www.wild.example", "unknown.example", None):
            await get_tls(s, to=listener, sni=sni, context=rsa_only, label=f"{listener} {sni} rsa")
