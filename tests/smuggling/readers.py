"""Two servers' readings of the same bytes: one that takes only what RFC 9112 writes, one that guesses.

They stand for what may be behind a proxy.  What a proxy forwards is safe when both read the same messages;
it is not when one finds a request where the other sees a body, a host where the other sees a value, or when
one refuses what the other runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Incomplete", "Request", "Unreadable", "read_lax", "read_strict"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a server would act on."""

    method: bytes
    target: bytes
    host: bytes
    body: bytes


class Unreadable(Exception):
    """The server refuses the bytes."""


class Incomplete(Exception):
    """More is needed."""


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/1\.[01]").fullmatch
_VALUE = re.compile(rb"[\t -~\x80-\xff]*").fullmatch
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?").fullmatch


def read_strict(data: bytes) -> tuple[Request, bytes]:
    """The first request of ``data`` and what is behind it, by the letter of RFC 9112.

    Raises: Unreadable, Incomplete.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise Incomplete
    first, *lines = data[:end].split(b"\r\n")
    rest = data[end + 4 :]
    match = _REQUEST_LINE(first)
    if match is None:
        raise Unreadable(f"request line {first!r}")
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN(name) or not _VALUE(value):
            raise Unreadable(f"field {line!r}")
        fields.append((name.lower(), value.strip(b" \t")))
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1:
        raise Unreadable("not one host")
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths and codings:
        raise Unreadable("length and coding")
    body = b""
    if codings:
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise Unreadable("coding")
        body, rest = _strict_chunks(rest)
    elif lengths:
        if len(lengths) != 1 or not re.fullmatch(rb"[0-9]{1,99}", lengths[0]):
            raise Unreadable("length")
        size = int(lengths[0])
        if size >> 64:
            raise Unreadable("length out of range")
        if len(rest) < size:
            raise Incomplete
        body, rest = rest[:size], rest[size:]
    return Request(match[1], match[2], hosts[0], body), rest


def _strict_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            raise Incomplete
        match = _SIZE(line)
        if match is None:
            raise Unreadable(f"chunk size {line!r}")
        size = int(match[1], 16)
        if not size:
            break
        if len(rest) < size + 2:
            raise Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise Unreadable("chunk without its end")
        body += rest[:size]
        data = rest[size + 2 :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise Incomplete
        if not line:
            return body, rest
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN(name) or not _VALUE(value):
            raise Unreadable(f"trailer {line!r}")


#: A line ends with LF, with CR, or with both.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\n)")
_FOLD = re.compile(rb"(?:\r\n|\n|\r(?!\n))[ \t]+")
_END_OF_HEAD = re.compile(rb"(?:\r\n|\n|\r(?!\n))[ \t]*(?:\r\n|\n|\r(?!\n))")


def read_lax(data: bytes) -> tuple[Request, bytes]:
    """The same by a server that makes sense of anything.

    Lines end anyhow, blanks and control characters around names and values are nothing, the last of several
    fields counts, a length is any leading digits and goes before a coding, and a coding is anything with
    ``chunked`` in it.  Raises: Unreadable, Incomplete.
    """
    data = data.lstrip(b"\r\n \t\x00")
    match = _END_OF_HEAD.search(data)
    if match is None:
        raise Incomplete
    head, rest = _FOLD.sub(b" ", data[: match.start()]), data[match.end() :]
    first, *lines = _LINE_END.split(head)
    words = first.replace(b"\x00", b" ").split()
    if len(words) < 2:
        raise Unreadable(f"request line {first!r}")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        plain = bytes(byte for byte in name if byte > 0x20 and byte != 0x7F).lower().replace(b"_", b"-")
        fields[plain] = value.strip(b" \t\r\n\x00\x0b\x0c\x85\xa0\"'")
    body = b""
    length = re.match(rb"[+]?0*([0-9]+)", fields.get(b"content-length", b""))
    if length is not None:
        size = int(length[1])
        if len(rest) < size:
            raise Incomplete
        body, rest = rest[:size], rest[size:]
    elif b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        body, rest = _lax_chunks(rest)
    target, host = words[1], fields.get(b"host", b"")
    return Request(words[0], target, host, body), rest


def _lax_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        match = _LINE_END.search(data)
        if match is None:
            raise Incomplete
        digits = re.match(rb"[ \t+]*(?:0[xX])?([0-9A-Fa-f_]*)", data[: match.start()])
        size = int(digits[1].replace(b"_", b"") or b"0", 16) if digits else 0
        data = data[match.end() :]
        if not size:
            break
        if len(data) < size:
            raise Incomplete
        body, data = body + data[:size], data[size:].lstrip(b"\r\n")
    while True:
        match = _LINE_END.search(data)
        if match is None:
            raise Incomplete
        line, data = data[: match.start()], data[match.end() :]
        if not line:
            return body, data
