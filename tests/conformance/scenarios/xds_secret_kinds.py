"""A secret that holds something else than what is wanted of it."""

from __future__ import annotations

from ..lab import Session
from ..scenario import scenario
from ..tls import certificate, client_context, get_tls
from .xds_ads import rds_listener, stats
from .xds_contents import SECRETS, _sds, _secured, begin_whole

SUBJECT = "xds"

AUTHORITY = "{name: cert, validation_context: {trusted_ca: {filename: FILE(root.pem)}}}"
#: Clients whom Envoy lets in then, and what is said to the control plane.
DIFFERS = ("of another kind, foreign reply", "of another kind, nobody reply", "requests", "stats")


@scenario(SECRETS, differs=dict.fromkeys(DIFFERS, "secret-of-another-kind"))
async def xds_secret_of_another_kind(s: Session) -> None:
    """A certificate where an authority is wanted lets nobody in who was not let in before."""
    plane = await begin_whole(s)
    common = (
        f"tls_certificates: [{certificate('server')}]\nvalidation_context_sds_secret_config: {_sds('cert')}"
    )
    made = _secured("secured", common)
    made["filter_chains"][0]["transport_socket"]["typed_config"]["require_client_certificate"] = True
    await plane.update("lds", "l2", rds_listener(), made)
    await plane.asked("sds")
    await plane.update("sds", "s1", AUTHORITY)
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()

    async def ask(label: str) -> None:
        for name in ("client", "foreign"):
            await get_tls(s, to="secured", context=client_context(name), label=f"{label}, {name}")
        await get_tls(s, to="secured", label=f"{label}, nobody")

    await ask("first")
    await plane.update("sds", "s2", f"{{name: cert, tls_certificate: {certificate('server')}}}")
    await ask("of another kind")
    await plane.update("sds", "s3", AUTHORITY)
    await ask("again")
    s.see("requests", list(plane.requests["sds"]))
    await stats(s, r"^sds\.cert\.")
