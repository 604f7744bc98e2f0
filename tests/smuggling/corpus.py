"""Vectors of HTTP/1 request smuggling and of desynchronisation, by name.

A vector is what one client sends on one connection.  Where its body can be read in two ways, the second
way holds a request for ``/smuggled``.  Sources are RFC 9112 §11.2, and what is commonly tried: lengths and
codings that contradict each other, names and values that some parsers take for them, line ends, chunk lines,
targets that contradict Host.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VECTORS", "Vector", "group"]

_LINES = tuple[str | bytes, ...]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#: Read by chunks it is empty and a request follows; read by its length it is all body.
EMPTY_THEN_MORE = b"0\r\n\r\n" + SMUGGLED
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Vector:
    """``waits``: a proxy may well wait for more of it, so that no answer comes."""

    name: str
    group: str
    data: bytes
    waits: bool = False


VECTORS: list[Vector] = []


def group(name: str) -> list[Vector]:
    """The vectors of one group, in order."""
    return [vector for vector in VECTORS if vector.group == name]


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode("latin-1")


def _head(first: str | bytes, *lines: str | bytes) -> bytes:
    return b"\r\n".join([_bytes(first), b"Host: a", *map(_bytes, lines), b"", b""])


def _post(*lines: str | bytes, body: bytes = b"") -> bytes:
    return _head("POST /a HTTP/1.1", *lines) + body


def _add(of: str, vectors: dict[str, bytes], *, waits: bool = False) -> None:
    VECTORS.extend(Vector(f"{of}: {name}", of, data, waits) for name, data in vectors.items())


def _length(of: bytes) -> str:
    return f"Content-Length: {len(of)}"


_add(
    "CL.TE",
    {
        "both": _post(_length(EMPTY_THEN_MORE), CHUNKED, body=EMPTY_THEN_MORE),
        "both, coding first": _post(CHUNKED, _length(EMPTY_THEN_MORE), body=EMPTY_THEN_MORE),
        "short length": _post("Content-Length: 4", CHUNKED, body=b"1e\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n"),
        "length 0": _post("Content-Length: 0", CHUNKED, body=HELLO),
        "length equal to the chunked body": _post(_length(HELLO), CHUNKED, body=HELLO),
        "in HTTP/1.0": _head("POST /a HTTP/1.0", _length(EMPTY_THEN_MORE), CHUNKED) + EMPTY_THEN_MORE,
        "on GET": _head("GET /a HTTP/1.1", _length(EMPTY_THEN_MORE), CHUNKED) + EMPTY_THEN_MORE,
        "name with an underscore": _post(
            _length(EMPTY_THEN_MORE), "Transfer_Encoding: chunked", body=EMPTY_THEN_MORE
        ),
        "TE": _post(_length(EMPTY_THEN_MORE), "TE: chunked", body=EMPTY_THEN_MORE),
        "nominated by Connection": _post(
            "Connection: transfer-encoding", _length(EMPTY_THEN_MORE), CHUNKED, body=EMPTY_THEN_MORE
        ),
        "length nominated by Connection": _post(
            "Connection: content-length", _length(SMUGGLED), body=SMUGGLED
        ),
        "coding nominated by Connection": _post("Connection: transfer-encoding", CHUNKED, body=HELLO),
    },
)

_CODINGS: dict[str, str | bytes] = {
    "leading tab": b"Transfer-Encoding:\tchunked",
    "no blank": "Transfer-Encoding:chunked",
    "many blanks": "Transfer-Encoding:   chunked   ",
    "trailing tab": "Transfer-Encoding: chunked\t",
    "capitals": "TRANSFER-ENCODING: CHUNKED",
    "vertical tab": b"Transfer-Encoding: \x0bchunked",
    "trailing vertical tab": b"Transfer-Encoding: chunked\x0b",
    "form feed": b"Transfer-Encoding: \x0cchunked",
    "NUL": b"Transfer-Encoding: chunked\x00",
    "NUL in the name": b"Transfer-Encoding\x00: chunked",
    "no-break space": b"Transfer-Encoding: \xa0chunked",
    "bare CR in front": b"Transfer-Encoding: \rchunked",
    "bare CR behind": b"Transfer-Encoding: chunked\rx",
    "blank before the colon": "Transfer-Encoding : chunked",
    "tab before the colon": "Transfer-Encoding\t: chunked",
    "blank before the name": " Transfer-Encoding: chunked",
    "folded": b"Transfer-Encoding:\r\n chunked",
    "folded with a bare LF": b"Transfer-Encoding:\n chunked",
    "folded into another": b"X: y\r\n Transfer-Encoding: chunked",
    "behind a bare LF": b"X: y\nTransfer-Encoding: chunked",
    "behind a bare CR": b"X: y\rTransfer-Encoding: chunked",
    "behind a NUL": b"X: y\x00\r\nTransfer-Encoding: chunked",
    "quoted": 'Transfer-Encoding: "chunked"',
    "parameter": "Transfer-Encoding: chunked;q=1",
    "prefix": "Transfer-Encoding: xchunked",
    "shortened": "Transfer-Encoding: chunk",
    "list with identity": "Transfer-Encoding: identity, chunked",
    "list with identity behind": "Transfer-Encoding: chunked, identity",
    "list with gzip": "Transfer-Encoding: gzip, chunked",
    "list with nothing": "Transfer-Encoding: , chunked",
    "list with nothing behind": "Transfer-Encoding: chunked,",
    "twice in a list": "Transfer-Encoding: chunked, chunked",
    "two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "two lines, identity first": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "two lines, identity last": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "two lines, nonsense last": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "two lines, empty first": b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    "empty": "Transfer-Encoding:",
    "identity": "Transfer-Encoding: identity",
    "gzip": "Transfer-Encoding: gzip",
    "Content-Encoding": "Content-Encoding: chunked",
}
_add("TE", {name: _post(line, body=HELLO) for name, line in _CODINGS.items()})
_add(
    "TE beside CL",
    {name: _post(_length(EMPTY_THEN_MORE), line, body=EMPTY_THEN_MORE) for name, line in _CODINGS.items()},
)

_add(
    "CL",
    {
        name: _post(*lines, body=b"hello")
        for name, lines in {
            "twice": ("Content-Length: 5", "Content-Length: 5"),
            "twice, 0 first": ("Content-Length: 0", "Content-Length: 5"),
            "twice, 0 last": ("Content-Length: 5", "Content-Length: 0"),
            "twice in two cases": ("Content-Length: 5", "content-length: 0"),
            "list of equals": ("Content-Length: 5, 5",),
            "list": ("Content-Length: 5, 0",),
            "list with nothing": ("Content-Length: 5,",),
            "plus": ("Content-Length: +5",),
            "minus": ("Content-Length: -5",),
            "hexadecimal": ("Content-Length: 0x5",),
            "octal": ("Content-Length: 0o5",),
            "leading zero": ("Content-Length: 05",),
            "many zeros": (f"Content-Length: {'0' * 40}5",),
            "fraction": ("Content-Length: 5.0",),
            "exponent": ("Content-Length: 5e0",),
            "underscore": ("Content-Length: 0_5",),
            "two numbers": ("Content-Length: 5 5",),
            "letter behind": ("Content-Length: 5a",),
            "semicolon behind": ("Content-Length: 5;",),
            "vertical tab": (b"Content-Length: \x0b5",),
            "NUL behind": (b"Content-Length: 5\x00",),
            "other digits": (b"Content-Length: \xd9\xa5",),
            "quoted": ('Content-Length: "5"',),
            "empty": ("Content-Length:",),
            "empty, then 5": ("Content-Length:", "Content-Length: 5"),
            "2^64": (f"Content-Length: {2**64}",),
            "2^64 + 5": (f"Content-Length: {2**64 + 5}",),
            "40 digits": (f"Content-Length: {'9' * 40}",),
            "blank before the colon": ("Content-Length : 5",),
            "tab before the colon": ("Content-Length\t: 5",),
            "blank before the name": (" Content-Length: 5",),
            "name with an underscore": ("Content_Length: 5",),
            "folded": (b"Content-Length:\r\n 5",),
            "folded digits": (b"Content-Length: 5\r\n 5",),
            "behind a bare LF": (b"X: y\nContent-Length: 5",),
            "behind a bare CR": (b"X: y\rContent-Length: 5",),
            "trailing blanks": ("Content-Length: 5 \t",),
        }.items()
    },
)
# Lengths that are taken as they stand leave a proxy waiting for the rest.
_add(
    "CL",
    {
        "2^63": _post(f"Content-Length: {2**63}", body=b"hello"),
        "2^32 + 5": _post(f"Content-Length: {2**32 + 5}", body=b"hello"),
    },
    waits=True,
)

_SIZES: dict[str, bytes] = {
    "extension": b"5;a=b",
    "extension without a value": b"5;a",
    "extension, quoted": b'5;a="b;c"',
    "extension, quoted line end": b'5;a="\r\n"',
    "empty extension": b"5;",
    "two semicolons": b"5;;",
    "blank before the extension": b"5 ;a",
    "extension with a bare LF": b"5;a\nb",
    "extension with a bare CR": b"5;a\rb",
    "extension with a NUL": b"5;a\x00b",
    "extension with high bytes": b"5;a=\xff",
    "extension of 3000 bytes": b"5;" + b"a" * 3000,
    "hexadecimal prefix": b"0x5",
    "plus": b"+5",
    "minus": b"-5",
    "leading blank": b" 5",
    "leading tab": b"\t5",
    "trailing blank": b"5 ",
    "trailing tab": b"5\t",
    "blank inside": b"0 5",
    "leading zero": b"05",
    "16 digits": b"0" * 15 + b"5",
    "17 digits": b"0" * 16 + b"5",
    "40 digits": b"0" * 39 + b"5",
    "letter behind": b"5g",
    "underscore": b"0_5",
    "comma": b"5,",
    "empty": b"",
    "blank alone": b" ",
    "2^64 + 5": b"10000000000000005",
    "no number": b"five",
    "NUL": b"5\x00",
    "vertical tab": b"5\x0b",
}
_add(
    "chunk size",
    {name: _post(CHUNKED, body=size + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED) for name, size in _SIZES.items()},
)
_add(
    "chunk",
    {
        "bare LF behind the size": _post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
        "bare LF behind the data": _post(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"),
        "bare LF everywhere": _post(CHUNKED, body=b"5\nhello\n0\n\n"),
        "nothing behind the data": _post(CHUNKED, body=b"5\r\nhello0\r\n\r\n"),
        "two bytes behind the data": _post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"),
        "bare CR behind the data": _post(CHUNKED, body=b"5\r\nhello\r0\r\n\r\n"),
        "data longer than its size": _post(CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n"),
        "data shorter than its size": _post(CHUNKED, body=b"7\r\nhello\r\n0\r\n\r\n"),
        "CR CR LF behind the size": _post(CHUNKED, body=b"5\r\r\nhello\r\n0\r\n\r\n"),
        "bare LF behind the last size": _post(CHUNKED, body=b"0\n\r\n" + SMUGGLED),
        "bare LF at the end": _post(CHUNKED, body=b"0\r\n\n" + SMUGGLED),
        "two zeros": _post(CHUNKED, body=b"00\r\n\r\n" + SMUGGLED),
        "minus zero": _post(CHUNKED, body=b"-0\r\n\r\n" + SMUGGLED),
        "extension of the last": _post(CHUNKED, body=b"0;a=b\r\n\r\n" + SMUGGLED),
        "trailers": _post(CHUNKED, body=b"0\r\nX: y\r\n\r\n" + SMUGGLED),
        "trailer content-length": _post(CHUNKED, body=b"0\r\nContent-Length: 36\r\n\r\n" + SMUGGLED),
        "trailer transfer-encoding": _post(CHUNKED, body=b"0\r\nTransfer-Encoding: gzip\r\n\r\n" + SMUGGLED),
        "trailer with a bare LF": _post(CHUNKED, body=b"0\r\nX: y\nZ: a\r\n\r\n" + SMUGGLED),
        "trailer without a colon": _post(CHUNKED, body=b"0\r\nGET /x HTTP/1.1\r\n\r\n" + SMUGGLED),
        "folded trailer": _post(CHUNKED, body=b"0\r\nX: y\r\n z\r\n\r\n" + SMUGGLED),
        "in HTTP/1.0": _head("POST /a HTTP/1.0", CHUNKED) + HELLO,
    },
)
_add(
    "chunk",
    {
        "size 2^63 - 1": _post(CHUNKED, body=b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        "size 2^64 - 1": _post(CHUNKED, body=b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    },
    waits=True,
)

_TWO = b"POST /a HTTP/1.1\r\nHost: a\r\n"
_add(
    "lines",
    {
        "bare LF": b"POST /a HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
        "bare LF at the end": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\nhello",
        "bare LF in front of CRLF": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\n\r\nhello",
        "LF CR": b"POST /a HTTP/1.1\r\nHost: a\n\rContent-Length: 5\r\n\r\nhello",
        "CR CR LF": b"POST /a HTTP/1.1\r\nHost: a\r\r\nContent-Length: 5\r\n\r\nhello",
        "CR CR LF at the end": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\r\nhello",
        "bare CR": b"POST /a HTTP/1.1\rHost: a\rContent-Length: 5\r\rhello\r\n\r\n",
        "bare CR hides a field": _TWO + b"X: y\rZ: a\r\n\r\n",
        "bare CR hides an end": _TWO + b"X: y\r\rGET /smuggled HTTP/1.1\r\n\r\n",
        "bare LF hides an end": _TWO + b"X: y\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "NUL hides an end": _TWO + b"X: y\x00\r\n\r\n",
        "next line": _TWO + b"X: y\x85Z: a\r\n\r\n",
        "line separator": _TWO + b"X: y\xe2\x80\xa8Z: a\r\n\r\n",
        "folded": _TWO + b"X: y\r\n z\r\n\r\n",
        "folded with a tab": _TWO + b"X: y\r\n\tz\r\n\r\n",
        "folded blank line": _TWO + b"X: y\r\n \r\nZ: a\r\n\r\n",
        "first field folded": b"GET /a HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
        "blank before the first field": b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
        "CRLF in front": b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "LF in front": b"\n\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CR in front": b"\rGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "blank in front": b" GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "NUL in front": b"\x00GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    },
)
_add(
    "names",
    {
        "empty": _post(": y"),
        "no colon": _post("X"),
        "blank inside": _post("X y: z"),
        "blank before the colon": _post("X : y"),
        "tab before the colon": _post("X\t: y"),
        "NUL": _post(b"X\x00: y"),
        "control": _post(b"X\x01: y"),
        "DEL": _post(b"X\x7f: y"),
        "high byte": _post(b"X\xff: y"),
        "quote": _post('X": y'),
        "parenthesis": _post("X(: y"),
        "slash": _post("X/: y"),
        "at": _post("X@: y"),
        "bracket": _post("X[: y"),
        "brace": _post("X{: y"),
        "token": _post("!#$%&'*+-.^_`|~: y"),
        "pseudo header": _post(":method: GET"),
        "control in a value": _post(b"X: \x01y"),
        "DEL in a value": _post(b"X: \x7fy"),
        "colon twice": _post("X:: y"),
    },
)
_FIRST = {
    "HTTP/0.9": "GET /a",
    "HTTP/0.9 with a blank": "GET /a ",
    "version 0.9": "GET /a HTTP/0.9",
    "version 1.2": "GET /a HTTP/1.2",
    "version 1.10": "GET /a HTTP/1.10",
    "version 01.1": "GET /a HTTP/01.1",
    "version 1.01": "GET /a HTTP/1.01",
    "version 2.0": "GET /a HTTP/2.0",
    "version 1": "GET /a HTTP/1",
    "version 1,1": "GET /a HTTP/1,1",
    "version +1.1": "GET /a HTTP/+1.1",
    "version in lower case": "GET /a http/1.1",
    "version ICAP": "GET /a ICAP/1.1",
    "version RTSP": "GET /a RTSP/1.0",
    "blank behind": "GET /a HTTP/1.1 ",
    "two versions": "GET /a HTTP/1.1 HTTP/1.0",
    "two blanks": "GET  /a HTTP/1.1",
    "tabs": "GET\t/a\tHTTP/1.1",
    "vertical tab": "GET /a\x0bHTTP/1.1",
    "form feed": "GET\x0c/a HTTP/1.1",
    "CR": "GET /a\rHTTP/1.1",
    "NUL in the target": "GET /a\x00b HTTP/1.1",
    "blank in the target": "GET /a b HTTP/1.1",
    "high bytes in the target": "GET /\xc3\xa9 HTTP/1.1",
    "fragment": "GET /a#b HTTP/1.1",
    "method in lower case": "get /a HTTP/1.1",
    "unknown method": "BREW /a HTTP/1.1",
    "method with a colon": "GET: /a HTTP/1.1",
    "method with a NUL": "G\x00T /a HTTP/1.1",
    "no method": " /a HTTP/1.1",
    "authority": "GET a:80 HTTP/1.1",
    "no slash": "GET a HTTP/1.1",
    "asterisk": "GET * HTTP/1.1",
    "asterisk of OPTIONS": "OPTIONS * HTTP/1.1",
    "asterisk and more": "OPTIONS *a HTTP/1.1",
    "query alone": "GET ?a HTTP/1.1",
    "absolute": "GET http://a/b HTTP/1.1",
    "absolute with another host": "GET http://b/c HTTP/1.1",
    "absolute with a user": "GET http://u:p@a/b HTTP/1.1",
    "absolute with two at": "GET http://u@b@a/c HTTP/1.1",
    "absolute without a path": "GET http://a HTTP/1.1",
    "absolute with a query alone": "GET http://a?b HTTP/1.1",
    "absolute with a fragment": "GET http://a#b HTTP/1.1",
    "absolute without a host": "GET http:///b HTTP/1.1",
    "absolute with an empty port": "GET http://a:/b HTTP/1.1",
    "absolute with a bad port": "GET http://a:x/b HTTP/1.1",
    "absolute with a large port": "GET http://a:99999/b HTTP/1.1",
    "absolute of ftp": "GET ftp://a/b HTTP/1.1",
    "absolute of https": "GET https://a/b HTTP/1.1",
    "absolute in capitals": "GET HTTP://A/b HTTP/1.1",
    "absolute with a backslash": "GET http://a\\b/c HTTP/1.1",
    "scheme alone": "GET http: HTTP/1.1",
    "one slash": "GET http:/b HTTP/1.1",
    "two slashes": "GET //b/c HTTP/1.1",
    "CONNECT without a port": "CONNECT a HTTP/1.1",
    "CONNECT of a path": "CONNECT /a HTTP/1.1",
    "CONNECT of a URL": "CONNECT http://a/ HTTP/1.1",
}
_add("first line", {name: _head(line.encode("latin-1")) for name, line in _FIRST.items()})
_add("first line", {"HTTP/2 preface": _head("PRI * HTTP/2.0")}, waits=True)
_HOSTS: dict[str, tuple[bytes, ...]] = {
    "none": (),
    "empty": (b"Host:",),
    "two": (b"Host: a", b"Host: b"),
    "two equal": (b"Host: a", b"Host: a"),
    "list": (b"Host: a, b",),
    "blank": (b"Host: a b",),
    "path": (b"Host: a/b",),
    "user": (b"Host: u@a",),
    "query": (b"Host: a?b",),
    "fragment": (b"Host: a#b",),
    "bad port": (b"Host: a:b",),
    "two ports": (b"Host: a:80:81",),
    "blank before the colon": (b"Host : a",),
    "folded": (b"Host: a\r\n b",),
    "NUL": (b"Host: a\x00b",),
    "bare CR": (b"Host: a\rb",),
    "high byte": (b"Host: \xff",),
    "IPv6": (b"Host: [::1]:80",),
    "backslash": (b"Host: a\\b",),
    "bracket": (b"Host: [a",),
    "tab": (b"Host:\ta",),
}
_add(
    "host",
    {name: b"\r\n".join([b"GET /a HTTP/1.1", *lines, b"", b""]) for name, lines in _HOSTS.items()},
)
_add(
    "host of an absolute target",
    {name: b"\r\n".join([b"GET http://a/b HTTP/1.1", *lines, b"", b""]) for name, lines in _HOSTS.items()},
)
_METHODS = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND")
_add(
    "bodies",
    {
        **{
            f"length of {method}": _head(f"{method} /a HTTP/1.1", _length(SMUGGLED)) + SMUGGLED
            for method in _METHODS
        },
        **{f"chunks of {method}": _head(f"{method} /a HTTP/1.1", CHUNKED) + HELLO for method in _METHODS},
        "length of CONNECT": _head("CONNECT a:80 HTTP/1.1", _length(SMUGGLED)) + SMUGGLED,
        "length 0 of CONNECT": _head("CONNECT a:80 HTTP/1.1", "Content-Length: 0") + SMUGGLED,
        "chunks of CONNECT": _head("CONNECT a:80 HTTP/1.1", CHUNKED) + HELLO + SMUGGLED,
        "none of CONNECT": _head("CONNECT a:80 HTTP/1.1") + SMUGGLED,
        "length of an upgrade": _post(
            "Connection: upgrade", "Upgrade: websocket", _length(SMUGGLED), body=SMUGGLED
        ),
        "none of an upgrade": _head("GET /a HTTP/1.1", "Connection: upgrade", "Upgrade: websocket")
        + SMUGGLED,
        "length of h2c": _post(
            "Connection: upgrade, http2-settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            _length(SMUGGLED),
            body=SMUGGLED,
        ),
        "none of h2c": _head(
            "GET /a HTTP/1.1",
            "Connection: upgrade, http2-settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        )
        + SMUGGLED,
        "behind Connection: close": _head("GET /a HTTP/1.1", "Connection: close") + SMUGGLED,
        "behind HTTP/1.0": _head("GET /a HTTP/1.0") + SMUGGLED,
        "behind a body": _post("Content-Length: 5", body=b"hello" + SMUGGLED),
        "behind a longer body": _post("Content-Length: 5", body=b"helloXX" + SMUGGLED),
        "behind chunks": _post(CHUNKED, body=HELLO + SMUGGLED),
        "none of POST": _post(body=SMUGGLED),
        "expected length": _post("Expect: 100-continue", _length(SMUGGLED), body=SMUGGLED),
        "expected chunks": _post("Expect: 100-continue", CHUNKED, body=HELLO + SMUGGLED),
        "expected, spelled otherwise": _post("Expect: 100-Continue ", _length(SMUGGLED), body=SMUGGLED),
        "other expectation": _post("Expect: 200-ok", _length(SMUGGLED), body=SMUGGLED),
    },
)
