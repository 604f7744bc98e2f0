"""A reverse proxy as one writes it with aiohttp: what Python had to offer before."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

from aiohttp import ClientSession, TCPConnector, web

_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "host"))


def make_application(upstream: int) -> web.Application:
    """Passes every request to ``upstream`` on loopback."""
    sessions: list[ClientSession] = []

    async def lifetime(application: web.Application) -> AsyncIterator[None]:
        async with ClientSession(connector=TCPConnector(limit=0), auto_decompress=False) as session:
            sessions.append(session)
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["x-request-id"] = str(uuid4())
        headers["x-forwarded-for"] = request.remote or ""
        url = f"http://127.0.0.1:{upstream}{request.rel_url}"
        body = request.content if request.body_exists else None
        async with sessions[0].request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() != "transfer-encoding":
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    application = web.Application(client_max_size=1 << 30)
    application.cleanup_ctx.append(lifetime)
    application.router.add_route("*", "/{path:.*}", handle)
    return application


def main(arguments: list[str]) -> None:
    """``PORT UPSTREAM [ACCESS LOG]``."""
    port, upstream, log = int(arguments[0]), int(arguments[1]), arguments[2]
    if log:
        logger = logging.getLogger("aiohttp.access")
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.FileHandler(log))
    application = make_application(upstream)
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        access_log=logging.getLogger("aiohttp.access") if log else None,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
