"""``VirtualHost.matcher``: match trees in the place of routes."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .route_matching import named, try_all
from .route_resolution import script

ROUTE = "type.googleapis.com/envoy.config.route.v3.Route"
ROUTE_LIST = "type.googleapis.com/envoy.config.route.v3.RouteList"
HEADER = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
INPUTS = "type.googleapis.com/envoy.extensions.matching.common_inputs"
MATCHERS = "type.googleapis.com/envoy.extensions.matching.input_matchers"


def header(name: str) -> str:
    return f"{{name: in, typed_config: {{'@type': {HEADER}, header_name: '{name}'}}}}"


def taken(kind: str, fields: str) -> str:
    return f"{{name: in, typed_config: {{'@type': {INPUTS}.{kind}, {fields}}}}}"


def custom(kind: str, fields: str) -> str:
    return f"custom_match: {{name: m, typed_config: {{'@type': {MATCHERS}.{kind}, {fields}}}}}"


def to(name: str, match: str = "prefix: /") -> str:
    """on_match: a route that answers with its name."""
    return (
        f"{{action: {{name: route, typed_config: {{'@type': {ROUTE}, match: {{{match}}}, {named(name)}}}}}}}"
    )


def to_list(*routes: tuple[str, str]) -> str:
    text = ", ".join(f"{{match: {{{match}}}, {named(name)}}}" for name, match in routes)
    return f"{{action: {{name: list, typed_config: {{'@type': {ROUTE_LIST}, routes: [{text}]}}}}}}"


def nested(tree: str) -> str:
    return f"{{matcher: {{{tree}}}}}"


def mapped(kind: str, source: str, entries: dict[str, str], otherwise: str = "") -> str:
    inside = ", ".join(f"'{key}': {on_match}" for key, on_match in entries.items())
    more = f", on_no_match: {otherwise}" if otherwise else ""
    return f"matcher_tree: {{input: {source}, {kind}_match_map: {{map: {{{inside}}}}}}}{more}"


def single(source: str, match: str) -> str:
    return f"{{single_predicate: {{input: {source}, {match}}}}}"


def listed(*entries: tuple[str, str], otherwise: str = "") -> str:
    inside = ", ".join(f"{{predicate: {predicate}, on_match: {on_match}}}" for predicate, on_match in entries)
    more = f", on_no_match: {otherwise}" if otherwise else ""
    return f"matcher_list: {{matchers: [{inside}]}}{more}"


def value(name: str, match: str) -> str:
    return single(header(name), f"value_match: {{{match}}}")


def both(kind: str, *predicates: str) -> str:
    return f"{{{kind}_matcher: {{predicate: [{', '.join(predicates)}]}}}}"


def hosted(tree: str, *fields: str) -> str:
    more = "".join(f"  {field}\n" for field in fields)
    return f"route_config:\n{more}  virtual_hosts:\n  - {{name: v, domains: ['*'], matcher: {{{tree}}}}}\n"


EXACT = mapped(
    "exact",
    header("x-a"),
    {
        "one": to("one"),
        "list": to_list(("first", "path: /first"), ("rest", "prefix: /rest")),
        "own": to("own", "path: /own"),
        "deep": nested(mapped("exact", header("x-b"), {"two": to("deep")})),
        "": to("empty"),
    },
    to("otherwise", "prefix: /other"),
)
PREFIX = mapped(
    "prefix",
    header(":path"),
    {
        "/api": to("api"),
        "/api/v2": nested(mapped("exact", header("x-b"), {"two": to("api-v2")})),
        "/api/v2/users": to("users", "path: /api/v2/users"),
    },
)
LIST = listed(
    (value("x-a", "exact: nested"), nested(mapped("exact", header("x-b"), {"two": to("nested")}))),
    (value("x-a", "exact: NESTED, ignore_case: true"), to("after-nested")),
    (both("and", value("x-a", "prefix: p"), value("x-b", "suffix: s")), to("and")),
    (
        both("or", value("x-a", "contains: q"), value("x-b", "safe_regex: {google_re2: {}, regex: 'q+'}")),
        to("or"),
    ),
    (f"{{not_matcher: {value('x-a', 'prefix: neg')}}}", to("not", "path: /not")),
    (value("x-a", "exact: route"), to("route", "path: /route")),
    (value("x-a", "exact: route"), to("never")),
    otherwise=to("nothing-else", "path: /last"),
)
FRACTION = "runtime_fraction: {default_value: {numerator: 50}}"
CUSTOM = listed(
    (
        single(
            header("x-hash"),
            custom("consistent_hashing.v3.ConsistentHashing", "threshold: 60, modulo: 100, seed: 7"),
        ),
        to("hashed"),
    ),
    (
        single(
            header("x-part"),
            custom("runtime_fraction.v3.RuntimeFraction", f"{FRACTION}, seed: 3"),
        ),
        to("part"),
    ),
    (
        single(
            taken("network.v3.FilterStateInput", "key: lua.state"),
            "value_match: {exact: kept}",
        ),
        to("state"),
    ),
    otherwise=to("rest"),
)
STATE = """
function envoy_on_request(h)
  h:streamInfo():filterState():set("lua.state", "envoy.string", "kept")
  h:clearRouteCache()
