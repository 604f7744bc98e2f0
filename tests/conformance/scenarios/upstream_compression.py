"""The compressor on the way to an upstream: what it decides alone, and beside one in the listener."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import ok
from .filters_compression import ask, compressor, post
from .upstream_filters import with_filters

SUBJECT = "upstream"


def _made(*names: str, config: str = "") -> list[Any]:
    return [each for name in names for each in parse(compressor(name, config))]


ASKED = ", request_direction_config: {common_config: {enabled: {default_value: true}}}"
CLUSTERS = {
    "gzip": _made("gzip"),
    "brotli": _made("brotli"),
    "both": _made("gzip", "brotli"),
    "asked": _made("gzip", config=ASKED),
}
PLACES = {**{f"/{name}": name for name in CLUSTERS}, "/": "asked"}
ROUTES = json.dumps(
    [{"match": {"prefix": path}, "route": {"cluster": name}} for path, name in PLACES.items()]
)
SETUP = Setup(
    "upstream-compression",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("beside", routes=ROUTES, filters=compressor("gzip")),
        ],
        [with_filters(name, "app", filters=filters) for name, filters in CLUSTERS.items()],
    ),
    {"app": "h1"},
)
WORDS = b"one word after another, and one word after another again, as long as it takes " * 4


@scenario(SETUP)
async def upstream_compression(s: Session) -> None:
    """Which compressor of which chain takes a response, and which requests are compressed."""
    answer = ok(WORDS, "content-type: text/plain")
    for to in ("main", "beside"):
        for name in CLUSTERS:
            for accept in ("gzip", "br", "gzip, br", "br;q=0.5, gzip", "identity"):
                await ask(s, to, accept, answer, f"/{name}")
    await post(s, "main", WORDS, "content-type: text/plain")
    await post(s, "main", WORDS, "content-type: image/png")
