"""Which route a request takes by everything that RouteMatch can ask about."""

from __future__ import annotations

from collections.abc import Iterable

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import head, read_response


def named(name: str) -> str:
    return f"direct_response: {{status: 200, body: {{inline_string: {name}}}}}"


def route(name: str, match: str) -> str:
    return f"- {{match: {{{match}}}, {named(name)}}}\n"


def by(kind: str, *cases: tuple[str, str]) -> str:
    """A route for each way to match, told apart by its path."""
    return "".join(route(name, f"path: /{name}, {kind}: [{{{match}}}]") for name, match in cases)


COOKIES = by(
    "cookies",
    ("exact", "name: sid, string_match: {exact: abc}"),
    ("caseless", "name: sid, string_match: {exact: ABC, ignore_case: true}"),
    ("prefix", "name: sid, string_match: {prefix: a}"),
    ("regex", 'name: sid, string_match: {safe_regex: {regex: "[a-z]+"}}'),
    ("inverted", "name: sid, string_match: {exact: abc}, invert_match: true"),
    ("upper", "name: SID, string_match: {exact: abc}"),
) + route(
    "two", "path: /two, cookies: [{name: a, string_match: {exact: x}}, {name: b, string_match: {exact: z}}]"
)
COOKIE_HEADERS: tuple[tuple[str, ...], ...] = (
    (),
    ("cookie: sid=abc",),
    ("cookie: sid=ABC",),
    ("cookie: sid=abd",),
    ("cookie: a=x; sid=abc; b=z",),
    ("cookie: sid=abd; sid=abc",),
    ("cookie: sid=abc; sid=abd",),
    ('cookie: sid="abc"; a="x";b=z',),
    ("cookie: a=x", "cookie: b=z; sid=abc"),
    ("cookie: sid",),
    ("cookie: sid=",),
    ("cookie: sid= abc ;a = x",),
    ("cookie: sid=abc=d",),
    ("cookie: asid=abc",),
    ("cookie: SID=abc",),
    ("cookie: sid=abc ; b=z ",),
    ('cookie: sid="abc; a=x"',),
    ("cookie: \tsid=abc",),
    ("cookie: ; ;sid=abc;",),
)

HEADERS = by(
    "headers",
    ("joined", 'name: x-h, string_match: {exact: "one,two"}'),
    ("starts", "name: x-h, string_match: {prefix: one}"),
    ("ends", "name: x-h, string_match: {suffix: two}"),
    ("second", "name: x-h, string_match: {exact: two}"),
    ("not-second", "name: x-h, string_match: {exact: two}, invert_match: true"),
    ("range", "name: x-h, range_match: {start: -5, end: 5}"),
    ("no-range", "name: x-h, range_match: {start: -5, end: 5}, invert_match: true"),
    ("empty-range", "name: x-h, range_match: {start: -5, end: 5}, treat_missing_header_as_empty: true"),
    ("contains-caseless", "name: x-h, string_match: {contains: NE, ignore_case: true}"),
    ("suffix-caseless", "name: x-h, string_match: {suffix: TWO, ignore_case: true}"),
    ("exact-empty", 'name: x-h, string_match: {exact: ""}, treat_missing_header_as_empty: true'),
    ("absent", "name: x-h, present_match: false"),
    ("absent-empty", "name: x-h, present_match: false, treat_missing_header_as_empty: true"),
    ("not-present", "name: x-h, present_match: true, invert_match: true"),
    ("only-name", "name: x-h"),
    ("only-name-inverted", "name: x-h, invert_match: true"),
    ("upper-name", "name: X-H, present_match: true"),
    ("method", 'name: ":method", string_match: {exact: GET}'),
    ("authority", 'name: ":authority", string_match: {exact: example.com}'),
    ("host", 'name: "host", string_match: {exact: example.com}'),
    ("scheme", 'name: ":scheme", string_match: {exact: http}'),
    ("path-and-query", 'name: ":path", string_match: {exact: "/path-and-query?x"}'),
    ("forwarded", "name: x-forwarded-proto, string_match: {exact: http}"),
)
DEPRECATED = by(
    "headers",
    ("exact", "name: x-h, exact_match: one"),
    ("prefix", "name: x-h, prefix_match: o"),
    ("suffix", "name: x-h, suffix_match: e"),
    ("contains", "name: x-h, contains_match: ne"),
    ("regex", 'name: x-h, safe_regex_match: {google_re2: {}, regex: "o.e"}'),
    ("inverted", "name: x-h, exact_match: one, invert_match: true"),
)
HEADER_VALUES: tuple[tuple[str, ...], ...] = (
    (),
    ("x-h: ",),
    ("x-h: one", "x-h: two"),
    ("x-h: two", "x-h: one"),
    ("x-h: one,two",),
    ("x-h: 4",),
    ("x-h: -5",),
    ("x-h: 5",),
    ("x-h: +4",),
    ("x-h: 4 4",),
    ("x-h: 0x4",),
    ("x-h: 4", "x-h: 9"),
)

