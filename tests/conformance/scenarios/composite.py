# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Filters behind match trees, and filters that a match tree chooses."""

from __future__ import annotations

from tests.support import yaml_text

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "filters"

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
COMPOSITE = f"{HTTP}.composite.v3"


def action(text: str) -> str:
    """An action that has filters execute; text: its fields."""
    fields = yaml_text.load(text)
    fields["@type"] = f"{COMPOSITE}.ExecuteFilterAction"
    return yaml_text.dump(
        {"name": "composite-action", "typed_config": fields}, default_flow_style=True, width=10**6
    )


def edits(mark: str) -> str:
    """A filter that marks both heads."""
    mutations = (
        f"request_mutations: [{{append: {{header: {{key: x-edited, value: {mark}}}}}}}], "
        f"response_mutations: [{{append: {{header: {{key: x-back, value: {mark}}}}}}}]"
    )
    return (
        f'{{name: {mark}, typed_config: {{"@type": {HTTP}.header_mutation.v3.HeaderMutation, '
        f"mutations: {{{mutations}}}}}}}"
    )


FAULT = f'{{name: f, typed_config: {{"@type": {HTTP}.fault.v3.HTTPFault, abort: {{http_status: 418, percentage: {{numerator: 100}}}}}}}}'
BUFFER = f'{{name: b, typed_config: {{"@type": {HTTP}.buffer.v3.Buffer, max_request_bytes: 5}}}}'
LUA = f'{{name: l, typed_config: {{"@type": {HTTP}.lua.v3.Lua, default_source_code: {{inline_string: "function envoy_on_request(h) h:headers():add(\\"x-lua\\", tostring(#(h:body() and h:body():getBytes(0, h:body():length()) or \\"\\"))) end function envoy_on_response(h) h:headers():add(\\"x-lua-back\\", \\"1\\") end"}}}}}}'
ACTIONS = {
    "edit": f"{{typed_config: {edits('one')}}}",
    "refuse": f"{{typed_config: {FAULT}}}",
    "buffer": f"{{typed_config: {BUFFER}}}",
    "lua": f"{{typed_config: {LUA}}}",
    "chain": f"{{filter_chain: {{typed_config: [{edits('first')}, {edits('second')}]}}}}",
    "named": "{filter_chain_name: both}",
    "never": f"{{typed_config: {edits('never')}, sample_percent: {{default_value: {{numerator: 0}}}}}}",
    "always": f"{{typed_config: {edits('always')}, sample_percent: {{default_value: {{numerator: 100}}}}}}",
}
SKIP = '{name: skip, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter}}'
INPUT = '{name: i, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-choose}}'
RESPONSE = '{name: i, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpResponseHeaderMatchInput, header_name: x-up}}'


def tree(actions: dict[str, str], take: str = INPUT) -> str:
    """A matcher that chooses by the value of a header."""
    entries = ", ".join(f"{name}: {{action: {text.strip()}}}" for name, text in actions.items())
    return f"{{matcher_tree: {{input: {take}, exact_match_map: {{map: {{{entries}}}}}}}}}"


CHOOSE = tree({name: action(text) for name, text in ACTIONS.items()} | {"skip": SKIP})


def delegate(inner: str, matcher: str, name: str = "composed") -> str:
    """A filter behind a tree."""
    return f"""
- name: {name}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher
    extension_config: {inner}
    xds_matcher: {matcher}
"""


CHAINS = f"named_filter_chains: {{both: {{typed_config: [{edits('third')}, {edits('fourth')}]}}}}"
FILTER = f'{{name: composite, typed_config: {{"@type": {COMPOSITE}.Composite, {CHAINS}}}}}'
PLAIN = f'{{name: composite, typed_config: {{"@type": {COMPOSITE}.Composite}}}}'
PER_ROUTE = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute"
OWN = tree({"edit": action(f"{{typed_config: {edits('own')}}}")})
ROUTES = f"""
- match: {{prefix: /own}}
  route: {{cluster: app}}
  typed_per_filter_config: {{composed: {{"@type": {PER_ROUTE}, xds_matcher: {OWN}}}}}
- {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""


def composed(matcher: str) -> str:
    """A composite filter with a tree of its own."""
    return f'- {{name: composed, typed_config: {{"@type": {COMPOSITE}.Composite, {CHAINS}, matcher: {matcher}}}}}\n'


OF_ROUTE = f"{COMPOSITE}.CompositePerRoute"
NAMED = tree(
    {
        "named": action("{filter_chain_name: both}"),
        "nobody": action("{filter_chain_name: nobody}"),
        "skip": SKIP,
    }
)
OWN_ROUTES = f"""
- match: {{prefix: /own}}
  route: {{cluster: app}}
  typed_per_filter_config: {{composed: {{"@type": {OF_ROUTE}, matcher: {OWN}}}}}
- match: {{prefix: /named}}
  route: {{cluster: app}}
  typed_per_filter_config: {{composed: {{"@type": {OF_ROUTE}, matcher: {NAMED}}}}}
