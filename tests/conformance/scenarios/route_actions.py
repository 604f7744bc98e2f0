# ruff: noqa: E501, SIM905  (a route is a line of a table; names read best unbroken)
"""What a matched route does: redirects, direct responses, rewrites of host and path, in all their fields."""

from __future__ import annotations

import os

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

#: Read by the configuration; the proxies inherit it.
os.environ["SIDECAR_TEST_BODY"] = "from the environment"

LOG = (
    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH)% %REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%\n"
)
REDIRECTS = """
- {match: {path: /nothing}, redirect: {}}
- {match: {path: /strip}, redirect: {strip_query: true}}
- {match: {path: /https}, redirect: {https_redirect: true}}
- {match: {path: /not-https}, redirect: {https_redirect: false}}
- {match: {path: /scheme-http}, redirect: {scheme_redirect: http}}
- {match: {path: /scheme-https}, redirect: {scheme_redirect: https}}
- {match: {path: /scheme-upper}, redirect: {scheme_redirect: HTTPS}}
- {match: {path: /scheme-other}, redirect: {scheme_redirect: ftp}}
- {match: {path: /scheme-empty}, redirect: {scheme_redirect: ""}}
- {match: {path: /port}, redirect: {port_redirect: 8443}}
- {match: {path: /port-443}, redirect: {port_redirect: 443, https_redirect: true}}
- {match: {path: /host}, redirect: {host_redirect: other.example}}
- {match: {path: /host-with-port}, redirect: {host_redirect: "other.example:99"}}
- {match: {path: /host-and-port}, redirect: {host_redirect: "other.example:99", port_redirect: 8443}}
- {match: {path: /all}, redirect: {https_redirect: true, host_redirect: b, port_redirect: 1, path_redirect: /p}}
- {match: {path: /path}, redirect: {path_redirect: /new}}
- {match: {path: /path-empty}, redirect: {path_redirect: ""}}
- {match: {path: /path-relative}, redirect: {path_redirect: new}}
- {match: {path: /path-query}, redirect: {path_redirect: "/new?own=1"}}
- {match: {path: /path-strip}, redirect: {path_redirect: /new, strip_query: true}}
- {match: {path: /path-query-strip}, redirect: {path_redirect: "/new?own=1", strip_query: true}}
- {match: {path: /path-fragment}, redirect: {path_redirect: "/new#part"}}
- {match: {prefix: /prefix/a}, redirect: {prefix_rewrite: /z}}
- {match: {prefix: /prefix/b}, redirect: {prefix_rewrite: "/z?x=y"}}
- {match: {prefix: /prefix/c}, redirect: {prefix_rewrite: /z, strip_query: true}}
- {match: {prefix: /prefix/d, case_sensitive: false}, redirect: {prefix_rewrite: /z}}
- {match: {prefix: /prefix/e}, redirect: {prefix_rewrite: z}}
- {match: {prefix: /prefix/f}, redirect: {prefix_rewrite: ""}}
- {match: {path: /prefix-of-path}, redirect: {prefix_rewrite: /z}}
- {match: {path_separated_prefix: /prefix-sep}, redirect: {prefix_rewrite: /z}}
- {match: {safe_regex: {regex: "/prefix-of-regex/.*"}}, redirect: {prefix_rewrite: /z}}
- match: {prefix: /regex/a}
  redirect: {regex_rewrite: {pattern: {regex: "/([^/]+)$"}, substitution: "/<\\\\1>"}}
- match: {prefix: /regex/b}
  redirect: {regex_rewrite: {pattern: {regex: "nowhere"}, substitution: "/x"}}
- match: {prefix: /regex/c}
  redirect: {regex_rewrite: {pattern: {regex: "^.*$"}, substitution: ""}}
- match: {prefix: /regex/d}
  redirect: {regex_rewrite: {pattern: {regex: "/"}, substitution: "-"}, host_redirect: b}
- {match: {prefix: /format/a}, redirect: {path_rewrite: "/new/%REQ(x-host)%"}}
- {match: {prefix: /format/b}, redirect: {path_rewrite: "%REQ(x-none)%"}}
- {match: {prefix: /format/c}, redirect: {path_rewrite: "rel?own=%REQ(:PATH)%", host_redirect: b}}
- {match: {prefix: /format/d}, redirect: {path_rewrite: "/new%REQ(:PATH)%", strip_query: true}}
- {match: {path: /code-301}, redirect: {path_redirect: /n, response_code: MOVED_PERMANENTLY}}
- {match: {path: /code-302}, redirect: {path_redirect: /n, response_code: FOUND}}
- {match: {path: /code-303}, redirect: {path_redirect: /n, response_code: SEE_OTHER}}
- {match: {path: /code-307}, redirect: {path_redirect: /n, response_code: TEMPORARY_REDIRECT}}
- {match: {path: /code-308}, redirect: {path_redirect: /n, response_code: PERMANENT_REDIRECT}}
- match: {prefix: /headers}
  name: with-headers
  redirect: {prefix_rewrite: /h, host_redirect: h}
  response_headers_to_add:
  - {header: {key: x-code, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}}
  - {header: {key: x-path, value: "%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)%"}}
  - {header: {key: x-location, value: "%RESP(location)%"}}
  - {header: {key: x-content, value: "%RESP(content-type)% %RESP(content-length)%"}}
  - {header: {key: location, value: "/mine"}, append_action: APPEND_IF_EXISTS_OR_ADD}
- match: {path: /location-over}
  redirect: {host_redirect: h}
  response_headers_to_add:
  - {header: {key: location, value: "/mine"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- match: {path: /location-gone}
  redirect: {host_redirect: h}
  response_headers_to_remove: [location]
- match: {path: /body-headers}
  redirect: {host_redirect: h}
  response_headers_to_add: [{header: {key: content-type, value: text/html}}, {header: {key: content-length, value: "5"}}]
"""
DIRECT = """
- {match: {path: /string}, direct_response: {status: 200, body: {inline_string: "a string: \\u00e4"}}}
- {match: {path: /bytes}, direct_response: {status: 200, body: {inline_bytes: AAEC/w==}}}
- {match: {path: /file}, direct_response: {status: 200, body: {filename: FILE(body.txt)}}}
- {match: {path: /environment}, direct_response: {status: 200, body: {environment_variable: SIDECAR_TEST_BODY}}}
- {match: {path: /empty}, direct_response: {status: 200, body: {inline_string: ""}}}
- {match: {path: /none}, direct_response: {status: 200}}
- {match: {prefix: /status/200}, direct_response: {status: 200, body: {inline_string: b}}}
- {match: {prefix: /status/201}, direct_response: {status: 201, body: {inline_string: b}}}
- {match: {prefix: /status/202}, direct_response: {status: 202, body: {inline_string: b}}}
- {match: {prefix: /status/204}, direct_response: {status: 204, body: {inline_string: b}}}
- {match: {prefix: /status/205}, direct_response: {status: 205, body: {inline_string: b}}}
- {match: {prefix: /status/300}, direct_response: {status: 300, body: {inline_string: b}}}
- {match: {prefix: /status/304}, direct_response: {status: 304, body: {inline_string: b}}}
- {match: {prefix: /status/404}, direct_response: {status: 404, body: {inline_string: b}}}
- {match: {prefix: /status/500}, direct_response: {status: 500, body: {inline_string: b}}}
- {match: {prefix: /status/599}, direct_response: {status: 599, body: {inline_string: b}}}
- match: {path: /headers}
  direct_response: {status: 200, body: {inline_string: "{}"}}
  response_headers_to_add:
  - {header: {key: content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-code, value: "%RESPONSE_CODE% %RESP(content-length)% %RESP(content-type)% %RESP(:status)%"}}
- match: {path: /appended}
  direct_response: {status: 200, body: {inline_string: "{}"}}
  response_headers_to_add:
  - {header: {key: content-type, value: application/json}}
- match: {path: /removed}
  direct_response: {status: 200, body: {inline_string: "{}"}}
  response_headers_to_remove: [content-type, server, date]
- match: {path: /length}
  direct_response: {status: 200, body: {inline_string: "{}"}}
  response_headers_to_add: [{header: {key: content-length, value: "77"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
"""
FORMATTED = """
- match: {path: /format}
  name: formatted
  direct_response:
    status: 202
    body: {inline_string: the body}
    body_format:
      text_format_source: {inline_string: "%LOCAL_REPLY_BODY%|%REQ(:PATH)%|%REQ(x-none)%|%RESPONSE_CODE%|%ROUTE_NAME%|%PROTOCOL%\\n"}
- match: {path: /format-empty}
  direct_response:
    status: 200
    body_format: {omit_empty_values: true, text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%><%REQ(x-none)%>"}}
- match: {path: /json}
  direct_response:
    status: 200
    body: {inline_string: '"quoted" body'}
    body_format: {json_format: {body: "%LOCAL_REPLY_BODY%", path: "%REQ(:PATH)%", code: "%RESPONSE_CODE%", none: "%REQ(x-none)%", fixed: 7}}
- match: {path: /type}
  direct_response:
    status: 200
    body: {inline_string: body}
    body_format: {content_type: "text/x-own; charset=UTF-8", text_format_source: {inline_string: "<b>%LOCAL_REPLY_BODY%</b>"}}
- match: {path: /json-type}
  direct_response:
    status: 200
    body_format: {content_type: "application/problem+json", json_format: {a: 1}}
- match: {path: /type-over}
  direct_response:
    status: 200
    body: {inline_string: body}
    body_format: {content_type: "text/x-own", text_format_source: {inline_string: "x"}}
  response_headers_to_add: [{header: {key: content-type, value: text/added}}]
- match: {path: /nothing}
  direct_response:
    status: 200
    body: {inline_string: body}
    body_format: {omit_empty_values: true, text_format_source: {inline_string: "%REQ(x-none)%"}}
"""
REWRITES = """
- {match: {path: /literal}, route: {cluster: app, host_rewrite_literal: literal.example}}
- {match: {path: /literal-empty}, route: {cluster: app, host_rewrite_literal: ""}}
- {match: {path: /header}, route: {cluster: app, host_rewrite_header: x-host}}
- {match: {path: /header-host}, route: {cluster: app, host_rewrite_header: host}}
- {match: {path: /header-path}, route: {cluster: app, host_rewrite_header: ":path"}}
- {match: {path: /header-added}, route: {cluster: app, host_rewrite_header: x-added}, request_headers_to_add: [{header: {key: x-added, value: "added-%REQ(x-host)%"}}]}
- match: {prefix: /by-path/a}
  route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "^/by-path/a/([^/]*).*$"}, substitution: "\\\\1.example"}}
- match: {prefix: /by-path/b}
  route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "^.*$"}, substitution: ""}}
- match: {prefix: /by-path/c}
  route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "nowhere"}, substitution: "x"}}
- match: {prefix: /by-path/d}
  route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "^/by-path/(d).*$"}, substitution: "\\\\1.example"}, prefix_rewrite: /rewritten}
- {match: {path: /auto}, route: {cluster: named, auto_host_rewrite: true}}
- {match: {path: /auto-false}, route: {cluster: named, auto_host_rewrite: false}}
- {match: {path: /auto-unnamed}, route: {cluster: app, auto_host_rewrite: true}}
- {match: {path: /auto-append}, route: {cluster: named, auto_host_rewrite: true, append_x_forwarded_host: true}}
- {match: {path: /append}, route: {cluster: app, host_rewrite_literal: literal.example, append_x_forwarded_host: true}}
- {match: {path: /append-nothing}, route: {cluster: app, append_x_forwarded_host: true}}
- {match: {path: /append-same}, route: {cluster: app, host_rewrite_literal: example.com, append_x_forwarded_host: true}}
- {match: {prefix: /prefix/a}, route: {cluster: app, prefix_rewrite: /z}}
- {match: {prefix: /prefix/b/}, route: {cluster: app, prefix_rewrite: /}}
- {match: {prefix: /prefix/c}, route: {cluster: app, prefix_rewrite: ""}}
- {match: {prefix: /prefix/d}, route: {cluster: app, prefix_rewrite: z}}
- {match: {prefix: /prefix/E, case_sensitive: false}, route: {cluster: app, prefix_rewrite: /z}}
- {match: {prefix: /prefix/f}, route: {cluster: app, prefix_rewrite: "/z?own=1"}}
- {match: {prefix: /prefix/g}, route: {cluster: app, prefix_rewrite: "/prefix/g"}}
- {match: {path: /prefix-of-path}, route: {cluster: app, prefix_rewrite: /z}}
- {match: {path_separated_prefix: /prefix-sep}, route: {cluster: app, prefix_rewrite: /z}}
- {match: {safe_regex: {regex: "/prefix-of-regex/.*"}}, route: {cluster: app, prefix_rewrite: /z}}
- match: {prefix: /regex/a}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "/(\\\\w+)/(\\\\w+)"}, substitution: "/\\\\2/\\\\1/\\\\0"}}
- match: {prefix: /regex/b}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "nowhere"}, substitution: "/x"}}
- match: {prefix: /regex/c}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "^.*$"}, substitution: ""}}
- match: {prefix: /regex/d}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "^/"}, substitution: ""}}
- match: {prefix: /both}
  route: {cluster: app, prefix_rewrite: /z, host_rewrite_literal: both.example}
  request_headers_to_add:
  - {header: {key: x-path, value: "%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)% %REQ(:AUTHORITY)%"}}
  response_headers_to_add:
  - {header: {key: x-path, value: "%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)% %REQ(:AUTHORITY)% %REQ(X-ENVOY-ORIGINAL-HOST)%"}}
- {match: {path: /host-format}, route: {cluster: app, host_rewrite: "%REQ(x-host)%.example"}}
- {match: {path: /host-format-unset}, route: {cluster: app, host_rewrite: "%REQ(x-none)%"}}
- {match: {path: /host-format-append}, route: {cluster: app, host_rewrite: "%REQ(:METHOD)%", append_x_forwarded_host: true}}
- {match: {path: /path-format}, route: {cluster: app, path_rewrite: "/new/%REQ(x-host)%"}}
- {match: {path: /path-format-unset}, route: {cluster: app, path_rewrite: "%REQ(x-none)%"}}
- {match: {path: /path-format-query}, route: {cluster: app, path_rewrite: "/q?own=%REQ(:METHOD)%"}}
- {match: {path: /path-format-relative}, route: {cluster: app, path_rewrite: "rel"}}
- {match: {path: /path-format-host}, route: {cluster: app, path_rewrite: "/%REQ(:AUTHORITY)%%REQ(:PATH)%", host_rewrite: "%REQ(:PATH):6%"}}
"""
NAMED = """
load_assignment:
  cluster_name: named
  endpoints:
  - lb_endpoints:
    - endpoint: {hostname: the.host.name, address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}
"""
ROUTE_ACTIONS = Setup(
    "route-actions",
    bootstrap(
        [
            listener("main", routes=REWRITES, log=LOG),
            listener("redirects", routes=REDIRECTS, log=LOG),
            listener("direct", routes=DIRECT, log=LOG),
            listener("formatted", routes=FORMATTED, log=LOG),
        ],
        [cluster("app", "app"), cluster("named", extra=NAMED)],
    ),
    {"app": "h1"},
    {"body.txt": b"from a file\n"},
)