QUERIES = by(
    "query_parameters",
    ("exact", "name: a, string_match: {exact: b}"),
    ("empty", 'name: a, string_match: {exact: ""}'),
    ("caseless", "name: a, string_match: {exact: B, ignore_case: true}"),
    ("spaced", 'name: a, string_match: {exact: "b c"}'),
    ("present", "name: a, present_match: true"),
    ("absent", "name: a, present_match: false"),
    ("only-name", "name: a"),
    ("encoded-name", 'name: "a b", present_match: true'),
)
QUERY_STRINGS = (
    "",
    "?",
    "?a",
    "?a=",
    "?a=b",
    "?a=B",
    "?a=c&a=b",
    "?a=b&a=c",
    "?x&a=b",
    "?a=b%20c",
    "?a=b+c",
    "?A=b",
    "?a%20b=1",
    "?%61=b",
    "?a=b?a=c",
    "?a==b",
    "?&&a=b&",
)

SEPARATED = (
    route("long", "path_separated_prefix: /api/long")
    + route("caseless", "path_separated_prefix: /CaseLess, case_sensitive: false")
    + route("api", "path_separated_prefix: /api")
    + route("encoded", "path_separated_prefix: /enc%20oded")
)
SEPARATED_PATHS = (
    "/api",
    "/api/",
    "/api/x",
    "/api?x",
    "/apis",
    "/api;x",
    "/api/long",
    "/api/long/",
    "/api/longer",
    "/api/long?x=/",
    "/API",
    "/caseless",
    "/CASELESS/x",
    "/caselessx",
    "/api//long",
    "/enc%20oded/x",
    "/enc%2",
)
CASES = (
    route("exact", "path: /Exact/Path, case_sensitive: false")
    + route("prefix", "prefix: /Pre, case_sensitive: false")
    + route("regex", 'safe_regex: {regex: "/Re/[A-Z]+"}, case_sensitive: false')
    + route("regex-caseless", 'safe_regex: {regex: "(?i)/Inline/[A-Z]+"}')
    + route("sensitive", "prefix: /Pre")
)
CASE_PATHS = (
    "/exact/path",
    "/EXACT/PATH?Q",
    "/pre",
    "/PRE/x",
    "/re/ab",
    "/Re/AB",
    "/inline/ab",
    "/INLINE/AB",
)

TLS = (
    route("presented", "path: /presented, tls_context: {presented: true}")
    + route("not-presented", "path: /not-presented, tls_context: {presented: false}")
    + route("validated", "path: /validated, tls_context: {validated: true}")
    + route("not-validated", "path: /not-validated, tls_context: {validated: false}")
    + route("neither", "path: /neither, tls_context: {presented: false, validated: false}")
    + route("empty", "path: /empty, tls_context: {}")
)
GRPC = route("grpc", "prefix: /, grpc: {}") + route("plain", "prefix: /")
PARAMETERS = (
    route("exact", "path: /exact")
    + route("prefix", "prefix: /prefix/")
    + route("separated", "path_separated_prefix: /sep")
    + route("regex", 'safe_regex: {regex: "/re/[a-z]+"}')
    + route("with", 'path: "/with;x"')
)
PARAMETER_PATHS = (
    "/exact;v=1",
    "/exact;v=1?q",
    "/exact?q;x",
    "/prefix;v=1/",
    "/prefix/;v",
    "/sep;v",
    "/sep;v/x",
    "/re/a;b",
    "/re/a?;",
    "/re;a/b;c",
    "/re/a;/",
    "/prefix;a;b/c",
    "/with;x",
    "/with",
    "/;",
)


def hosts(text: str) -> str:
    return "virtual_hosts:\n" + "".join(
        f"- {{name: h{number}, domains: [{domain}], routes: ["
        f"{{match: {{prefix: /}}, {named(f'h{number}')}}}]}}\n"
        for number, domain in enumerate(text.split())
    )


def table(virtual_hosts: str, *fields: str) -> str:
    lines = [*fields, *virtual_hosts.splitlines()]
    return "route_config:\n" + "".join(f"  {line}\n" for line in lines)