- {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
ON_RESPONSE = tree({"mark": action(f"{{typed_config: {edits('late')}}}")}, RESPONSE)
PLAIN_COMPOSED = f'- {{name: composed, typed_config: {{"@type": {COMPOSITE}.Composite, {CHAINS}}}}}\n'
SETUP = Setup(
    "composite",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=delegate(FILTER, CHOOSE)),
            listener("bare", routes=ROUTES, filters=f"- {PLAIN}\n"),
            listener("late", routes=ROUTES, filters=delegate(PLAIN, ON_RESPONSE)),
            listener("skipped", routes=ROUTES, filters=delegate(edits("inner"), tree({"skip": SKIP}))),
            listener(
                "twice",
                routes=ROUTES,
                filters=delegate(FILTER, CHOOSE) + delegate(PLAIN, OWN, "other"),
            ),
            listener("own", routes=OWN_ROUTES, filters=composed(CHOOSE)),
            listener("of_route", routes=OWN_ROUTES, filters=PLAIN_COMPOSED),
            listener("own_late", routes=ROUTES, filters=composed(ON_RESPONSE)),
            listener("both", routes=OWN_ROUTES, filters=delegate(composed(OWN)[2:], CHOOSE)),
            listener("delegate", routes=OWN_ROUTES, filters=delegate(FILTER, CHOOSE)),
        ],
        [cluster("app", "app")],
    ),
    upstreams={"app": "h1"},
)


async def ask(s: Session, *choices: str, to: str = "main", path: str = "/") -> None:
    """One request for each choice."""
    for choice in choices:
        await s.get(path, f"x-choose: {choice}", to=to, label=choice)


@scenario(SETUP)
async def composite_actions(s: Session) -> None:
    """The filter that the request's header names, in both directions; none, and one that is passed over."""
    async with s.logging(4), s.counting("http.main.composite.filter_delegation_success"):
        await ask(s, "edit", "unknown", "skip")
        await s.get("/", label="nothing")


@scenario(SETUP)
async def composite_local_reply(s: Session) -> None:
    """A filter that was chosen answers."""
    async with s.logging(1), s.counting("http.main.fault.aborts_injected"):
        await ask(s, "refuse")


@scenario(SETUP)
async def composite_chains(s: Session) -> None:
    """Several filters of an action, written there or named."""
    async with s.counting("http.main.composite.filter_delegation_success"):
        await ask(s, "chain", "named")


@scenario(SETUP)
async def composite_samples(s: Session) -> None:
    """An action for a share of the requests that match."""
    await ask(s, "never", "always")


@scenario(SETUP)
async def composite_bodies(s: Session) -> None:
    """Filters that wait for the body."""
    for choice, body in (("buffer", "1234"), ("buffer", "123456"), ("lua", "123")):
        await s.http(
            head("POST / HTTP/1.1", "host: a", f"x-choose: {choice}", f"content-length: {len(body)}")
            + body.encode(),
            label=f"{choice} {body}",
        )


@scenario(SETUP)
async def composite_of_a_route(s: Session) -> None:
    """A route's tree in the place of the filter's."""
    await ask(s, "edit", "refuse", path="/own")


@scenario(SETUP)
async def composite_without_a_tree(s: Session) -> None:
    """A composite filter without a matcher does nothing."""
    await ask(s, "edit", to="bare")


@scenario(SETUP)
async def composite_by_the_response(s: Session) -> None:
    """A tree that waits for the response's head: what it finds concerns the response alone."""
    s.upstream().script = answers(ok(b"ok", "x-up: mark"), ok(b"ok", "x-up: other"))
    await s.get("/", to="late", label="marked")
    await s.get("/", to="late", label="other")


@scenario(SETUP)
async def composite_skipped_filter(s: Session) -> None:
    """Any filter behind a tree, which is passed over where the tree says so."""
    await ask(s, "skip", "other", to="skipped")


@scenario(SETUP)
async def composite_twice(s: Session) -> None:
    """Two of them in a chain, over HTTP/2 too."""
    await ask(s, "edit", "chain", to="twice")
    client = await s.connect_h2("twice")
    await client.request([*get("/"), ("x-choose", "edit")])


DELEGATIONS = tuple(
    f"http.{name}.composite.filter_delegation_{end}"
    for name in ("own", "of_route", "own_late", "both", "delegate")
    for end in ("success", "error")
)


@scenario(SETUP)
async def composite_with_a_tree_of_its_own(s: Session) -> None:
    """The filter's own matcher, that of a route, and chains by name in either."""
    async with s.logging(13, "own"), s.counting(*DELEGATIONS):
        await ask(s, "edit", "refuse", "chain", "named", "never", "skip", "unknown", to="own")
        await ask(s, "edit", "refuse", to="own", path="/own")
        await ask(s, "named", "nobody", "skip", "edit", to="own", path="/named")
        await ask(s, "edit", "named", to="of_route")
        await ask(s, "edit", "named", to="of_route", path="/own")
        await ask(s, "edit", "named", to="of_route", path="/named")


@scenario(SETUP)
async def composite_with_two_trees(s: Session) -> None:
    """A tree of its own inside of one around it; a route's tree of the wrong kind."""
    async with s.counting(*DELEGATIONS):
        await ask(s, "edit", "chain", to="both")
        await ask(s, "named", "edit", to="both", path="/named")
        await ask(s, "edit", "chain", "unknown", to="delegate")
        await ask(s, "edit", "named", to="delegate", path="/named")


@scenario(SETUP)
async def composite_own_tree_by_the_response(s: Session) -> None:
    """A tree of its own that asks for the response's head."""
    async with s.counting(*DELEGATIONS):
        s.upstream().script = answers(ok(b"ok", "x-up: mark"), ok(b"ok", "x-up: other"))
        await s.get("/", to="own_late", label="marked")
        await s.get("/", to="own_late", label="other")