@scenario(ROUTE_ACTIONS)
async def redirect_of_each_part(s: Session) -> None:
    """Scheme, host, port and path of a redirect, each alone and all together."""
    names = (
        "nothing strip https not-https scheme-http scheme-https scheme-upper scheme-other scheme-empty port "
        "port-443 host host-with-port host-and-port all path path-empty path-relative path-query path-strip "
        "path-query-strip path-fragment code-301 code-302 code-303 code-307 code-308"
    )
    for name in names.split():
        await s.get(f"/{name}?q=1", to="redirects", label=name)


@scenario(ROUTE_ACTIONS)
async def redirect_drops_default_ports(s: Session) -> None:
    """Which ports of the host stay, by what x-forwarded-proto says and by whether the scheme changes."""
    hosts = ("a", "a:80", "a:443", "a:8080", "a:x", "[::1]", "[::1]:443")
    for host in hosts:
        for proto in ("", "https", "ftp"):
            header = f"x-forwarded-proto: {proto}\r\n" if proto else ""
            for path in ("/nothing", "/https", "/scheme-http", "/scheme-upper", "/port"):
                await s.http(
                    f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{header}\r\n",
                    "redirects",
                    label=f"{host} {proto} {path}",
                )


@scenario(ROUTE_ACTIONS)
async def redirect_rewrites_the_path(s: Session) -> None:
    """Prefix and regular expression, with and without a query, and what the log says of the path."""
    paths = (
        "/prefix/a /prefix/a/b?q /prefix/ab /prefix/b/b /prefix/b?q /prefix/c?q /prefix/C?q /prefix/D/x?q "
        "/prefix/e?q /prefix/f?q /prefix-of-path?q /prefix-sep/a?q /prefix-sep?q /prefix-of-regex/a?q "
        "/regex/a/b?q=/x/y /regex/b/b?q /regex/c?q /regex/c /regex/d/e?q"
    ).split()
    async with s.logging(len(paths), "redirects"):
        for path in paths:
            await s.get(path, to="redirects", label=path)