DOMAINS = hosts(
    '"*.b.example" "*-b.example" "*.example" "a.b.example" "a.*" "a.b.*" "[::1]" "[::1]:80" "10.0.0.1" '
    '"*.port.example:8080" "port.*" "MiXed.Example" "*"'
)
DOMAIN_HOSTS = (
    "a.b.example",
    "A.B.EXAMPLE",
    "x.b.example",
    "x-b.example",
    "b.example",
    "x.example",
    ".example",
    "a.other",
    "a.b.other",
    "a.b.",
    "a.",
    "[::1]",
    "[::1]:80",
    "[::1]:90",
    "10.0.0.1",
    "10.0.0.1:80",
    "x.port.example:8080",
    "x.port.example",
    "port.x:99",
    "mixed.EXAMPLE",
    "mixed.example.",
    "a.b.example:80",
    "other",
)
MATCHING = Setup(
    "route-matching",
    bootstrap(
        [
            listener("cookies", routes=COOKIES),
            listener("headers", routes=HEADERS),
            listener("deprecated", routes=DEPRECATED),
            listener("queries", routes=QUERIES),
            listener("separated", routes=SEPARATED),
            listener("cases", routes=CASES),
            listener("tls", routes=TLS),
            listener("grpc", routes=GRPC),
            listener("domains", table(DOMAINS)),
            listener("portless", table(DOMAINS, "ignore_port_in_host_matching: true")),
            listener("by-header", table(DOMAINS, "vhost_header: x-vhost")),
            listener(
                "by-header-portless",
                table(DOMAINS, "vhost_header: x-vhost", "ignore_port_in_host_matching: true"),
            ),
            listener(
                "parameters",
                table(
                    "virtual_hosts:\n- name: all\n  domains: ['*']\n  routes:\n"
                    + "".join(f"  {line}\n" for line in PARAMETERS.splitlines()),
                    "ignore_path_parameters_in_path_matching: true",
                ),
            ),
            listener("with-parameters", routes=PARAMETERS),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


async def try_all(
    s: Session, to: str, paths: Iterable[str], headers: Iterable[tuple[str, ...]] = ((),)
) -> None:
    """Which route answers each path with each set of headers: only its name is taken down."""
    client = await s.connect(to)
    paths = tuple(paths)
    for lines in headers:
        seen = {}
        for path in paths:
            await client.send(head(f"GET {path} HTTP/1.1", "host: example.com", *lines))
            message = await read_response(client.wire)
            seen[path] = (
                message.body.decode() if message.start_line.endswith("200 OK") else message.start_line
            )
        s.see(" | ".join((to, *lines)), seen)
    client.close()


def paths_of(routes: str) -> list[str]:
    return [
        line.partition("body: {inline_string: ")[2].partition("}")[0].join(("/", ""))
        for line in routes.splitlines()
    ]


@scenario(MATCHING)
async def match_cookies(s: Session) -> None:
    """Cookies by name and value: quoted, repeated, in several headers, missing, inverted."""
    await try_all(s, "cookies", paths_of(COOKIES), COOKIE_HEADERS)


@scenario(MATCHING)
async def match_headers(s: Session) -> None:
    """Header matchers against repeated, empty, missing and numeric values, and pseudo headers."""
    await try_all(s, "headers", [*paths_of(HEADERS), "/path-and-query?x"], HEADER_VALUES)
    await try_all(s, "deprecated", paths_of(DEPRECATED), ((), ("x-h: one",), ("x-h: two",)))


@scenario(MATCHING)
async def match_query_parameters(s: Session) -> None:
    """Query parameters that are repeated, empty, encoded, absent."""
    paths = [path + query for path in paths_of(QUERIES) for query in QUERY_STRINGS]
    await try_all(s, "queries", paths)


@scenario(MATCHING)
async def match_paths(s: Session) -> None:
    """Separated prefixes, case, and path parameters with and without ignoring them."""
    await try_all(s, "separated", SEPARATED_PATHS)
    await try_all(s, "cases", CASE_PATHS)
    await try_all(s, "parameters", PARAMETER_PATHS)
    await try_all(s, "with-parameters", PARAMETER_PATHS)


@scenario(MATCHING)
async def match_tls_context(s: Session) -> None:
    """Without TLS no certificate is presented, nor validated."""
    await try_all(s, "tls", paths_of(TLS))


@scenario(MATCHING)
async def match_grpc(s: Session) -> None:
    """By the content type of gRPC."""
    types = ("grpc", "grpc+proto", "grpc+", "grpc;x", "grpc-web", "x")
    await try_all(s, "grpc", ["/"], [(f"content-type: application/{each}",) for each in types])


@scenario(MATCHING)
async def match_domains(s: Session) -> None:
    """Exact, longest suffix, longest prefix, all; ports, case, IPv6; the host from another header."""
    for to in ("domains", "portless"):
        client = await s.connect(to)
        seen = {}
        for host in DOMAIN_HOSTS:
            await client.send(head("GET / HTTP/1.1", f"host: {host}"))
            message = await read_response(client.wire)
            seen[host] = message.body.decode()
        s.see(to, seen)
    for to in ("by-header", "by-header-portless"):
        values = ("a.b.example", "X.B.Example", "a.b.example:80", "[::1]:80", "port.x:99", "", "nowhere")
        headers = [(f"x-vhost: {value}",) for value in values]
        await try_all(s, to, ["/"], [(), *headers, ("x-vhost: a.b.example", "x-vhost: other")])


TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"


def template(text: str) -> str:
    config = f"{{'@type': {TEMPLATE}, path_template: '{text}'}}"
    name = "envoy.path.match.uri_template.uri_template_matcher"
    return f"path_match_policy: {{name: {name}, typed_config: {config}}}"


TEMPLATES = {
    "literal": "/literal/a.b+c$(d)",
    "star": "/star/*",
    "middle": "/middle/*/x",
    "globs": "/globs/**",
    "globs-suffix": "/suffix/**.mpd",
    "star-suffix": "/one/*.mpd",
    "variable": "/variable/{a}",
    "named": "/named/{a=b/*/c}",
    "rest": "/rest/{a=**}",
    "mixed": "/mixed/v{a}x/end",
    "variable-suffix": "/vs/{a}.json/end",
    "literal-star": "/ls/a*b",
    "literal-globs": "/lg/a**b",
    "trailing": "/trailing/",
    "equals": "/eq/a=b",
}
TEMPLATE_PATHS = (
    "/literal/a.b+c$(d)",
    "/literal/axb+c$(d)",
    "/literal/a.b+c$(d)/",
    "/LITERAL/a.b+c$(d)",
    "/star/x",
    "/star/x?q=1",
    "/star/",
    "/star/x/y",
    "/star/a=b",
    "/star/a*b",
    "/star/a%2fb",
    "/star/a|b",
    '/star/a"b',
    "/star/a:b@c;d,e",
    "/middle/1/x",
    "/middle//x",
    "/globs/",
    "/globs/a/b//c",
    "/globs",
    "/suffix/a/b.mpd",
    "/suffix/.mpd",
    "/suffix/a.mpd?x",
    "/suffix/a.mp",
    "/one/a.mpd",
    "/one/a/b.mpd",
    "/variable/v",
    "/variable/v/w",
    "/named/b/x/c",
    "/named/b/c",
    "/rest/a/b/c?d=e",
    "/rest/",
    "/mixed/v1x/end",
    "/mixed/vx/end",
    "/mixed/v1/2x/end",
    "/vs/file.json/end",
    "/vs/.json/end",
    "/ls/a*b",
    "/ls/aab",
    "/ls/axb",
    "/ls/b",
    "/lg/a**b",
    "/lg/ab",
    "/trailing/",
    "/trailing",
    "/eq/a=b",
)
REWRITES = {
    "{a}": ("/user/{a}", "/people/{a}/x"),
    "swap": ("/swap/{a}/{b}", "/{b}/{a}"),
    "twice": ("/twice/{a}", "/{a}/{a}{a}"),
    "globs": ("/all/{a=**}", "/new/{a}"),
    "empty": ("/none/{a=**}", "/{a}"),
    "star": ("/lit/*", "/a*b=c"),
    "suffix": ("/sfx/{a}.json", "/{a}.xml"),
}


def rewritten(match: str, rewrite: str) -> str:
    config = f"{{'@type': {REWRITE}, path_template_rewrite: '{rewrite}'}}"
    policy = f"{{name: envoy.path.rewrite.uri_template.uri_template_rewriter, typed_config: {config}}}"
    return f"- {{match: {{{template(match)}}}, route: {{cluster: app, path_rewrite_policy: {policy}}}}}\n"


TEMPLATED = Setup(
    "route-templates",
    bootstrap(
        [
            listener("main", routes="".join(route(name, template(text)) for name, text in TEMPLATES.items())),
            listener("rewrites", routes="".join(rewritten(*pair) for pair in REWRITES.values())),
            listener(
                "caseless",
                routes=route("caseless", template("/Case/{a}") + ", case_sensitive: false")
                + "- match: {"
                + template("/red/{a}")
                + "}\n  redirect: {host_redirect: elsewhere}\n",
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(TEMPLATED)
async def match_uri_templates(s: Session) -> None:
    """path_match_policy with a URI template: operators, variables, suffixes, literals."""
    await try_all(s, "main", TEMPLATE_PATHS)
    await try_all(s, "caseless", ["/Case/x", "/case/x", "/red/x?y"])


@scenario(TEMPLATED)
async def rewrite_by_uri_template(s: Session) -> None:
    """path_rewrite_policy puts the variables of the match into another path; the query stays."""
    for path in (
        "/user/jane?q=1",
        "/user/j%20n",
        "/swap/x/y",
        "/twice/z?a?b",
        "/all/x/y/z",
        "/all/",
        "/none/",
        "/none/a//b",
        "/lit/x",
        "/sfx/f.json?x",
    ):
        await s.get(path, to="rewrites", label=path)
