# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.basic_auth: users and passwords, of the filter and of routes."""

from __future__ import annotations

import base64
import hashlib

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3"
LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.basic_auth)% %DYNAMIC_METADATA(basic)%\n"
)


def entry(user: str, password: str) -> str:
    """A line of htpasswd."""
    return f"{user}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode('latin-1')).digest()).decode()}"


def users(*lines: str) -> str:
    return "users: {inline_string: " + '"' + "\\n".join(lines) + '"}'


USERS = users(
    "# a comment", "", entry("ann", "secret"), entry("bob", "a:b"), entry("eve", ""), entry("zoe x", "\xe4")
)
OTHERS = users(entry("ann", "other"), entry("zed", "z"))


def basic(fields: str) -> str:
    return f'- {{name: basic, typed_config: {{"@type": {EXT}.BasicAuth, {fields}}}}}'


def of_route(path: str, fields: str) -> str:
    return f"""
- match: {{prefix: {path}}}
  route: {{cluster: app}}
  typed_per_filter_config: {{basic: {{"@type": {EXT}.BasicAuthPerRoute, {fields}}}}}"""


OFF = """
- match: {prefix: /off}
  route: {cluster: app}
  typed_per_filter_config: {basic: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}"""
ROUTES = (
    of_route("/own", OTHERS)
    + of_route("/realm", OTHERS + ", realm: of the route")
    + OFF
    + "\n- {match: {prefix: /}, route: {cluster: app}}\n"
)
SETUP = Setup(
    "basic_auth",
    bootstrap(
        [
            listener(
                "main", routes=ROUTES, filters=basic(USERS + ", forward_username_header: X-User"), log=LOG
            ),
            listener(
                "told",
                routes=ROUTES,
                filters=basic(USERS + ", emit_dynamic_metadata: true, realm: 'a \"realm\" \\ x'"),
                log=LOG,
            ),
            listener(
                "missing",
                routes=ROUTES,
                filters=basic(
                    USERS
                    + ", allow_missing: true, emit_dynamic_metadata: true, forward_username_header: x-user"
                ),
                log=LOG,
            ),
            listener(
                "header",
                routes=ROUTES,
                filters=basic(USERS + ", authentication_header: X-Auth, forward_username_header: x-auth"),
                log=LOG,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
STATS = tuple(
    f"http.{to}.basic_auth.{name}"
    for to in ("main", "told", "missing", "header")
    for name in ("allowed", "denied")
)


def credentials(text: str, scheme: str = "Basic ", *, padded: bool = True) -> str:
    found = base64.b64encode(text.encode("latin-1")).decode()
    return scheme + (found if padded else found.rstrip("="))


#: Values of the header, None for none.
CASES = (
    None,
    "",
    "Basic",
    "Basic ",
    "Bearer abc",
    credentials("ann:secret"),
    credentials("ann:secret", "basic "),
    credentials("ann:secret", "BASIC "),
    credentials("ann:secret", "Basic  "),
    credentials("ann:secret", padded=False),
    credentials("ann:secret") + " ",
    credentials("ann:secret") + "!",
    credentials("ann:secrets"),
    credentials("ann:other"),
    credentials("Ann:secret"),
    credentials("annsecret"),
    credentials("ann:"),
    credentials(":secret"),
    credentials("bob:a:b"),
    credentials("eve:"),
    credentials("zoe x:\xe4"),
    credentials("zed:z"),
    "Basic %%%%",
    "Basic YW5uOnNlY3JldB==",
    "Basic YW5uOnNlY3JldA=======",
    "Basic =YW5uOnNlY3JldA==",
    "Basic YW5uOnNl Y3JldA==",
    "Basic YW5u:OnNlY3JldA==",
)


async def ask(s: Session, to: str, path: str = "/a?b", name: str = "authorization") -> None:
    for number, value in enumerate(CASES):
        fields = () if value is None else (f"{name}: {value}",)
        await s.get(path, *fields, "x-user: spoofed", to=to, label=f"{to} {path} {number}")


@scenario(SETUP)
async def basic_auth_credentials(s: Session) -> None:
    """Every kind of header: who is let in, what the others hear, and what the upstream is told."""
    async with s.counting(*STATS), s.logging(len(CASES)):
        await ask(s, "main")


@scenario(SETUP)
async def basic_auth_metadata(s: Session) -> None:
    """The name in dynamic metadata, and a realm with quotes in it."""
    async with s.counting(*STATS), s.logging(len(CASES), "told"):
        await ask(s, "told")


@scenario(SETUP, differs={"upstream app": "name-that-nobody-proved"})
async def basic_auth_allow_missing(s: Session) -> None:
    """Requests without credentials are let in, those with wrong ones are not."""
    async with s.counting(*STATS), s.logging(len(CASES), "missing"):
        await ask(s, "missing")


@scenario(SETUP)
async def basic_auth_of_routes(s: Session) -> None:
    """Users and realms of a route; a route without the filter."""
    async with s.counting(*STATS):
        for to in ("main", "told"):
            for path in ("/own", "/realm", "/off"):
                for who in ("ann:secret", "ann:other", "zed:z"):
                    await s.get(path, f"authorization: {credentials(who)}", to=to, label=f"{to} {path} {who}")


@scenario(SETUP)
async def basic_auth_header(s: Session) -> None:
    """Another header, in which the name is forwarded, too; it comes twice; a long path; bodies; HTTP/2."""
    good, bad = credentials("ann:secret"), credentials("ann:no")
    async with s.counting(*STATS):
        await s.get("/", f"x-auth: {good}", to="header")
        await s.get("/", f"authorization: {good}", to="header")
        await s.get("/", f"authorization: {good}", f"authorization: {bad}", label="good and bad")
        await s.get("/", f"authorization: {bad}", f"authorization: {good}", label="bad and good")
        await s.get("/" + "x" * 400, label="long")
        await s.get("/", "x-envoy-original-path: /original", "x-forwarded-proto: https", label="original")
        await s.get('/a"b\\c', label="quoted")
        await s.get("/", f"x-auth: {good}", f"x-auth: {bad}", to="header", label="twice, good first")
        await s.get("/", f"x-auth: {bad}", f"x-auth: {good}", to="header", label="twice, bad first")
        body = "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n{}\r\nhi"
        await s.http(body.format(""), label="refused body")
        await s.http(body.format(f"authorization: {good}\r\n"), label="body")
        client = await s.connect_h2()
        await client.request(get("/h2"))
        await client.request([*get("/h2"), ("authorization", good)])
        grpc = [*get("/s/m", method="POST"), ("content-type", "application/grpc")]
        await client.request(grpc, label="grpc")