@scenario(ROUTE_ACTIONS)
async def redirect_by_format(s: Session) -> None:
    """path_rewrite of a redirect."""
    async with s.logging(5, "redirects"):
        for name in "abcd":
            await s.get(f"/format/{name}?q", "x-host: a", to="redirects", label=name)
        await s.get("/format/a?q", to="redirects", label="unset")


@scenario(ROUTE_ACTIONS)
async def redirect_headers(s: Session) -> None:
    """Headers that the route adds to a redirect, and methods other than GET."""
    async with s.logging(8, "redirects"):
        await s.get("/headers/a?q", to="redirects")
        await s.get("/headers/a?q", "x-envoy-original-path: mine", to="redirects")
        for path in ("/location-over", "/location-gone", "/body-headers"):
            await s.get(path, to="redirects", label=path)
        await s.http(b"HEAD /path HTTP/1.1\r\nhost: a\r\n\r\n", "redirects", has_body=False, label="HEAD")
        await s.http(
            b"POST /path HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "redirects", label="POST"
        )
        await s.http(
            b"POST /path HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 2\r\n\r\nhi",
            "redirects",
            label="gRPC",
        )


@scenario(ROUTE_ACTIONS)
async def redirect_counts(s: Session) -> None:
    """What a redirect and a direct response count as."""
    names = ("rq_redirect", "rq_direct_response", "rq_total", "downstream_rq_3xx")
    async with s.counting(*(f"http.redirects.{name}" for name in names)):
        await s.get("/path", to="redirects")
        await s.get("/nothing", to="redirects")
    async with s.counting(*(f"http.direct.{name}" for name in names)):
        await s.get("/string", to="direct")
        await s.get("/status/300", to="direct")


