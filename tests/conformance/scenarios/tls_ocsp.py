# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""OCSP stapling: what is handed out with a certificate, who is refused for want of it, and what is counted."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache

import trio

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, certificate, curl, pki, tls_listener
from .tls_downstream import DIRECT, ssl_stats

SUBJECT = "connections"
COUNTERS = (
    "handshake", "connection_error", "ocsp_staple_requests", "ocsp_staple_responses", "ocsp_staple_omitted",
    "ocsp_staple_failed",
)  # fmt: skip
PAST = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)


@cache
def _made() -> dict[str, bytes]:
    """Certificates that demand a response, and responses."""
    found = pki()
    must = found.root.leaf("must", "DNS:example.com", must_staple=True)
    server, rsa = found.leaves["server"], found.leaves["rsa"]
    return {
        "must-cert.pem": must.cert_pem,
        "must-key.pem": must.key_pem,
        "must.der": found.root.ocsp_response(must),
        "must-old.der": found.root.ocsp_response(must, end=PAST),
        "good.der": found.root.ocsp_response(server),
        "old.der": found.root.ocsp_response(server, end=PAST),
        "endless.der": found.root.ocsp_response(server, end=None),
        "revoked.der": found.root.ocsp_response(server, is_good=False),
        "rsa.der": found.root.ocsp_response(rsa),
    }


class Files(Mapping[str, bytes]):
    """The certificates of all, and those."""

    def __getitem__(self, name: str) -> bytes:
        return {**CERTIFICATES, **_made()}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*CERTIFICATES, *_made()])

    def __len__(self) -> int:
        return len(CERTIFICATES) + len(_made())


def _stapled(name: str, staple: str = "") -> str:
    return (
        f"{certificate(name)[:-1]}, ocsp_staple: {{filename: FILE({staple}.der)}}}}"
        if staple
        else certificate(name)
    )


def _listener(name: str, policy: str, *certificates: str) -> dict[str, object]:
    return tls_listener(
        name,
        f"tls_certificates: [{', '.join(certificates)}]",
        f"ocsp_staple_policy: {policy}_STAPLING" if policy != "MUST" else "ocsp_staple_policy: MUST_STAPLE",
        routes=DIRECT,
    )


SETUP = Setup(
    "tls-ocsp",
    bootstrap(
        [
            _listener("lenient-good", "LENIENT", _stapled("server", "good")),
            _listener("lenient-old", "LENIENT", _stapled("server", "old")),
            _listener("lenient-endless", "LENIENT", _stapled("server", "endless")),
            _listener("lenient-revoked", "LENIENT", _stapled("server", "revoked")),
            _listener("lenient-none", "LENIENT", _stapled("server")),
            _listener("strict-good", "STRICT", _stapled("server", "good")),
            _listener("strict-old", "STRICT", _stapled("server", "old")),
            _listener("strict-none", "STRICT", _stapled("server")),
            _listener("must-good", "MUST", _stapled("server", "good")),
            _listener("must-old", "MUST", _stapled("server", "old")),
            _listener("demanding-good", "LENIENT", _stapled("must", "must")),
            _listener("demanding-old", "LENIENT", _stapled("must", "must-old")),
            _listener("two", "LENIENT", _stapled("server", "good"), _stapled("rsa", "rsa")),
            _listener("one-of-two", "STRICT", _stapled("server", "good"), _stapled("rsa")),
        ]
    ),
    {},
    Files(),
)  # fmt: skip


async def status(s: Session, to: str, *arguments: str, label: str = "") -> None:
    """What ``openssl s_client`` says of the response."""
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{s.proxy.ports[to]}",
        "-servername",
        "example.com",
    ]
    done = await trio.run_process(
        [*command, *arguments], stdin=b"", capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    wanted = (
        r"OCSP response:|OCSP Response Status|Cert Status|Next Update|alert number|^New, |no peer certificate"
    )
    lines = done.stdout.decode("latin-1").splitlines()
    shown = [
        re.sub(r"^.*(SSL alert number)", r"\1", line.strip()) for line in lines if re.search(wanted, line)
    ]
    s.see(label or to, shown)


@scenario(SETUP)
async def tls_ocsp_by_policy(s: Session) -> None:
    """Every policy with a response that is good, one that is not any more, and none, over TLS 1.2 and 1.3."""
    for to in (
        "lenient-good", "lenient-old", "lenient-endless", "lenient-revoked", "lenient-none", "strict-good", "strict-old", "strict-none",
        "must-good", "must-old", "demanding-good", "demanding-old",
    ):  # fmt: skip
        async with s.counting(*ssl_stats(to, *COUNTERS)):
            await status(s, to, "-status", "-tls1_2", label=f"{to} 1.2")
            await status(s, to, "-status", "-tls1_3", label=f"{to} 1.3")


@scenario(SETUP)
async def tls_ocsp_is_not_asked_for(s: Session) -> None:
    """A client that does not ask is let in whatever the policy, and not counted."""
    for to in ("lenient-good", "strict-old", "must-old", "demanding-old"):
        async with s.counting(*ssl_stats(to, *COUNTERS)):
            await status(s, to, "-tls1_2", label=f"{to} 1.2")
            await status(s, to, "-tls1_3", label=f"{to} 1.3")


@scenario(SETUP)
async def tls_ocsp_after_a_retry(s: Session) -> None:
    """A client that has to send another key share has asked once."""
    async with s.counting(*ssl_stats("lenient-good", *COUNTERS)):
        await status(s, "lenient-good", "-status", "-tls1_3", "-groups", "P-521:P-256", label="retried")


@scenario(SETUP)
async def tls_ocsp_of_several_certificates(s: Session) -> None:
    """The response is that of the certificate that is shown."""
    for to in ("two", "one-of-two"):
        async with s.counting(*ssl_stats(to, *COUNTERS)):
            await status(
                s, to, "-status", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", label=f"{to} ecdsa"
            )
            await status(
                s, to, "-status", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", label=f"{to} rsa"
            )
            await status(
                s, to, "-status", "-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256", label=f"{to} rsa 1.3"
            )


@scenario(SETUP)
async def tls_ocsp_with_curl(s: Session) -> None:
    """``--cert-status`` verifies the response's signature and time."""
    for to in ("lenient-good", "lenient-revoked", "lenient-none", "must-good", "must-old"):
        await curl(s, to, "/", "--cert-status", label=to)


@scenario(SETUP)
async def tls_ocsp_in_the_admin(s: Session) -> None:
    """/certs tells of the responses, and a gauge when the first ends."""

    def shown(text: str) -> object:
        found = [
            each.get("ocsp_details", {})
            for context in json.loads(text)["certificates"]
            for each in context["cert_chain"]
        ]
        for each in found:
            if each.get("expiration", "").startswith("202") and each["expiration"][:4] != "2021":
                each["expiration"] = "now"
        return sorted(found, key=json.dumps)

    await s.admin("GET /certs", body=shown)
    s.see("gauge", await s.counters(r"server\.seconds_until_first_ocsp"))
