"""Active health checks over TLS: the scheme, the protocols that are offered, the socket that is chosen."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, server_context
from .health_checks import Host, http
from .tls_upstream import CA, socket

SUBJECT = "upstream"
TIMES = (
    "timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, "
    "http_health_check: {path: /healthz}"
)


def checked(name: str, fields: str = "") -> dict[str, Any]:
    made = cluster(name, name, extra=f"health_checks: [{{{TIMES}{fields}}}]")
    made["transport_socket"] = socket(CA)
    return made


def matched(name: str) -> dict[str, Any]:
    """A cluster whose socket for ordinary requests is refused by everybody, and one for checks."""
    made = checked(name, ", transport_socket_match_criteria: {check: yes}")
    made["transport_socket_matches"] = [
        {"name": "checks", "match": {"check": True}, "transport_socket": socket(CA)},
    ]
    made["transport_socket"] = socket("validation_context: {trusted_ca: {filename: FILE(other.pem)}}")
    return made


TLS = Setup(
    "health_tls",
    bootstrap(
        [listener("main", routes="[{match: {prefix: /}, route: {cluster: plain}}]")],
        [
            checked("plain"),
            checked("offering", ", tls_options: {alpn_protocols: [foo, http/1.1]}"),
            matched("matched"),
        ],
    ),
    {"plain": "h1", "offering": "h1", "matched": "h1"},
    CERTIFICATES,
)


@scenario(TLS)
async def health_over_tls(s: Session) -> None:
    """Hands are shaken as the cluster does, or as the check wants it."""
    for name in ("plain", "offering", "matched"):
        s.upstream(name).tls = server_context(alpn=("foo",) if name == "offering" else ())
        host = Host(s, name, http())
        await host.until(healthy=True)
        host.asked()
        # The first one may have been late: the server comes up behind the proxy.
        last = s.upstream(name).handshakes[-1]
        s.see(f"{name} handshake", {key: last.get(key) for key in ("sni", "version", "cipher", "alpn")})
        stats = await s.counters(rf"^cluster\.{name}\.ssl\.(connection_error|fail_verify_error|handshake)$")
        s.see(f"{name} ssl", {stat: bool(value) for stat, value in stats.items()})
    host.end()
