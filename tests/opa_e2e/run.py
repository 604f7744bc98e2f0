"""Drives both proxies in front of one OPA, whose plugin answers ``envoy.service.auth.v3.Authorization``.

OPA keeps nothing between requests, so both may ask the same.  policy.rego is what it decides by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from tests.conformance.client import get
from tests.conformance.configuration import bootstrap, cluster, listener
from tests.conformance.lab import Lab, Session
from tests.conformance.proxy import ENVOY, SIDECAR, ProxyFailed
from tests.conformance.scenario import Scenario, Setup
from tests.support import jose
from tests.support.outside import Outcome, Processes, binary, compared, free_ports, relay

_EXT = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3"
_TENANT = f'"@type": {_EXT}.ExtAuthzPerRoute, check_settings: {{context_extensions: {{tenant: t-1}}}}'
ROUTES = f"""
- {{match: {{prefix: /tenant}}, route: {{cluster: app}}, typed_per_filter_config: {{authz: {{{_TENANT}}}}}}}
- {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
_AUTHZ = "envoy.filters.http.ext_authz"
LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    f"%DYNAMIC_METADATA({_AUTHZ}:who)% %DYNAMIC_METADATA({_AUTHZ}:roles)%\n"
)


def _filter(more: str = "") -> str:
    service = "grpc_service: {envoy_grpc: {cluster_name: opa}, timeout: 5s}"
    config = f'"@type": {_EXT}.ExtAuthz, transport_api_version: V3, {service}, {more}'
    return f"- {{name: authz, typed_config: {{{config}}}}}"


_BODY = "with_request_body: {max_request_bytes: 40, allow_partial_message: true"
_SET = "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"
_KNOWN = (
    f"- {{name: set, typed_config: {{'@type': {_SET}, metadata: [{{metadata_namespace: shop, "
    "value: {tier: gold}}]}}\n"
)
SETUP = Setup(
    "opa_e2e",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=_filter(), log=LOG),
            listener("body", routes=ROUTES, filters=_filter(f"{_BODY}}}"), log=LOG),
            listener("bytes", routes=ROUTES, filters=_filter(f"{_BODY}, pack_as_bytes: true}}"), log=LOG),
            listener("strict", routes=ROUTES, filters=_filter("validate_mutations: true"), log=LOG),
            listener(
                "metadata",
                routes=ROUTES,
                filters=_KNOWN + _filter("metadata_context_namespaces: [shop]"),
                log=LOG,
            ),
        ],
        [cluster("app", "app"), cluster("opa", "opa", http2=True)],
    ),
    {"app": "h1", "opa": "raw"},
)
_SECRET = b"a secret of this test"


def _bearer(user: str) -> str:
    return f"Bearer {jose.token(_SECRET, 'HS256', {'sub': user})}"


_GOOD = f"authorization: {_bearer('ann')}"
_FORGED = f"authorization: Bearer {jose.token(b'another secret of this test', 'HS256', {'sub': 'ann'})}"
#: Path and headers.
GETS = (
    *(
        ("/user/1", _GOOD),
        ("/user/1", _GOOD, "x-secret: s", "x-many: 0", "x-user: eve"),
        ("/user/1", _FORGED),
    ),
    *(("/user/1",), ("/law",), ("/plain",), ("/yes",), ("/yes/../law",), ("/nothing",), ("/fails",)),
    *(
        ("/query?q=one&secret=s&other=o",),
        ("/query",),
        ("/tenant/a?b=c",),
        ("/%zz",),
        ("/law", "x-why: mine"),
    ),
)
#: Bodies, as JSON; one of them is longer than what is sent on.
BODIES = ('{"numbers": [1, 2, 3]}', '{"numbers": []}', "{", '{"numbers": [1], "padding": "' + "." * 60 + '"}')

#: By HTTP/2, on one connection.
USERS, METHODS = ("ann", "bob", "eve"), ("GET", "PUT", "DELETE", "PATCH")
PATHS = ("/shop", "/shop/a%20b", "/other")

STATS = tuple(f"http.main.ext_authz.{name}" for name in ("ok", "denied", "error", "failure_mode_allowed"))


def _post(body: str) -> str:
    fields = f"host: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"POST /body HTTP/1.1\r\n{fields}\r\n\r\n{body}"


async def _gets(s: Session) -> None:
    """Answers of every kind, with stats and logs."""
    async with s.counting(*STATS), s.logging(len(GETS)):
        for path, *fields in GETS:
            await s.get(path, *fields, label=f"{path} {' '.join(fields)[:30]}")


async def _others(s: Session) -> None:
    """The same where mutations are validated; what filters in front have found out."""
    for path, *fields in GETS:
        await s.get(path, *fields, to="strict", label=f"strict {path} {' '.join(fields)[:30]}")
    for path in ("/metadata/a/b", "/metadata//%2e%2e/c?d=/e", "/other"):
        await s.get(path, to="metadata", label=f"metadata {path}")


async def _users(s: Session) -> None:
    """Who may do what, on one connection of HTTP/2."""
    client = await s.connect_h2()
    for user, method, path in product(USERS, METHODS, PATHS):
        fields = [*get(path, method=method), ("authorization", _bearer(user))]
        await client.request(fields, label=f"{user} {method} {path}")


async def _bodies(s: Session) -> None:
    """Bodies unseen, as text, and as bytes."""
    for to in ("main", "body", "bytes"):
        for body in BODIES:
            await s.http(_post(body), to, label=f"{to} {body[:30]}")


async def run_scenarios(directory: Path) -> Outcome:
    """Both proxies through all of it.  Raises: CannotBuild, ProxyFailed."""
    opa = str(binary("opa"))
    policy = str(Path(__file__).with_name("policy.rego"))
    grpc, http = free_ports(2)
    plugin = "plugins.envoy_ext_authz_grpc"
    command = [opa, "run", "--server", "--disable-telemetry", "--addr", f"127.0.0.1:{http}"]
    for setting in (f"{plugin}.addr=127.0.0.1:{grpc}", f"{plugin}.path=e2e/answer"):
        command += ["--set", setting]
    seen: dict[str, dict[str, Any]] = {ENVOY: {}, SIDECAR: {}}
    with ExitStack() as stack:
        await stack.enter_context(Processes(directory)).run([*command, policy], grpc)
        lab = Lab(directory)
        stack.callback(lab.close)
        for part in (_gets, _others, _users, _bodies):

            async def drive(s: Session, part: Callable[[Session], Awaitable[None]] = part) -> None:
                s.upstream("opa").raw_script = lambda wire: relay(wire, grpc)
                await part(s)

            outcome = await lab.observe(Scenario(part.__name__, "", SETUP, drive, {}, ""), (ENVOY, SIDECAR))
            for kind, observed in outcome.items():
                if isinstance(observed, ProxyFailed):
                    raise observed
                seen[kind].update({f"{part.__name__[1:]}: {label}": each for label, each in observed.items()})
    expected = (
        *("402", "413", "x-sum: 6", "x-tenant: t-1", "reader", "x-tier: gold", "x-from: 127.0.0.1"),
        *("bob may not PUT", "x-path: metadata"),
    )
    # Which of several headers OPA names first is chance: they stand in a Go map.
    return compared(seen, {}, *expected, any_order=True)
