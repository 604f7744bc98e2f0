# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Services of gRPC that are named by a URI (``google_grpc``), with and without TLS."""

from __future__ import annotations

from typing import Any

from ..authz import GOOD, HEAD, frame, said
from ..configuration import bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, server_context
from ..upstream import H2Call
from .authz_grpc import authz
from .xds_ads import direct

SUBJECT = "filters"


def calling(name: str, target: str, more: str = "", around: str = "") -> dict[str, Any]:
    google = f"grpc_service: {{timeout: 5s, google_grpc: {{target_uri: '{target}', stat_prefix: {name}{more}}}{around}}}"
    return listener(name, routes="- {match: {prefix: /}, route: {cluster: app}}", filters=authz("", google))


def trusting(authority: str, more: str = "") -> str:
    return f", channel_credentials: {{ssl_credentials: {{root_certs: {{filename: FILE({authority}.pem)}}{more}}}}}"


CLIENT = ", private_key: {filename: FILE(client-key.pem)}, cert_chain: {filename: FILE(client-cert.pem)}"
SETUP = Setup(
    "google_grpc",
    bootstrap(
        [
            calling(
                "main", "127.0.0.1:PORT(authz)", around=", initial_metadata: [{key: x-team, value: mesh}]"
            ),
            calling("named", "dns:///localhost:PORT(authz)"),
            calling("four", "ipv4:127.0.0.1:PORT(authz)"),
            calling("secure", "localhost:PORT(safe)", trusting("root")),
            calling("mutual", "localhost:PORT(mutual)", trusting("root", CLIENT)),
            calling("wrong", "localhost:PORT(safe)", trusting("other")),
            calling("else", "localhost:PORT(other)", trusting("root")),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1", "authz": "h2", "safe": "h2", "mutual": "h2", "other": "h2"},
    CERTIFICATES,
)


def serving(s: Session) -> None:
    async def script(call: H2Call) -> None:
        await call.body()
        fields = dict(call.stream.headers)
        fields[":authority"] = fields[":authority"].rpartition(":")[0]
        hidden = ("user-agent", "grpc-timeout", "grpc-accept-encoding")
        s.see("called", sorted((name, value) for name, value in fields.items() if name not in hidden))
        call.stream.body.clear()
        await call.answer(HEAD, frame(said({})), GOOD)

    for name in ("authz", "safe", "mutual", "other"):
        s.upstream(name).h2_script = script
    s.upstream("safe").tls = server_context("local", alpn=("h2",))
    s.upstream("mutual").tls = server_context("local", alpn=("h2",), is_mutual=True)
    s.upstream("other").tls = server_context("server", alpn=("h2",))


def hide(s: Session) -> None:
    """Google's client also says who it is, and what it can unpack."""
    for name in ("authz", "safe", "mutual", "other"):
        s.upstream(name).seen.clear()


def counters(*names: str) -> list[str]:
    return [
        f"grpc.{name}.streams_{what}"
        for name in names
        for what in ("total", "closed_0", "closed_13", "closed_14")
    ]


@scenario(SETUP)
async def google_grpc_plain(s: Session) -> None:
    """What a call carries, and what is counted of it."""
    serving(s)
    names = ("main", "named", "four")
    async with s.counting(*counters(*names)):
        for name in names:
            await s.get("/", to=name, label=name)
    hide(s)


@scenario(SETUP)
async def google_grpc_tls(s: Session) -> None:
    """The server's certificate has to be the host's, of an authority that is trusted."""
    serving(s)
    names = ("secure", "mutual", "wrong", "else")
    async with s.counting(*counters(*names)):
        for name in names:
            await s.get("/", to=name, label=name)
    hide(s)


ADS = Setup(
    "google_grpc_ads",
    bootstrap(
        (),
        [],
        """
node: {id: node, cluster: cluster}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{google_grpc: {target_uri: 'localhost:PORT(xds)', stat_prefix: ads, channel_credentials: {ssl_credentials: {root_certs: {filename: FILE(root.pem)}}}}}]
  lds_config: {ads: {}, resource_api_version: V3}
""",
    ),
    {"xds": "h2"},
    CERTIFICATES,
    is_early=True,
)


@scenario(ADS)
async def google_grpc_ads(s: Session) -> None:
    """Configuration comes over TLS from a control plane that no cluster leads to."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("xds").tls = server_context("local", alpn=("h2",))
    await plane.asked("lds")
    await plane.update("lds", "l1", direct("main", "one"))
    await plane.live()
    await s.get("/")
    await plane.update("lds", "l2", direct("main", "two"))
    await s.until_stats(lambda stats: stats["listener_manager.listener_in_place_updated"] == 1, "in_place")
    await s.get("/", label="second")
    s.see("asked", plane.requests["lds"])
