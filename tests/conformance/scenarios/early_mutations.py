# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""early_header_mutation_extensions: headers that change before anything else looks at them."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario

KIND = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


def early(*lists: str) -> str:
    entries = [f'{{name: early, typed_config: {{"@type": {KIND}, mutations: [{each}]}}}}' for each in lists]
    return f"early_header_mutation_extensions: [{', '.join(entries)}]\n"


def append(name: str, value: str, action: str = "", more: str = "") -> str:
    chosen = f", append_action: {action}" if action else ""
    return f"{{append: {{header: {{key: {name}, value: '{value}'}}{chosen}{more}}}}}"


KINDS = early(
    ", ".join(
        [
            append("x-add", "%REQ(x-one)%"),
            append("x-add", "<%REQ(x-add)%>"),
            append("x-absent", "a", "ADD_IF_ABSENT"),
            append("x-absent", "b", "ADD_IF_ABSENT"),
            append("x-over", "c", "OVERWRITE_IF_EXISTS_OR_ADD"),
            append("x-exists", "d", "OVERWRITE_IF_EXISTS"),
            append("x-empty", "%REQ(x-none)%"),
            append("x-kept", "%REQ(x-none)%", more=", keep_empty_value: true"),
            append("user-agent", "early"),
            "{remove: x-gone}",
            "{remove: X-Upper}",
            "{remove_on_match: {key_matcher: {prefix: x-drop-}}}",
            "{remove_on_match: {key_matcher: {suffix: -CASE, ignore_case: true}}}",
            "{remove_on_match: {key_matcher: {safe_regex: {regex: 'x-[0-9]+'}}}}",
        ]
    ),
    append("x-second", "%REQ(x-over)% %REQ(x-absent)%"),
)
OPERATORS = early(
    ", ".join(
        append(f"x-{n}", value, more=", keep_empty_value: true")
        for n, value in enumerate(
            (
                "%PROTOCOL%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(:path)% %REQ(:authority)%", "%ROUTE_NAME%",
                "%REQ(x-forwarded-proto)%", "%REQ(x-request-id)%", "%RESPONSE_CODE%", "%UPSTREAM_CLUSTER%", "%%",
                "%REQ(connection)%", "%REQ(te)%", "%STREAM_ID%", "%ACCESS_LOG_TYPE%", "%REQ(x-two)%",
            )
        )
    )
)  # fmt: skip
OWN = early(
    ", ".join(
        [
            append("x-forwarded-for", "7.7.7.7"),
            append("x-envoy-max-retries", "3"),
            append("x-envoy-internal", "true"),
            append("x-request-id", "mine", "OVERWRITE_IF_EXISTS_OR_ADD"),
            append("x-forwarded-proto", "https", "OVERWRITE_IF_EXISTS_OR_ADD"),
            append("te", "gzip"),
            append("x-route", "%REQ(x-choose)%"),
        ]
    )
)
ROUTES = """
- {match: {prefix: /, headers: [{name: x-route, string_match: {exact: here}}]}, direct_response: {status: 201}}
- {match: {prefix: /}, route: {cluster: app}}
"""
SETUP = Setup(
    "early-mutations",
    bootstrap(
        [
            listener("kinds", KINDS, routes=ROUTES),
            listener("operators", OPERATORS, routes=ROUTES),
            listener("path", early("{remove: ':path'}"), routes=ROUTES),
            listener("scheme", early("{remove_on_match: {key_matcher: {prefix: ':sch'}}}"), routes=ROUTES),
            listener("own", OWN, routes=ROUTES),
            listener("edge", OWN + "use_remote_address: true\n", routes=ROUTES),
            listener(
                "normal", OPERATORS + "normalize_path: true\nstrip_any_host_port: true\n", routes=ROUTES
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def early_mutation_kinds(s: Session) -> None:
    """Append with each action, remove, remove_on_match, one after the other."""
    await s.get("/", to="kinds", label="bare")
    await s.get(
        "/", "x-one: 1", "x-add: 2", "x-absent: 3", "x-over: 4", "x-over: 5", "x-exists: 6", "x-gone: 7",
        "X-Upper: 8", "x-drop-a: 9", "x-drop-b: 10", "x-drop: 11", "x-some-case: 12", "x-Other-Case: 13", "x-42: 14",
        "x-4a: 15", "user-agent: client", to="kinds",
    )  # fmt: skip


@scenario(SETUP)
async def early_mutation_operators(s: Session) -> None:
    """What is known at that time: the request as it came, already normalised."""
    for to in ("operators", "normal"):
        await s.get("/a/../b", "x-two: 1", "x-two: 2", "te: trailers", "x-forwarded-for: 1.2.3.4", to=to)
        await s.http("GET /a//b HTTP/1.1\r\nhost: A:80\r\n\r\n", to)


@scenario(SETUP)
async def early_mutation_of_the_proxys_own_headers(s: Session) -> None:
    """What the connection manager does comes afterwards; routes see what is left."""
    for to in ("own", "edge"):
        async with s.logging(3, to):
            await s.get("/", to=to)
            await s.get("/", "x-forwarded-for: 1.2.3.4", "x-request-id: theirs", to=to)
            await s.get("/", "x-choose: here", to=to)


@scenario(SETUP)
async def early_mutation_takes_away_what_is_needed(s: Session) -> None:
    """Without its path or scheme."""
    for to in ("path", "scheme"):
        async with s.logging(1, to):
            await s.get("/", to=to, label=to)
