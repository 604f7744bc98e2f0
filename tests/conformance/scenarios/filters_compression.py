"""envoy.filters.http.compressor and decompressor: what is compressed, for whom, and what is said of it."""

from __future__ import annotations

import base64
import random
import zlib

import brotli
import zstandard

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import Ended, read_response, show_headers

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions"
TEXT = b"the quick brown fox jumps over the lazy dog " * 20
STATS = (
    "compressed",
    "not_compressed",
    "total_uncompressed_bytes",
    "content_length_too_small",
)
HEADER_STATS = (
    "no_accept_header",
    "header_identity",
    "header_compressor_used",
    "header_compressor_overshadowed",
    "header_wildcard",
    "header_not_valid",
    "not_compressed_etag",
)


#: Of zstd; answers know two of them, the proxy one.
DICTIONARIES = [
    zstandard.train_dictionary(1024, [b"%s %d abc" % (name, n) * 3 for n in range(1000)])
    for name in (b"hello", b"world")
]
KNOWN = f", dictionaries: [{{inline_bytes: {base64.b64encode(DICTIONARIES[0].as_bytes()).decode()}}}]"
LIBRARY_STATS = (
    *(f"gzip.gzip.decompressor_library.zlib_{name}_error" for name in ("data", "buf", "mem")),
    *(f"brotli.brotli.decompressor_library.brotli_{name}" for name in ("error", "output_overflow")),
    *(
        f"zstd.zstd.decompressor_library.zstd_{name}_error"
        for name in ("generic", "dictionary", "checksum_wrong", "memory")
    ),
)


def library(name: str, config: str = "") -> str:
    kind = f"{EXT}.compression.{name}.compressor.v3.{name.title()}"
    return f'compressor_library: {{name: {name}, typed_config: {{"@type": {kind}{config}}}}}'


def compressor(name: str, config: str = "", *, library_config: str = "", as_name: str = "") -> str:
    kind = f"{EXT}.filters.http.compressor.v3.Compressor"
    return (
        f'- {{name: {as_name or name}, typed_config: {{"@type": {kind}, '
        f"{library(name, library_config)}{config}}}}}\n"
    )


def decompressor(name: str, config: str = "", *, of_library: str = "") -> str:
    kind = f"{EXT}.filters.http.decompressor.v3.Decompressor"
    library = f"{EXT}.compression.{name}.decompressor.v3.{name.title()}"
    return (
        f'- {{name: {name}, typed_config: {{"@type": {kind}, decompressor_library: {{name: {name}, '
        f'typed_config: {{"@type": {library}{of_library}}}}}{config}}}}}\n'
    )


def decompressor_stats(name: str, direction: str) -> tuple[str, ...]:
    return tuple(
        f"http.undo.decompressor.{name}.{name}.{direction}.{each}"
        for each in (
            "decompressed",
            "not_decompressed",
            "total_compressed_bytes",
            "total_uncompressed_bytes",
        )
    )


ROUTE = f'"@type": {EXT}.filters.http.compressor.v3.CompressorPerRoute'
ROUTES = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: {{prefix: /off}}
      route: {{cluster: app}}
      typed_per_filter_config: {{gzip: {{{ROUTE}, disabled: true}}}}
    - match: {{prefix: /brotli}}
      route: {{cluster: app}}
      typed_per_filter_config: {{gzip: {{{ROUTE}, overrides: {{{library("brotli")}}}}}}}
    - match: {{prefix: /keeps}}
      route: {{cluster: app}}
      typed_per_filter_config: {{gzip: {{{ROUTE}, overrides: {{response_direction_config:
        {{remove_accept_encoding_header: false}}}}}}}}
    - {{match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: {"d" * 60}}}}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
RESPONSE = """, response_direction_config: {common_config: {min_content_length: 50},
  disable_on_etag_header: true, remove_accept_encoding_header: true,
  uncompressible_response_codes: [206, 418]}"""