@scenario(ROUTE_ACTIONS)
async def direct_response_bodies(s: Session) -> None:
    """Every source of a body."""
    names = "string bytes file environment empty none".split()
    async with s.logging(len(names), "direct"):
        for name in names:
            await s.get(f"/{name}?q", to="direct", label=name)


@scenario(ROUTE_ACTIONS, differs=dict.fromkeys(("204",), "framing-is-the-codecs"))
async def direct_response_statuses(s: Session) -> None:
    """201 and 3xx say where, some have no body."""
    for status in (200, 201, 202, 205, 300, 404, 500, 599):
        await s.get(f"/status/{status}?q", to="direct", label=str(status))
    for status in (204, 304):
        await s.http(
            f"GET /status/{status} HTTP/1.1\r\nhost: a:80\r\n\r\n",
            "direct",
            has_body=False,
            label=str(status),
        )


@scenario(ROUTE_ACTIONS)
async def direct_response_headers(s: Session) -> None:
    """What a route may do to the headers of a direct response; HEAD, POST and gRPC."""
    for path in ("/headers", "/appended", "/removed"):
        await s.get(path, to="direct", label=path)
    await s.http(b"HEAD /length HTTP/1.1\r\nhost: a\r\n\r\n", "direct", has_body=False, label="length")
    await s.http(b"HEAD /string HTTP/1.1\r\nhost: a\r\n\r\n", "direct", has_body=False, label="HEAD")
    for path in ("/string", "/none", "/status/201", "/status/404", "/status/300", "/headers"):
        await s.http(
            f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 2\r\n\r\nhi",
            "direct",
            label=f"gRPC {path}",
        )


