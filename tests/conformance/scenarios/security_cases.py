"""Attacks on the recommended chain of filters: oversized parts, lines between the lines, answers for others.

The table of all, by attack; those of the chain are here and in `recommended_chain`, the rest is where its
subject is:

- tokens that are forged, or read in two ways: `chain_forged_tokens`, `jwt_forgeries`,
  `jwt_algorithm_confusion`;
- headers in the name of the proxy or of its filters: `chain_injected_headers`, `chain_injected_answers`;
- CR and LF, from clients, claims and services: `security_lines*`, `jwt_claims_that_cannot_be_sent`,
  `authz_grpc_is_not_validated`, `hostile_bare_cr`;
- what is too large: `security_oversized*`, `authz_grpc_too_many_headers`, `hostile_long_request_line`;
- the path around authorization: `chain_paths`, `chain_paths_as_they_are`, `hostile_paths_normalised`;
- poisoned caches: `security_cache_poisoning`;
- bodies that swell: `security_bombs`, `chain_bombs`, `decompressor_bombs`;
- smuggled requests: `framing_of_*`, `smuggling_*`.
"""

from __future__ import annotations

import gzip

from tests.support import jose

from ..chain import CHAIN, TOKEN, Services, exchange, request
from ..client import get
from ..lab import Session
from ..scenario import scenario

SUBJECT = "filters"

CLAIMS = {"iss": "shop", "aud": "api", "sub": "al", "tier": "gold", "exp": 4_000_000_000}


def signed(**claims: object) -> str:
    return jose.token(jose.ed_key(), "EdDSA", {**CLAIMS, **claims})


@scenario(CHAIN)
async def security_oversized(s: Session) -> None:
    """Tokens, paths, queries, cookies and headers that are too many or too long."""
    Services(s)
    large = signed(pad="x" * 20_000)
    for name, data in {
        "token in the query": request(f"GET /api?token={large}", token=None),
        "token in a cookie": request("GET /api", f"cookie: session={large}", token=None),
        "token of dots": request("GET /api", token="." * 20_000),
        "token without dots": request("GET /api", token="x" * 20_000),
        "a claim": request("GET /api", token=signed(sub="x" * 20_000)),
        "claims": request("GET /api", token=signed(**{f"c{n}": n for n in range(500)})),
        "path": request("GET /api/" + "x" * 20_000),
        "path with slashes": request("GET " + "/" * 5_000 + "api"),
        "path with dots": request("GET /api" + "/.." * 3_000 + "/api"),
        "query": request("GET /api?" + "&".join(f"p{n}" for n in range(2_000))),
        "cookies": request("GET /api", "cookie: " + "; ".join(f"c{n}=1" for n in range(2_000))),
        "headers": request("GET /api", *(f"x-{n}: 1" for n in range(90))),
        "too many headers": request("GET /api", *(f"x-{n}: 1" for n in range(110))),
        "name of a header": request("GET /api", "x-" + "n" * 20_000 + ": 1"),
        "origin": request("GET /api", "origin: https://" + "x" * 20_000 + ".shop.test"),
        "accept-encoding": request("GET /api/large", "accept-encoding: " + "gzip;q=0.1," * 2_000),
        "host": request("GET /api", token=None).replace(b"shop.test", b"s" * 5_000),
    }.items():
        await exchange(s, name, data)


@scenario(CHAIN)
async def security_oversized_over_h2(s: Session) -> None:
    """The same of HTTP/2, where all of them are on one connection."""
    Services(s)
    client = await s.connect_h2()
    bearing = ("authorization", f"Bearer {TOKEN}")
    for name, fields in {
        "token": [("authorization", "Bearer " + signed(pad="x" * 20_000))],
        "cookie crumbs": [bearing, *(("cookie", f"c{n}=1") for n in range(60))],
        "headers": [bearing, *((f"x-{n}", "1") for n in range(80))],
        "value": [bearing, ("x-long", "x" * 20_000)],
    }.items():
        await client.request([*get("/api"), *fields], label=name)


LINES = {
    "line": "al\r\nx-admin: root",
    "LF": "al\nx-admin: root",
    "CR": "al\rx-admin: root",
    "NUL": "al\0root",
    "request": "al\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n",
    "blanks": "  al\t ",
    "list": "al, root",
    "letters": "älë",
}


@scenario(CHAIN)
async def security_lines_of_claims(s: Session) -> None:
    """What claims hold stays in their header: text without controls as it is, lists in base64.

    Text with a line break never becomes a header (`jwt_claims_that_cannot_be_sent`).
    """
    Services(s)
    for name, value in LINES.items():
        if value.isprintable() or "\t" in value:
            await exchange(s, name, request("GET /api", token=signed(sub=value)))
        await exchange(s, f"nested {name}", request("GET /api", token=signed(tier=[value])))


@scenario(CHAIN)
async def security_lines_of_paths(s: Session) -> None:
    """Encoded lines in a path stay encoded where the path is handed on, reflected or redirected."""
    Services(s)
    for path in (
        "/moved%0d%0aset-cookie:%20a=b",
        "/moved?%0d%0aset-cookie:%20a=b",
        "/api/%0d%0ax:%20y",
        "/%0a",
    ):
        await exchange(s, path, request(f"GET {path}"))
        await exchange(s, f"{path} without a token", request(f"GET {path}", token=None))
    await exchange(s, "wrong token", request('GET /api/"%0d%0ax="', token="x.y.z"))


@scenario(CHAIN)
async def security_cache_poisoning(s: Session) -> None:
    """What a cache in front does not look at must not change what is answered, or asked."""
    Services(s)
    for field in (
        "x-forwarded-host: evil.test",
        "x-forwarded-scheme: http",
        "x-forwarded-proto: http",
        "x-forwarded-port: 1",
        "x-original-url: /admin",
        "x-rewrite-url: /admin",
        "x-http-method-override: POST",
        "x-host: evil.test",
        "forwarded: host=evil.test",
        "x-envoy-original-path: /admin",
        "x-envoy-original-host: evil.test",
        "origin: https://evil.test",
        "origin: https://www.shop.test",
        "accept-encoding: gzip",
        "accept-encoding: br",
        "accept-encoding: x",
    ):
        await exchange(s, f"{field} redirected", request("GET /moved", field))
        await exchange(s, field, request("GET /api/large", field))
    await exchange(s, "absolute form", request("GET http://evil.test/moved"))
    await exchange(s, "body of a GET", request("GET /api", "content-length: 9", body=b"q=poison!"))
    await exchange(s, "parameter twice", request("GET /api?callback=a&callback=evil"))
    await exchange(s, "another separator", request("GET /api?a=1;callback=evil"))


@scenario(CHAIN)
async def security_bombs(s: Session) -> None:
    """Layers, members and tails of what is decoded are not read further than the limit."""
    Services(s)
    zeros = gzip.compress(b"\0" * 60_000, mtime=0)
    for name, body in {
        "members": zeros * 3,
        "a tail": zeros + b"\0" * 1000,
        "cut": zeros[:-9],
        "twice": gzip.compress(zeros, mtime=0),
        "nothing": gzip.compress(b"", mtime=0),
        "wrong sum": zeros[:-8] + b"\1" * 8,
    }.items():
        fields = ("content-encoding: gzip", f"content-length: {len(body)}")
        await exchange(s, name, request("POST /api", *fields, body=body), to="undo")
        fields = ("content-encoding: gzip, gzip", f"content-length: {len(body)}")
        await exchange(s, f"{name}, in layers", request("POST /api", *fields, body=body), to="undo")
