# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""What the admin endpoint tells of resources that wait, that were refused, and of who waits for them."""

from __future__ import annotations

import json
import re
from typing import Any

from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, certificate
from .xds_ads import ads, assigned, begin, direct, eds_cluster, rds_listener, routed
from .xds_ecds import ecds, fault, with_filter
from .xds_more import secured

SUBJECT = "xds"

BAD_CLUSTER = "{name: bad, type: EDS, connect_timeout: 1s}"
BAD_MANAGER = "strip_any_host_port: true\nstrip_matching_host_port: true"
_SETUP = ads("xds_dumps", one="h1", two="h1")
DUMPS = Setup("xds_dumps", _SETUP.bootstrap, _SETUP.upstreams, CERTIFICATES, is_early=True)
_WHOLE = (
    "cluster",
    "listener",
    "route_config",
    "failed_configuration",
    "endpoint_config",
    "secret",
    "ecds_filter",
)


def _shape(tree: Any, key: str = "") -> Any:
    """Without times and reasons; of resources their types and names, and whether something is hidden."""
    if isinstance(tree, dict):
        if key in _WHOLE:
            kind = tree["@type"].rpartition(".")[2]
            # Certificates are others in each run.
            whole = re.sub("LS0t[^']*", "<pem>", str(tree))
            return [kind, tree.get("name", tree.get("cluster_name")), *([whole] if kind == "Secret" else [])]
        return {name: _shape(value, name) for name, value in sorted(tree.items())}
    if isinstance(tree, list):
        # Envoy shows a refused listener a second time, without its name.
        kept = [each for each in tree if not isinstance(each, dict) or list(each) != ["error_state"]]
        return sorted((_shape(each) for each in kept), key=str)
    return "..." if key in ("last_updated", "last_update_attempt", "details") else tree


async def dumped(s: Session, label: str) -> None:
    page = await s.proxy.admin("GET", "/config_dump?include_eds")
    for each in json.loads(page.body)["configs"]:
        kind = each.pop("@type").rpartition(".")[2]
        # Of a secret that it refuses Envoy shows what it does not use (docs/envoy-differences.md).
        if kind != "BootstrapConfigDump" and (label, kind) != ("refused", "SecretsConfigDump"):
            s.see(f"{label} {kind}", _shape(each))


async def unready(s: Session, label: str, query: str = "") -> None:
    page = await s.proxy.admin("GET", f"/init_dump{query}")
    dumps = json.loads(page.body).get("unready_targets_dumps", [])
    # The number is a hash of the listener.
    found = {each["name"].rpartition(" ")[0]: sorted(each.get("target_names", ())) for each in dumps}
    s.see(f"init {label}", found)


@scenario(DUMPS)
async def xds_dump_states(s: Session) -> None:
    """Everything waits, then all is there, then all is refused."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.asked("cds")
    await unready(s, "cds")
    await plane.update("cds", "c1", eds_cluster("app"), eds_cluster("cold"))
    await plane.asked("eds")
    await unready(s, "eds")
    await dumped(s, "eds")
    await plane.update("eds", "e1", assigned("app", "one"), assigned("cold", "two"))
    await plane.asked("lds")
    await plane.send("lds", "l1", rds_listener(), secured("1"), with_filter(name="ext"))
    await plane.asked("rds")
    await plane.asked("sds")
    await plane.asked("ecds")
    await unready(s, "lds")
    await dumped(s, "lds")
    await plane.update("rds", "r1", routed("routes", "app"))
    await plane.update("sds", "s1", f"{{name: cert, tls_certificate: {certificate('server')}}}")
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()
    await unready(s, "live")
    await dumped(s, "live")
    await plane.update("cds", "c2", eds_cluster("app"), eds_cluster("cold"), BAD_CLUSTER)
    bad = "{address: {socket_address: {address: nowhere, port_value: 1}}}"
    await plane.update(
        "eds", "e2", f"{{cluster_name: app, endpoints: [{{lb_endpoints: [{{endpoint: {bad}}}]}}]}}"
    )
    await plane.update(
        "rds", "r2", "{name: routes, virtual_hosts: [{name: a, domains: ['*']}, {name: b, domains: ['*']}]}"
    )
    await plane.update(
        "sds",
        "s2",
        "{name: cert, tls_certificate: {certificate_chain: {inline_string: garbage}, private_key: {inline_string: garbage}}}",
    )
    await plane.update("ecds", "f2", ecds(fault(99)))
    await plane.update(
        "lds", "l2", rds_listener(), secured("1"), with_filter(name="ext"), direct("bad", "x", BAD_MANAGER)
    )
    await dumped(s, "refused")
    await unready(s, "refused")


@scenario(DUMPS)
async def xds_dump_warming(s: Session) -> None:
    """A cluster and a listener that are to take the place of others wait; the others serve."""
    plane = await begin(s)
    await plane.send("cds", "c2", eds_cluster("app", ", alt_stat_name: other"), eds_cluster("cold"))
    await plane.asked("eds", 2)
    await plane.send("lds", "l2", rds_listener(routes="more"))
    await plane.asked("rds", 2)
    # The routes are asked for while the update is still being taken.
    await s.until_stats(
        lambda stats: (
            stats.get("listener_manager.total_listeners_warming") == 1
            and stats.get("listener_manager.lds.update_success", 0) >= 2
        ),
        r"listener_manager\.(total_listeners_warming|lds\.update_success)",
    )
    await dumped(s, "warming")
    await unready(s, "warming")
    for query in ("?mask=listener", "?mask=cluster", "?mask=", "?mask=listener,x"):
        await unready(s, query, query)
    for query in (
        "resource=dynamic_warming_clusters",
        "resource=dynamic_listeners&mask=name,warming_state.version_info",
    ):
        page = await s.proxy.admin("GET", f"/config_dump?{query}")
        s.see(query, _shape(json.loads(page.body)))