STATUS = """, response_direction_config: {status_header_enabled: true, weaken_etag_on_compress: true,
  uncompressible_response_codes: [418],
  common_config: {content_type_matcher: [{prefix: text/}, {suffix: +json}]}}"""
REQUEST = """, request_direction_config: {common_config: {min_content_length: 100,
  content_type: [text/plain, application/x-own]}}, response_direction_config: {common_config:
  {enabled: {default_value: false, runtime_key: x}}}"""
LAZY = """, request_direction_config: {advertise_accept_encoding: false,
  common_config: {ignore_no_transform_header: true}}, response_direction_config: {common_config:
  {enabled: {default_value: false, runtime_key: x}}}"""
PLAIN = "- {match: {prefix: /}, route: {cluster: app}}"
SETUP = Setup(
    "filters_compression",
    bootstrap(
        [
            listener("plain", routes=PLAIN, filters=compressor("gzip")),
            listener("own", ROUTES, filters=compressor("gzip", RESPONSE)),
            listener(
                "three",
                routes=PLAIN,
                filters=compressor("gzip") + compressor("brotli") + compressor("zstd"),
            ),
            listener(
                "first",
                routes=PLAIN,
                filters=compressor("gzip") + compressor("brotli", ", choose_first: true"),
            ),
            listener("request", routes=PLAIN, filters=compressor("gzip", REQUEST)),
            listener(
                "status",
                routes=PLAIN,
                filters=compressor("gzip", STATUS),
            ),
            listener(
                "etag",
                routes=PLAIN,
                filters=compressor(
                    "gzip", STATUS.replace("weaken_etag_on_compress", "disable_on_etag_header")
                ),
            ),
            listener(
                "undo",
                routes=PLAIN,
                filters=decompressor("gzip") + decompressor("brotli") + decompressor("zstd"),
            ),
            listener(
                "both",
                routes=PLAIN,
                filters=compressor(
                    "gzip",
                    ", response_direction_config: {common_config: {content_type: [image/png], "
                    "content_type_matcher: [{prefix: text/}]}}",
                ),
            ),
            listener("known", routes=PLAIN, filters=decompressor("zstd", of_library=KNOWN)),
            listener("lazy", routes=PLAIN, filters=decompressor("gzip", LAZY)),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


def decoded(body: bytes, coding: str, sent: bytes) -> str:
    """The body as its coding says, so that what two libraries make of it can differ."""
    if not body:
        return "nothing"
    if body in sent:
        return f"{len(body)} as it came"
    if coding == "gzip":
        body = zlib.decompress(body, 31)
    elif coding == "br":
        body = brotli.decompress(body)
    elif coding == "zstd":
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return f"{len(body)} {body[:40]!r}"


async def ask(
    s: Session, to: str, accept: str | None, answer: bytes, path: str = "/", *, close: bool = False
) -> None:
    """A GET that the upstream answers so; observed with its body decoded."""

    async def serve(call: Call) -> None:
        await call.send(answer)
        if close:
            await call.close()

    s.upstream().script = serve
    client = await s.connect(to)
    accepts = [] if accept is None else [f"accept-encoding: {accept}"]
    head = [f"GET {path} HTTP/1.1", "host: a", *accepts, "", ""]
    await client.send("\r\n".join(head).encode())
    try:
        reply = await read_response(client.wire)
    except Ended as end:
        s.see(f"{to} {path}", str(end.how))
        return
    coding = next(iter(reply.values("content-encoding")), "")
    seen = {
        "start": reply.start_line,
        "headers": [each for each in show_headers(reply.headers) if not each.startswith("date:")],
        "framing": reply.framing,
        "body": decoded(reply.body, coding, answer),
        "cut": reply.cut,
    }
    s.see(f"{to} {accept} {path}", seen)
    client.close()


def stats(to: str, library: str, direction: str = "") -> tuple[str, ...]:
    """Both kinds of counters of a compressor."""
    root = f"http.{to}.compressor.{library}.{library}"
    return (
        *(f"{root}{direction}.{name}" for name in STATS),
        *(f"{root}.{name}" for name in HEADER_STATS),
    )


@scenario(SETUP)
async def compressor_accept_encoding(s: Session) -> None:
    """Which accept-encoding gets what, by one library."""
    async with s.counting(*stats("plain", "gzip")):
        for accept in (
            None,
            "",
            "gzip",
            "GZIP",
            "deflate",
            "deflate, gzip",
            "*",
            "*;q=0",
            "gzip;q=0",
            "gzip;q=0,*;q=1",
            "*;q=0,gzip;q=1",
            "identity",
            "identity, gzip",
            "gzip;q=0.5, identity;q=0.4",
            "gzip;q=0.4, identity;q=0.5",
            "gzip;q=x",
            "gzip;a=1",
            "gzip; Q=0.5",
            "br;q=1, gzip;q=0.1",
            "gzip;q=2",
            ",,gzip,,",
            "xgzip",
        ):
            await ask(s, "plain", accept, ok(TEXT, "content-type: text/plain"))


@scenario(SETUP)
async def compressor_responses(s: Session) -> None:
    """Which responses are compressed, and what becomes of their headers."""
    async with s.counting(*stats("plain", "gzip")):
        for fields in (
            [],
            ["content-type: text/html; charset=utf-8"],
            ["content-type: TEXT/HTML"],
            ["content-type: image/png"],
            ["content-type: application/grpc"],
            ["content-type: "],
            ["content-encoding: br"],
            ["content-encoding: "],
            ["content-encoding: identity"],
            ["cache-control: no-transform"],
            ["cache-control: public, No-Transform"],
            ["cache-control: public"],
            ['etag: "strong"'],
            ['etag: W/"weak"'],
            ["etag: x"],
            ["vary: Origin"],
            ["vary: Accept-Encoding"],
            ["vary: accept-encoding, x"],
            ["vary: *"],
            ["vary: a", "vary: b"],
        ):
            await ask(s, "plain", "gzip", ok(TEXT, *fields))
            if fields and fields[0].startswith(("vary", "etag")):
                await ask(s, "plain", "br", ok(TEXT, *fields))
        for size in (0, 1, 29, 30):
            await ask(s, "plain", "gzip", ok(b"x" * size))
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await ask(s, "plain", "gzip", chunked + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        await ask(s, "plain", "gzip", chunked + b"0\r\n\r\n")
        await ask(s, "plain", "gzip", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + TEXT, close=True)
        for status in (206, 304, 404, 500):
            await ask(s, "plain", "gzip", ok(TEXT).replace(b" 200 ", b" %d " % status, 1))


@scenario(SETUP)
async def compressor_options(s: Session) -> None:
    """Fields of the response direction, and levels of routes."""
    async with s.counting(*stats("own", "gzip", ".response")):
        for path in ("/", "/off", "/brotli", "/keeps", "/direct"):
            for accept in ("gzip", "br", "br, gzip"):
                await ask(s, "own", accept, ok(TEXT), path)
        await ask(s, "own", "gzip", ok(TEXT, 'etag: "a"'))
        for kind in ("image/png", "text/x", "Text/X", "a/b"):
            await ask(s, "both", "gzip", ok(TEXT, f"content-type: {kind}"))
        for size in (49, 50):
            await ask(s, "own", "gzip", ok(b"x" * size))
        for status in (206, 418, 404):
            await ask(s, "own", "gzip", ok(TEXT).replace(b" 200 ", b" %d " % status, 1))


@scenario(SETUP)
async def compressor_several(s: Session) -> None:
    """Several libraries in a chain: one of them is chosen."""
    names = [*stats("three", "gzip"), *stats("three", "brotli"), *stats("three", "zstd")]
    names += [*stats("first", "gzip"), *stats("first", "brotli")]
    async with s.counting(*names):
        for to in ("three", "first"):
            for accept in (
                "gzip",
                "br",
                "zstd",
                "gzip, br, zstd",
                "zstd, br",
                "*",
                "br;q=0, *",
                "gzip;q=0.1, br",
            ):
                await ask(s, to, accept, ok(TEXT))


@scenario(SETUP)
async def compressor_status_header(s: Session) -> None:
    """x-envoy-compression-status says why."""
    async with s.counting(*stats("status", "gzip", ".response"), *stats("etag", "gzip", ".response")):
        for accept, fields in (
            ("gzip", ["content-type: text/x"]),
            ("gzip", ["content-type: image/png"]),
            ("gzip", ["content-type: application/vnd+json"]),
            ("br", ["content-type: text/x"]),
            (None, ["content-type: text/x"]),
            ("gzip", ['etag: "strong"', "content-type: text/x"]),
            ("gzip", ['etag: W/"weak"', "content-type: text/x"]),
            ("gzip", ["cache-control: no-transform"]),
            ("gzip", ["content-encoding: br"]),
        ):
            await ask(s, "status", accept, ok(TEXT, *fields))
        await ask(s, "status", "gzip", ok(b"short"))
        await ask(s, "status", "gzip", ok(b"short", "content-type: image/png"))
        await ask(s, "status", "gzip", ok(b"short").replace(b" 200 ", b" 418 ", 1))
        await ask(s, "status", "gzip", ok(TEXT, "content-type: image/png").replace(b" 200 ", b" 418 ", 1))
        await ask(s, "etag", "gzip", ok(TEXT, "etag: a"))
        await ask(s, "etag", "gzip", ok(b"short", "etag: a", "content-type: image/png"))
        await ask(s, "etag", "gzip", ok(TEXT, "etag: a", "content-type: image/png"))
        await ask(s, "etag", "gzip", ok(TEXT, "etag: a").replace(b" 200 ", b" 418 ", 1))
        await ask(s, "etag", None, ok(TEXT, "etag: a"))
        await ask(s, "etag", "gzip", ok(TEXT, "etag: a", "cache-control: no-transform"))
        await ask(s, "status", "gzip", ok(TEXT).replace(b" 200 ", b" 418 ", 1))
        await ask(s, "status", "gzip", ok(TEXT).replace(b" 200 ", b" 500 ", 1))


async def post(s: Session, to: str, body: bytes, *fields: str, answer: bytes = b"") -> None:
    """A POST; observed as the upstream saw it, its body decoded."""

    async def serve(call: Call) -> None:
        body = await call.body()
        coding = next(iter(call.request.values("content-encoding")), "")
        call.request.body = decoded(body, coding, sent).encode()
        await call.send(answer or ok(b"ok"))

    sent = body
    s.upstream().script = serve
    client = await s.connect(to)
    length = [] if any("chunked" in each for each in fields) else [f"content-length: {len(body)}"]
    head = ["POST / HTTP/1.1", "host: a", *length, *fields, "", ""]
    await client.send("\r\n".join(head).encode() + body)
    await client.reply(f"{to} POST {len(body)}")
    client.close()


@scenario(SETUP)
async def compressor_requests(s: Session) -> None:
    """Requests are compressed where request_direction_config says so, and answers apart from that."""
    names = (*stats("request", "gzip", ".request"), *stats("request", "gzip", ".response"))
    async with s.counting(*names):
        await post(s, "request", TEXT)
        await post(s, "request", TEXT, "content-type: text/plain")
        await post(s, "request", TEXT, "content-type: application/x-own;a=b", "accept-encoding: gzip")
        await post(s, "request", TEXT, "content-type: application/json")
        await post(s, "request", b"x" * 99, "content-type: text/plain")
        await post(s, "request", TEXT, "content-encoding: identity")
        await post(s, "request", TEXT, "cache-control: no-transform")
        await post(s, "request", b"3\r\nabc\r\n0\r\n\r\n", "transfer-encoding: chunked")
        await post(s, "request", b"")


def pressed(name: str, data: bytes) -> bytes:
    if name == "gzip":
        stream = zlib.compressobj(9, zlib.DEFLATED, 31)
        return stream.compress(data) + stream.flush()
    return brotli.compress(data) if name == "br" else zstandard.ZstdCompressor().compress(data)


@scenario(SETUP)
async def decompressor_responses(s: Session) -> None:
    """An answer in the coding of the filter loses it; any other stays."""
    async with s.counting(*decompressor_stats("gzip", "response"), *decompressor_stats("brotli", "response")):
        for name in ("gzip", "br", "zstd"):
            for accept in (None, "gzip", "identity", "br;q=0.5, x"):
                await ask(s, "undo", accept, ok(pressed(name, TEXT), f"content-encoding: {name}"))
        whole = pressed("gzip", TEXT)
        for fields in (
            ["content-encoding: GZIP"],
            ["content-encoding: deflate, gzip"],
            ["content-encoding: gzip, deflate"],
            ["content-encoding: gzip", "cache-control: no-transform"],
            ["content-encoding: gzip", 'etag: "a"', "vary: x"],
            [],
        ):
            await ask(s, "undo", "gzip", ok(whole, *fields))


@scenario(SETUP)
async def decompressor_broken(s: Session) -> None:
    """Bytes that are no gzip, or not all of it, or something behind it."""
    whole = pressed("gzip", TEXT)
    async with s.counting(*decompressor_stats("gzip", "response")):
        for body in (b"no gzip at all", whole[:30], whole + b"tail", b"", pressed("gzip", b"")):
            await ask(s, "undo", "gzip", ok(body, "content-encoding: gzip"))


@scenario(SETUP)
async def decompressor_bombs(s: Session) -> None:
    """A body that swells too much is not let through whole."""
    stats = (*decompressor_stats("gzip", "response"), *decompressor_stats("brotli", "response"))
    async with s.counting(*stats):
        for name in ("gzip", "br", "zstd"):
            for size in (5_000, 50_000, 1_000_000):
                body = pressed(name, b"0" * size)
                await ask(s, "undo", "gzip", ok(body, f"content-encoding: {name}"))


@scenario(SETUP)
async def decompressor_ratios(s: Session) -> None:
    """How much comes of a body that swells too much, by how long it is; what libraries count of it."""
    noise = random.Random(1).randbytes(2000)
    async with s.counting(*(f"http.undo.decompressor.{each}" for each in LIBRARY_STATS)):
        for name in ("gzip", "br", "zstd"):
            for size in (0, 300, 2000):
                body = pressed(name, noise[:size] + b"\0" * 5_000_000)
                await ask(s, "undo", "gzip", ok(body, f"content-encoding: {name}"))
        for name in ("gzip", "br", "zstd"):
            await ask(s, "undo", "gzip", ok(b"is none of them", f"content-encoding: {name}"))


@scenario(SETUP)
async def decompressor_dictionaries(s: Session) -> None:
    """Frames of zstd that name a dictionary: one that is here, one that is not, and none."""
    async with s.counting(
        *(f"http.known.decompressor.{each}" for each in LIBRARY_STATS if each.startswith("zstd"))
    ):
        for dictionary in (*DICTIONARIES, None):
            made = zstandard.ZstdCompressor(dict_data=dictionary)
            await ask(s, "known", "gzip", ok(made.compress(b"hello 12 abc"), "content-encoding: zstd"))
        await ask(s, "known", "gzip", ok(b"none at all", "content-encoding: zstd"))


@scenario(SETUP)
async def decompressor_requests(s: Session) -> None:
    """Requests too; what the filter can read is advertised to the upstream."""
    async with s.counting(*decompressor_stats("gzip", "request")):
        for fields in ([], ["accept-encoding: br"], ["accept-encoding: gzip;q=0.1"], ["accept-encoding: "]):
            await post(s, "undo", TEXT, *fields)
        await post(s, "undo", pressed("gzip", TEXT), "content-encoding: gzip")
        await post(s, "undo", pressed("gzip", TEXT), "content-encoding: gzip", "cache-control: no-transform")
        await post(s, "lazy", pressed("gzip", TEXT), "content-encoding: gzip", "cache-control: no-transform")
        await post(s, "lazy", pressed("gzip", TEXT), "content-encoding: gzip", "accept-encoding: x")
