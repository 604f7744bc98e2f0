"""ClientHello (RFC 8446 §4.1.2), read from the first records of a connection without answering them.

What is taken for a ClientHello follows BoringSSL, which Envoy's inspector asks: a message in any number of
records, warnings between them passed over, or one of SSL 2 that offers TLS.  The fingerprints are JA3 and JA4
as Envoy writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ClientHello",
    "ClosedByAlert",
    "NotClientHello",
    "alpn",
    "ja3",
    "ja4",
    "read_client_hello",
    "server_name",
]

_HEADER = 5
_MAJOR = 3
_ALERT, _HANDSHAKE, _CLIENT_HELLO = 21, 22, 1
_WARNING, _CLOSE_NOTIFY = 1, 0
_MAX_RECORD = 16384 + 320
_MAX_MESSAGE, _MAX_V2 = 16384, 4096
_MAX_EMPTY_RECORDS, _MAX_WARNINGS = 32, 4
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
_TLS10, _TLS13 = 0x0301, 0x0304
_GREASE = frozenset(0x0A0A + 0x1010 * number for number in range(16))
_NO_HASH = "000000000000"
_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}
#: JA4 counts to 99.
_MOST = 99


class NotClientHello(Exception):
    """The bytes begin no ClientHello."""


class ClosedByAlert(Exception):
    """Instead of a ClientHello the client says that it closes."""


class ClientHello(NamedTuple):
    """The parts of a ClientHello that tell something."""

    version: int
    cipher_suites: tuple[int, ...]
    extensions: tuple[tuple[int, bytes], ...]
    #: Bytes of the records that hold it.
    size: int

    @property
    def is_supported(self) -> bool:
        """Whether the version field, whatever the extensions say, is one of TLS 1.0 to 1.3."""
        return _TLS10 <= self.version <= _TLS13

    def extension(self, number: int) -> bytes | None:
        """The body of an extension."""
        return next((body for kind, body in self.extensions if kind == number), None)


class _Reader:
    """Takes numbers and vectors from the front of bytes."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise NotClientHello("a field is longer than what holds it")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """What is prefixed by its length in ``size`` bytes."""
        return self.take(self.number(size))

    def is_over(self) -> bool:
        return self.at == len(self.data)


def read_client_hello(data: bytes) -> ClientHello | None:
    """The ClientHello at the start of ``data``; None while there is not enough of it.

    Raises: NotClientHello.
    """
    if len(data) >= _HEADER and data[0] & 0x80 and data[2] == _CLIENT_HELLO and data[3] == _MAJOR:
        return _read_v2(data)
    message = b""
    at = empty = warnings = 0
    while True:
        if len(data) < at + _HEADER:
            return None
        kind, major, length = data[at], data[at + 1], int.from_bytes(data[at + 3 : at + _HEADER], "big")
        if major != _MAJOR or length > _MAX_RECORD:
            raise NotClientHello("no record of TLS")
        begin = at + _HEADER
        if len(data) < begin + length:
            return None
        at = begin + length
        if kind == _ALERT:
            _check_alert(data[begin:at])
            warnings += 1
        elif kind != _HANDSHAKE:
            raise NotClientHello("a record of another type")
        else:
            empty = 0 if length else empty + 1
            message += data[begin:at]
        if empty > _MAX_EMPTY_RECORDS or warnings > _MAX_WARNINGS:
            raise NotClientHello("nothing but empty records, or warnings")
        if len(message) < 4:
            continue
        size = 4 + int.from_bytes(message[1:4], "big")
        if size > 4 + _MAX_MESSAGE or len(message) > size:
            raise NotClientHello("a message that is too long, or more behind it")
        if len(message) == size:
            if message[0] != _CLIENT_HELLO:
                raise NotClientHello("another message")
            return _parse(message[4:], at)


def _check_alert(alert: bytes) -> None:
    """An alert in front of a ClientHello: warnings are passed over."""
    if len(alert) != 2 or alert[0] != _WARNING:
        raise NotClientHello("an alert")
    if alert[1] == _CLOSE_NOTIFY:
        raise ClosedByAlert


def _read_v2(data: bytes) -> ClientHello | None:
    """A ClientHello in the form of SSL 2 (RFC 5246 appendix E.2)."""
    length = int.from_bytes(data[:2], "big") & 0x7FFF
    if length > _MAX_V2:
        raise NotClientHello("a message that is too long")
    if len(data) < 2 + length:
        return None
    reader = _Reader(data[3 : 2 + length])
    version, specs, session, challenge = (reader.number(2) for _ in range(4))
    ciphers = reader.take(specs)
    reader.take(session + challenge)
    suites = tuple(
        int.from_bytes(ciphers[at + 1 : at + 3], "big") for at in range(0, specs, 3) if not ciphers[at]
    )
    if not suites or specs % 3 or not reader.is_over():
        raise NotClientHello("no cipher suites of TLS")
    return ClientHello(version, suites, (), 2 + length)


def _parse(body: bytes, size: int) -> ClientHello:
    reader = _Reader(body)
    version = reader.number(2)
    reader.take(32)
    if len(reader.vector(1)) > 32:
        raise NotClientHello("a session id that is too long")
    suites = reader.vector(2)
    compression = reader.vector(1)
    if len(suites) < 2 or len(suites) % 2 or not compression:
        raise NotClientHello("no cipher suites, or no compression methods")
    extensions: tuple[tuple[int, bytes], ...] = ()
    if not reader.is_over():
        extensions = tuple(_extensions(reader.vector(2)))
        if not reader.is_over() or len({kind for kind, _ in extensions}) != len(extensions):
            raise NotClientHello("bytes behind the extensions, or an extension twice")
    hello = ClientHello(version, _numbers(suites), extensions, size)
    server_name(hello)
    return hello


def _extensions(data: bytes) -> Iterable[tuple[int, bytes]]:
    reader = _Reader(data)
    while not reader.is_over():
        yield reader.number(2), reader.vector(2)


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2))


def server_name(hello: ClientHello) -> str:
    """The host name of SNI (RFC 6066 §3), as it came; empty for none.  Raises: NotClientHello."""
    body = hello.extension(_SERVER_NAME)
    if body is None:
        return ""
    outer = _Reader(body)
    inner = _Reader(outer.vector(2))
    kind = inner.number(1)
    name = inner.vector(2)
    if kind or not outer.is_over() or not inner.is_over() or not 0 < len(name) < 256 or b"\0" in name:
        raise NotClientHello("a broken server name")
    return name.decode("latin-1")


def alpn(hello: ClientHello) -> tuple[str, ...] | None:
    """The protocols that the client offers (RFC 7301 §3.1); None for none, or a list that is broken."""
    body = hello.extension(_ALPN)
    if body is None:
        return None
    try:
        outer = _Reader(body)
        inner = _Reader(outer.vector(2))
        if not outer.is_over():
            return None
        names = []
        while not inner.is_over():
            names.append(inner.vector(1).decode("latin-1"))
    except NotClientHello:
        return None
    return tuple(names) if names and all(names) else None


def _plain(numbers: Iterable[int]) -> list[int]:
    """Without those that mean nothing (RFC 8701)."""
    return [number for number in numbers if number not in _GREASE]


def ja3(hello: ClientHello) -> str:
    """The JA3 fingerprint: MD5 of version, cipher suites, extensions, groups and point formats.

    As Envoy writes it, groups that mean nothing (RFC 8701) stay in it.
    """
    groups = _numbers((hello.extension(_GROUPS) or b"")[2:])
    formats = (hello.extension(_POINT_FORMATS) or b"")[1:]
    parts = (
        (hello.version,),
        _plain(hello.cipher_suites),
        _plain(kind for kind, _ in hello.extensions),
        groups,
        formats,
    )
    text = ",".join("-".join(map(str, part)) for part in parts)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def ja4(hello: ClientHello) -> str:
    """The JA4 fingerprint of a connection over TCP."""
    suites = _plain(hello.cipher_suites)
    kinds = _plain(kind for kind, _ in hello.extensions)
    versions = _plain(_numbers((hello.extension(_VERSIONS) or b"")[1:]))
    version = _JA4_VERSIONS.get(max(versions, default=hello.version), "00")
    has_name = "d" if _SERVER_NAME in kinds else "i"
    head = f"t{version}{has_name}{min(len(suites), _MOST):02}{min(len(kinds), _MOST):02}{_ja4_alpn(hello)}"
    rest = sorted(kind for kind in kinds if kind not in (_SERVER_NAME, _ALPN))
    signatures = _numbers((hello.extension(_SIGNATURES) or b"")[2:])
    texts = [_hexes(rest)] + ([_hexes(signatures)] if signatures else [])
    return f"{head}_{_hash(_hexes(sorted(suites)))}_{_hash('_'.join(texts) if rest else '')}"


def _ja4_alpn(hello: ClientHello) -> str:
    body = hello.extension(_ALPN)
    if body is None or len(body) < 3:
        return "00"
    first = body[3 : 3 + body[2]]
    if not first or len(first) < body[2]:
        return "00"
    ends = chr(first[0]), chr(first[-1])
    if all(end.isascii() and end.isalnum() for end in ends):
        return "".join(ends)
    return f"{first[0] >> 4:x}{first[-1] & 15:x}"


def _hexes(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NO_HASH