@scenario(ROUTE_ACTIONS)
async def direct_response_body_formats(s: Session) -> None:
    """body_format: text, JSON, its content type; it runs before there is a response."""
    names = "format format-empty json type json-type type-over nothing".split()
    async with s.logging(len(names) + 2, "formatted"):
        for name in names:
            await s.get(f"/{name}", to="formatted", label=name)
        await s.http(b"HEAD /json HTTP/1.1\r\nhost: a\r\n\r\n", "formatted", has_body=False, label="HEAD")
        await s.http(
            b"POST /json HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
            "formatted",
            label="gRPC",
        )


@scenario(ROUTE_ACTIONS)
async def rewrite_of_the_host(s: Session) -> None:
    """Literal, by header, by path, the chosen host's name; what x-envoy-original-host says."""
    for path in ("/literal", "/literal-empty", "/auto", "/auto-false", "/auto-unnamed"):
        await s.get(path, label=path)
    for path in ("/header", "/header-host", "/header-path", "/header-added"):
        await s.get(path, "x-host: a", "x-host: b", label=path)
        await s.get(path, "x-host: ", label=f"{path} empty")
        await s.get(path, label=f"{path} none")
    for path in ("/by-path/a/b/c?d/e", "/by-path/b", "/by-path/c?x", "/by-path/d"):
        await s.get(path, label=path)


