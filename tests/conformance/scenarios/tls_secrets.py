# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Secrets: in the bootstrap, in files, and changed while connections live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..configuration import bootstrap, cluster, listener, parse
from ..endpoints import move
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, DOWNSTREAM, certificate, client_context, connect_tls, get_tls, server_context
from .tls_downstream import DIRECT, V12
from .tls_upstream import socket

SUBJECT = "connections"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
LOG = "%RESPONSE_CODE% ls=%DOWNSTREAM_LOCAL_SUBJECT%\n"


def secret(name: str, kind: str, value: str, version: str = "1") -> str:
    """A DiscoveryResponse with one secret."""
    return f'version_info: "{version}"\nresources:\n- "@type": {SECRET}\n  name: {name}\n  {kind}: {value}\n'


def file(name: str) -> str:
    return f"{{name: {name}, sds_config: {{path_config_source: {{path: FILE({name}.yaml)}}, resource_api_version: V3}}}}"


def secured(name: str, common: str) -> dict[str, Any]:
    made = listener(name, routes=DIRECT, log=LOG)
    made["stat_prefix"] = name
    typed = {"@type": DOWNSTREAM, "common_tls_context": parse(common)}
    made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": typed}
    return made


class Files(Mapping[str, bytes]):
    """The certificates, and the secrets that name them."""

    _secrets: ClassVar[dict[str, str]] = {
        "cert.yaml": secret("cert", "tls_certificate", certificate("server")),
        "trust.yaml": secret("trust", "validation_context", "{trusted_ca: {filename: FILE(root.pem)}}"),
    }

    def __getitem__(self, name: str) -> bytes:
        found = self._secrets.get(name)
        return CERTIFICATES[name] if found is None else found.encode()

    def __iter__(self) -> Iterator[str]:
        return iter([*CERTIFICATES, *self._secrets])

    def __len__(self) -> int:
        return len(CERTIFICATES) + len(self._secrets)


OWN = f"tls_certificates: [{certificate('server')}]"
STATIC = f"""
secrets:
- {{name: own, tls_certificate: {certificate("wild")}}}
- {{name: peers, validation_context: {{trusted_ca: {{filename: FILE(root.pem)}}}}}}
"""


def setup() -> Setup:
    made = bootstrap(
        [
            secured("static", "tls_certificate_sds_secret_configs: [{name: own}]\nvalidation_context_sds_secret_config: {name: peers}"),
            secured("main", f"tls_certificate_sds_secret_configs: [{file('cert')}]"),
            secured("trust", f"{OWN}\nvalidation_context_sds_secret_config: {file('trust')}"),
            secured("combined", f"{OWN}\ncombined_validation_context: {{default_validation_context: {{match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: client.example}}}}]}}, validation_context_sds_secret_config: {file('trust')}}}"),
            listener("up", routes="- {match: {prefix: /}, route: {cluster: app}}"),
        ],
        [{**cluster("app", "app"), "transport_socket": socket(f"validation_context_sds_secret_config: {file('trust')}")}],
    )  # fmt: skip
    made["static_resources"].update(parse(STATIC))
    made["node"] = {"id": "id", "cluster": "cluster"}
    return Setup("tls-secrets", made, {"app": "h1"}, Files())


SECRETS = setup()


async def put(s: Session, name: str, text: str) -> None:
    """Move a secret into place and wait until it was looked at."""
    attempt = f"sds.{name}.update_attempt"
    before = (await s.counters(f"^{attempt}$"))[attempt]
    move(s, f"{name}.yaml", text)
    await s.until_stats(lambda stats: stats[attempt] > before, f"^{attempt}$")


COUNTERS = tuple(
    f"sds.cert.{each}"
    for each in (
        "update_attempt",
        "update_failure",
        "update_rejected",
        "update_success",
        "key_rotation_failed",
    )
)


@scenario(SECRETS)
async def tls_secrets_of_the_bootstrap(s: Session) -> None:
    """Certificates and authorities by name."""
    for cert in ("", "client", "foreign"):
        await get_tls(s, to="static", context=client_context(cert, versions=V12), label=f"static {cert}")


@scenario(SECRETS)
async def tls_secrets_of_files(s: Session) -> None:
    """From files; a default is merged with what comes."""
    await get_tls(s, label="main")
    for cert in ("", "client", "nosan", "foreign"):
        context = client_context(cert, versions=V12)
        await get_tls(s, to="trust", context=context, label=f"trust {cert}")
        await get_tls(s, to="combined", context=context, label=f"combined {cert}")
    s.upstream().tls = server_context()
    await s.get(to="up", label="up")


@scenario(SECRETS)
async def tls_secret_is_changed(s: Session) -> None:
    """New connections take the new certificate, old ones live on; what is wrong is refused, and the old stays."""
    async with s.counting(*COUNTERS):
        await _change(s)
    await put(s, "cert", secret("cert", "tls_certificate", certificate("server"), "6"))


async def _change(s: Session) -> None:
    old = await connect_tls(s)
    assert old is not None
    await put(s, "cert", secret("cert", "tls_certificate", certificate("wild"), "2"))
    await get_tls(s, label="new")
    await old.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await old.reply("old")
    pair = (
        "{certificate_chain: {filename: FILE(server-cert.pem)}, private_key: {filename: FILE(wild-key.pem)}}"
    )
    await put(s, "cert", secret("cert", "tls_certificate", pair, "3"))
    await get_tls(s, label="bad pair")
    await put(s, "cert", secret("other", "tls_certificate", certificate("server"), "4"))
    await get_tls(s, label="other name")
    await put(s, "cert", "resources: [{}]")
    await get_tls(s, label="garbage")
    await put(s, "cert", secret("cert", "tls_certificate", certificate("rsa"), "5"))
    await get_tls(s, label="again")


@scenario(SECRETS)
async def tls_authority_is_changed(s: Session) -> None:
    """Whom to trust, towards clients and upstreams."""
    s.upstream().tls = server_context()
    await put(
        s, "trust", secret("trust", "validation_context", "{trusted_ca: {filename: FILE(other.pem)}}", "2")
    )
    for cert in ("client", "foreign"):
        await get_tls(s, to="trust", context=client_context(cert, versions=V12), label=f"trust {cert}")
    await s.get(to="up", label="up")
    await put(
        s, "trust", secret("trust", "validation_context", "{trusted_ca: {filename: FILE(root.pem)}}", "3")
    )
    await s.get(to="up", label="up again")
