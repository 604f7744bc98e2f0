# ruff: noqa: E501  (a route is a line of a table)
"""The limits of a stream that is redirected inside: what is counted from which start."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head

LINE = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
FOLLOWED = "internal_redirect_policy: {max_internal_redirects: 3}"
LONG = """
access_log:
- name: envoy.access_loggers.file
  filter: {duration_filter: {comparison: {op: GE, value: {default_value: 200, runtime_key: none}}}}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: FILE(long.log)
    log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE%\\n"}}
"""
ROUTES = f"""
- {{match: {{prefix: /duration}}, route: {{cluster: app, max_stream_duration: {{max_stream_duration: 0.2s}}, {FOLLOWED}}}}}
- {{match: {{prefix: /timeout}}, route: {{cluster: app, timeout: 0.2s, {FOLLOWED}}}}}
- {{match: {{prefix: /idle}}, route: {{cluster: app, idle_timeout: 0.2s, {FOLLOWED}}}}}
- {{match: {{prefix: /}}, route: {{cluster: app, timeout: 0.2s}}}}
"""
REDIRECTED = Setup(
    "timeouts_redirects",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LINE),
            listener("long", LONG, routes=ROUTES),
            listener(
                "limited",
                "common_http_protocol_options: {max_stream_duration: 0.2s}",
                routes=ROUTES,
                log=LINE,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


async def twice_slow(call: Call) -> None:
    """Both answers take most of the limit: together they are over it."""
    await trio.sleep(0.13)
    if call.path.endswith("/again"):
        await call.send(ok(b"ok"))
    else:
        target = call.path.removesuffix("/plain") + "/again"
        if call.path.endswith("/plain"):
            target = "/again"
        await call.send(head("HTTP/1.1 302 Found", f"location: http://a{target}", "content-length: 0"))


@scenario(REDIRECTED)
async def timeouts_of_a_stream_that_is_redirected_inside(s: Session) -> None:
    """Each limit, to the same route and to one without it."""
    s.upstream().script = twice_slow
    for to in ("main", "limited"):
        async with s.logging(6, to):
            for path in ("/duration", "/timeout", "/idle"):
                await s.get(path, to=to)
                await s.get(f"{path}/plain", to=to)


@scenario(REDIRECTED)
async def log_of_a_stream_that_is_redirected_inside(s: Session) -> None:
    """Its duration is counted from the start of the request that came."""
    s.upstream().script = twice_slow
    async with s.logging(2, "long"):
        await s.get("/timeout", to="long")
        await s.get("/idle", to="long")
