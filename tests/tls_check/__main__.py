# ruff: noqa: E501  (a listener is a line of a table)
"""Scans the TLS listeners of one file on sidecar and on Envoy, and prints where they differ.

``python -m tests.tls_check [--all]``; status 1 when anything differs.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

import trio

from tests.conformance.proxy import ENVOY, SIDECAR, Proxy, run_directory
from tests.conformance.scenario import Setup
from tests.conformance.tls import CERTIFICATES, certificate, pki, tls_listener
from tests.support.oracle_binary import envoy_binary
from tests.tls_check.scan import scan

__all__ = ["check", "main"]

_DIRECT = "- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}"
_OLD = "tls_params: {tls_minimum_protocol_version: TLSv1_0, cipher_suites: [ALL]}"


def _setup() -> Setup:
    listeners = [
        tls_listener("defaults", routes=_DIRECT),
        tls_listener("rsa", "alpn_protocols: [h2, http/1.1]", "", "rsa", routes=_DIRECT),
        tls_listener("many", "alpn_protocols: [http/1.1, h2]", "", "server", "rsa", "wild", routes=_DIRECT),
        tls_listener("old", _OLD, "", "server", "rsa", routes=_DIRECT),
        tls_listener("new", "tls_params: {tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [P-256, P-384]}", routes=_DIRECT),
        tls_listener("client", "tls_params: {tls_maximum_protocol_version: TLSv1_2}", "prefer_client_ciphers: true", routes=_DIRECT),
        tls_listener("stapled", f"tls_certificates: [{_stapled('good.der')}]", "ocsp_staple_policy: MUST_STAPLE", routes=_DIRECT),
        tls_listener("stale", f"tls_certificates: [{_stapled('old.der')}]", "ocsp_staple_policy: STRICT_STAPLING", routes=_DIRECT),
        tls_listener("mutual", "validation_context: {trusted_ca: {filename: FILE(root.pem)}}", "disable_stateless_session_resumption: true", routes=_DIRECT),
        tls_listener("fresh", "", "disable_stateless_session_resumption: true\ndisable_stateful_session_resumption: true", routes=_DIRECT),
    ]  # fmt: skip
    bootstrap = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners},
    }
    return Setup("tls-check", bootstrap, {}, {**CERTIFICATES, **_responses()})


def _stapled(staple: str) -> str:
    return f"{certificate('server')[:-1]}, ocsp_staple: {{filename: FILE({staple})}}}}"


def _responses() -> dict[str, bytes]:
    """OCSP responses for the server: one that is good, and one that was."""
    root, server = pki().root, pki().leaves["server"]
    past = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    return {"good.der": root.ocsp_response(server), "old.der": root.ocsp_response(server, end=past)}


async def check(directory: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """By listener and question what sidecar answers, and Envoy."""
    setup = _setup()
    answers: dict[str, dict[str, dict[str, str]]] = {}
    for kind in (SIDECAR, ENVOY):
        proxy = Proxy(kind, setup, run_directory(directory, kind, setup))
        await proxy.start()
        try:
            for name, port in proxy.ports.items():
                answers.setdefault(name, {})[kind] = await trio.to_thread.run_sync(scan, port)
        finally:
            proxy.stop()
    return {
        name: {question: (found[SIDECAR][question], found[ENVOY][question]) for question in found[SIDECAR]}
        for name, found in answers.items()
    }


def main(arguments: list[str]) -> int:
    """Scan, and print what differs; everything with ``--all``."""
    if envoy_binary() is None:
        print("tls-check needs Envoy: just setup", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="tls-check-") as name:
        found = trio.run(check, Path(name))
    asked = differ = 0
    for listener, answers in found.items():
        for question, (ours, theirs) in answers.items():
            asked += 1
            differ += ours != theirs
            if ours != theirs:
                print(f"{listener}: {question}\n  sidecar: {ours}\n  envoy:   {theirs}")
            elif "--all" in arguments:
                print(f"{listener}: {question}: {ours}")
    print(f"{asked} handshakes with each proxy, {differ} that differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