end
"""
SPECIFIER = "type.googleapis.com/envoy.extensions.router.cluster_specifiers.matcher.v3"


def to_cluster(name: str) -> str:
    return f"{{action: {{name: c, typed_config: {{'@type': {SPECIFIER}.ClusterAction, cluster: {name}}}}}}}"


def plugin(tree: str) -> str:
    config = f"{{'@type': {SPECIFIER}.MatcherClusterSpecifier, cluster_matcher: {{{tree}}}}}"
    return f"{{extension: {{name: by-tree, typed_config: {config}}}}}"


BY_HEADER = mapped("exact", header("x-to"), {"app": to_cluster("app"), "none": to_cluster("nobody")})
BY_LIST = listed(
    (value("x-to", "exact: app"), to_cluster("app")),
    otherwise=to_cluster("other"),
)
OPTIONAL = (
    "{is_optional: true, extension: {name: o, typed_config:"
    " {'@type': type.googleapis.com/xds.type.v3.TypedStruct, type_url: a/nobody.has.It}}}"
)
SPECIFIERS = f"""
route_config:
  cluster_specifier_plugins:
  - {plugin(BY_HEADER)}
  virtual_hosts:
  - name: v
    domains: ["*"]
    routes:
    - {{match: {{path: /named}}, name: named, route: {{cluster_specifier_plugin: by-tree, timeout: 3s}}}}
    - match: {{path: /inline}}
      name: inline
      route: {{inline_cluster_specifier_plugin: {plugin(BY_LIST)}}}
    - match: {{path: /optional}}
      name: optional
      route: {{inline_cluster_specifier_plugin: {OPTIONAL}}}
    - {{match: {{prefix: /opt}}, name: after, route: {{cluster: other}}}}
    - {{match: {{path: /nothing}}, name: nothing, route: {{inline_cluster_specifier_plugin: {plugin("")}}}}}
"""
MOVES = """
function envoy_on_request(h)
  h:headers():replace("x-to", "none")
end
"""
SPECIFIER_LOG = "%ROUTE_NAME% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\n"
CLUSTERS_BY_TREE = Setup(
    "route-cluster-specifiers",
    bootstrap(
        [
            listener("main", SPECIFIERS, log=SPECIFIER_LOG),
            listener("kept", SPECIFIERS, filters=script(MOVES, keeps_route=True), log=SPECIFIER_LOG),
            listener("moved", SPECIFIERS, filters=script(MOVES), log=SPECIFIER_LOG),
        ],
        [cluster("app", "app"), cluster("other", "other")],
    ),
    {"app": "h1", "other": "h1"},
)
TREES = Setup(
    "route-matcher-tree",
    bootstrap(
        [
            listener("exact", hosted(EXACT)),
            listener("prefix", hosted(PREFIX)),
            listener("list", hosted(LIST)),
            listener("custom", hosted(CUSTOM)),
            listener("state", hosted(CUSTOM), filters=script(STATE)),
            listener("nothing", hosted("")),
            listener("only", hosted(f"on_no_match: {to('only')}")),
            listener(
                "parameters",
                hosted(EXACT, "ignore_path_parameters_in_path_matching: true"),
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(TREES)
async def matcher_tree_of_maps(s: Session) -> None:
    """Exact and prefix maps, nested ones, and the route's own conditions behind them."""
    values = ("one", "One", "list", "own", "deep", "", "none", "one,two")
    headers = [(), *((f"x-a: {each}",) for each in values)]
    headers += [("x-a: deep", "x-b: two"), ("x-a: deep", "x-b: none"), ("x-a: one", "x-a: two")]
    await try_all(s, "exact", ("/", "/first", "/rest/x", "/own", "/other"), headers)
    paths = (
        "/api",
        "/apis",
        "/api/v2",
        "/api/v2/x",
        "/api/v2/users",
        "/api/v2/users/1",
        "/x",
        "/api/v2/users?q",
    )
    await try_all(s, "prefix", paths, [(), ("x-b: two",)])
    await try_all(s, "parameters", ("/own;a", "/first;b"), [("x-a: own",), ("x-a: list",)])


@scenario(TREES)
async def matcher_tree_of_predicates(s: Session) -> None:
    """Lists with and, or, not; the search goes on behind a nested tree that finds nothing."""
    headers = [
        (),
        ("x-a: nested",),
        ("x-a: nested", "x-b: two"),
        ("x-a: Nested",),
        ("x-a: p", "x-b: s"),
        ("x-a: p",),
        ("x-a: aqa",),
        ("x-b: qq",),
        ("x-b: qqa",),
        ("x-a: negative",),
        ("x-a: route",),
    ]
    await try_all(s, "list", ("/", "/not", "/route", "/last"), headers)
    await try_all(s, "nothing", ("/",))
    await try_all(s, "only", ("/",))


@scenario(TREES)
async def matcher_tree_of_other_inputs(s: Session) -> None:
    """Hashes, fractions, filter state."""
    headers = [(f"x-hash: value-{number}",) for number in range(12)]
    headers += [(f"x-part: value-{number}",) for number in range(12)]
    await try_all(s, "custom", ("/",), [(), *headers])
    await try_all(s, "state", ("/",))


@scenario(CLUSTERS_BY_TREE)
async def matcher_tree_of_clusters(s: Session) -> None:
    """The matcher among cluster specifier plugins: named, inline, finding nothing; chosen with the route."""
    values = ("app", "none", "apple", "x")
    async with s.logging(4 * (len(values) + 1)):
        for path in ("/named", "/inline", "/nothing", "/optional"):
            await s.get(path, label=path)
            for each in values:
                await s.get(path, f"x-to: {each}", label=f"{path} {each}")
    for to_listener in ("kept", "moved"):
        async with s.logging(1, to_listener):
            await s.get("/named", "x-to: app", to=to_listener, label=to_listener)
