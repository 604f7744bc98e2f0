# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""What is told of TLS: to scripts, to routes, by the admin API and the stats."""

from __future__ import annotations

import json
import re
import socket
import ssl

import trio

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, client_context, connect_tls, get_tls, pki, tls_listener

SUBJECT = "connections"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
NAMES = (
    "peerCertificatePresented peerCertificateValidated uriSanLocalCertificate dnsSansLocalCertificate uriSanPeerCertificate "
    "dnsSansPeerCertificate oidsPeerCertificate oidsLocalCertificate sha256PeerCertificateDigest serialNumberPeerCertificate issuerPeerCertificate "
    "subjectPeerCertificate subjectLocalCertificate urlEncodedPemEncodedPeerCertificate urlEncodedPemEncodedPeerCertificateChain validFromPeerCertificate "
    "expirationPeerCertificate sessionId ciphersuiteId ciphersuiteString tlsVersion"
)
SCRIPT = (
    "function envoy_on_request(h)\n"
    "  local ssl = h:connection():ssl()\n"
    "  if ssl == nil then h:respond({[':status'] = '200'}, 'none') return end\n"
    "  local out = {}\n"
    f"  for name in ('{NAMES}'):gmatch('%S+') do\n"
    "    local value = ssl[name](ssl)\n"
    "    if type(value) == 'table' then value = table.concat(value, ',') end\n"
    "    out[#out + 1] = name .. '=' .. tostring(value)\n"
    "  end\n"
    "  local parsed = ssl:parsedSubjectPeerCertificate()\n"
    "  if parsed then out[#out + 1] = parsed:commonName() .. '|' .. table.concat(parsed:organizationName(), ',') end\n"
    "  out[#out + 1] = h:streamInfo():downstreamSslConnection():tlsVersion()\n"
    "  h:respond({[':status'] = '200'}, table.concat(out, '\\n'))\n"
    "end\n"
)
ROUTES = """
- {match: {prefix: /, tls_context: {presented: true, validated: true}}, direct_response: {status: 200, body: {inline_string: good}}}
- {match: {prefix: /, tls_context: {presented: true, validated: false}}, direct_response: {status: 200, body: {inline_string: shown}}}
- {match: {prefix: /, tls_context: {presented: false}}, direct_response: {status: 200, body: {inline_string: nobody}}}
"""
UNTRUSTED = (
    "validation_context: {trusted_ca: {filename: FILE(root.pem)}, trust_chain_verification: ACCEPT_UNTRUSTED}"
)
SETUP = Setup(
    "tls-facts",
    bootstrap(
        [
            tls_listener(
                "lua",
                UNTRUSTED,
                "",
                routes="- {match: {prefix: /}, direct_response: {status: 200}}",
                filters=json.dumps(
                    [
                        {
                            "name": "lua",
                            "typed_config": {"@type": LUA, "default_source_code": {"inline_string": SCRIPT}},
                        }
                    ]
                ),
            ),
            tls_listener("main", UNTRUSTED, "", "server", "rsa", routes=ROUTES),
            tls_listener(
                "named",
                "tls_certificates: []\ntls_certificate_sds_secret_configs: [{name: own}]\nvalidation_context_sds_secret_config: {name: trust}",
                "",
                routes=ROUTES,
            ),
        ],
        extra="",
    ),
    {},
    CERTIFICATES,
)
SETUP.bootstrap["static_resources"]["secrets"] = [
    {
        "name": "own",
        "tls_certificate": {
            "certificate_chain": {"filename": "FILE(wild-cert.pem)"},
            "private_key": {"filename": "FILE(wild-key.pem)"},
        },
    },
    {"name": "trust", "validation_context": {"trusted_ca": {"filename": "FILE(root.pem)"}}},
]


@scenario(SETUP)
async def tls_facts_in_lua(s: Session) -> None:
    """The SSL object of a script, with a client certificate and without."""
    for cert in ("", "client", "foreign"):
        client = await connect_tls(s, "lua", client_context(cert), is_seen=False)
        assert client is not None
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        data, _ = await client.wire.rest()
        s.see(f"script {cert}", pki().hide(data.decode("latin-1").partition("\r\n\r\n")[2]).split("\n"))


@scenario(SETUP)
async def tls_facts_in_routes(s: Session) -> None:
    """RouteMatch.tls_context."""
    for cert in ("", "client", "foreign"):
        await get_tls(s, context=client_context(cert), label=f"route {cert}")


def _certs(text: str) -> object:
    found = json.loads(text)["certificates"]
    for context in found:
        for each in (*context["ca_cert"], *context["cert_chain"]):
            each["path"] = each["path"].rpartition("/")[2]
            each["days_until_expiration"] = each["days_until_expiration"].isdigit()
            each["serial_number"] = pki().hide(each["serial_number"])
    return sorted(found, key=json.dumps)


@scenario(SETUP)
async def tls_facts_of_certificates(s: Session) -> None:
    """/certs, and when certificates expire."""
    await s.admin("GET /certs", body=_certs)
    stats = await s.counters(r"ssl\.certificate\.")
    s.see("expiry", {key: value for key, value in sorted(stats.items()) if not re.search("unnamed_ca", key)})
    s.see("authorities", sorted(key for key in stats if re.search("unnamed_ca", key)))
    days = await s.counters(r"days_until_first_cert")
    s.see("days", [0 < value < 20000 for value in days.values()])


@scenario(SETUP)
async def tls_facts_of_resumed_sessions(s: Session) -> None:
    """A session that a client resumes, and what is still known of the client."""
    await s.quiet()
    context = client_context("client")
    session = None
    names = ("handshake", "session_reused", "no_certificate")
    async with s.counting(*(f"listener.main.ssl.{each}" for each in names)):
        for label in ("first", "second"):
            session = await _resume(s, context, session, label)


async def _resume(s: Session, context: object, session: object, label: str) -> object:
    def run() -> tuple[object, bool, bytes]:
        assert isinstance(context, ssl.SSLContext)
        plain = socket.create_connection(("127.0.0.1", s.proxy.ports["main"]), timeout=5)
        tls = context.wrap_socket(plain, server_hostname="example.com", session=session)  # type: ignore[arg-type]
        with tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            data = tls.recv(65536)
            return tls.session, bool(tls.session_reused), data

    kept, reused, data = await trio.to_thread.run_sync(run)
    s.see(label, {"resumed": reused, "body": data.partition(b"\r\n\r\n")[2].decode()})
    return kept