@scenario(ROUTE_ACTIONS)
async def rewrite_of_the_host_appended(s: Session) -> None:
    """append_x_forwarded_host with what is there already."""
    for path in ("/append", "/append-nothing", "/append-same", "/auto-append", "/host-format-append"):
        await s.get(path, label=path)
        await s.get(path, "x-forwarded-host: before", label=f"{path} before")
        await s.get(path, "x-forwarded-host: a,example.com", label=f"{path} same")
        await s.get(path, "x-forwarded-host: a", "x-forwarded-host: b", label=f"{path} two")
        await s.get(path, "x-forwarded-host: ", label=f"{path} empty")
        await s.get(path, "x-envoy-original-host: mine", label=f"{path} original")


@scenario(ROUTE_ACTIONS)
async def rewrite_of_the_path(s: Session) -> None:
    """Prefix and regular expression, with what matched in every way."""
    paths = (
        "/prefix/a /prefix/a/b?q /prefix/ab /prefix/b/?q /prefix/b/c/d /prefix/c/x?q /prefix/d/x?q "
        "/PREFIX/e/X?q /prefix/f?q /prefix/g /prefix-of-path?q /prefix-sep?q /prefix-sep/x /prefix-of-regex/a?q "
        "/regex/a/b?q=/x/y /regex/b?q /regex/c?q /regex/c /regex/d?q /both/x?q"
    ).split()
    async with s.logging(len(paths) + 1):
        for path in paths:
            await s.get(path, label=path)
        await s.get("/prefix/a", "x-envoy-original-path: mine", label="original")


@scenario(ROUTE_ACTIONS)
async def rewrite_by_format(s: Session) -> None:
    """host_rewrite and path_rewrite: formats for host and path."""
    names = (
        "host-format host-format-unset path-format path-format-unset path-format-query path-format-relative "
        "path-format-host"
    ).split()
    async with s.logging(len(names) + 2):
        for name in names:
            await s.get(f"/{name}?q", "x-host: a", label=name)
        await s.get("/host-format", label="host-format unset")
        await s.get("/path-format?q", label="path-format unset")


@scenario(ROUTE_ACTIONS)
async def rewrite_meets_the_response(s: Session) -> None:
    """Response headers of a route see the rewritten request."""
    s.upstream().script = answers(ok(b"ok", "x-path: up"))
    await s.get("/both/x?q")
