"""Where tokens stand in a request, and how they are taken out of it.

Locations are looked at in the order of their names, headers before query parameters before cookies, as in
Envoy; each may be named by several providers, whose issuers it then is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import compile as pattern
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from sidecar.core.cookies import cookie_values
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["COOKIE", "HEADER", "PARAM", "TOKEN_BYTES", "Extractor", "Location", "Places"]

HEADER, PARAM, COOKIE = range(3)
#: What a token is made of, and its dots.
_TOKEN = pattern(rb"[A-Za-z0-9_.-]")
TOKEN_BYTES = frozenset(bytes((each,)) for each in range(256) if _TOKEN.fullmatch(bytes((each,))))


@dataclass(frozen=True, slots=True)
class Places:
    """Where one provider's tokens are, and the headers that it makes of them."""

    issuer: str
    #: (name, value_prefix).
    headers: tuple[tuple[bytes, bytes], ...]
    params: tuple[bytes, ...]
    cookies: tuple[bytes, ...]


class Location:
    """One place, and the issuers whose tokens may stand there; None for all."""

    __slots__ = ("is_field", "issuers", "kind", "name", "prefix")

    def __init__(self, kind: int, name: bytes, prefix: bytes = b"") -> None:
        self.kind = kind
        self.name = name
        #: Whether a header of that name is one of the fields, and not a pseudo header.
        self.is_field = name[:1] != b":" and name != b"host"
        self.prefix = prefix
        self.issuers: frozenset[str] | None = frozenset()

    def allow(self, issuer: str) -> None:
        """Let tokens of ``issuer`` stand here; empty for those of any."""
        if not issuer:
            self.issuers = None
        elif self.issuers is not None:
            self.issuers |= {issuer}

    def remove(self, headers: RequestHeaders) -> None:
        """Take the token out of the request; out of cookies it is not taken."""
        if self.kind == HEADER:
            headers.remove(self.name)
        elif self.kind == PARAM and headers.path is not None:
            headers.path = _without(headers.path, self.name)


class Extractor:
    """Finds the tokens of a request at the places of some providers."""

    __slots__ = ("_cookies", "_headers", "_params")

    def __init__(self, providers: Iterable[Places]) -> None:
        headers: dict[bytes, Location] = {}
        params: dict[bytes, Location] = {}
        cookies: dict[bytes, Location] = {}
        for places in providers:
            for name, prefix in places.headers:
                headers.setdefault(name + prefix, Location(HEADER, name, prefix)).allow(places.issuer)
            for name in places.params:
                params.setdefault(name, Location(PARAM, name)).allow(places.issuer)
            for name in places.cookies:
                cookies.setdefault(name, Location(COOKIE, name)).allow(places.issuer)
        self._headers = tuple(headers[key] for key in sorted(headers))
        self._params = tuple(params[key] for key in sorted(params))
        self._cookies = tuple(cookies[key] for key in sorted(cookies))

    @property
    def has_params(self) -> bool:
        """Whether tokens may stand in parameters."""
        return bool(self._params)

    def only_header(self) -> Location | None:
        """The place that is all but parameters, if it is a field; None where there are others or none."""
        if len(self._headers) != 1 or self._cookies or not self._headers[0].is_field:
            return None
        return self._headers[0]

    def extract(self, headers: RequestHeaders) -> list[tuple[bytes, Location]]:
        """Every token with its place."""
        found: list[tuple[bytes, Location]] = []
        index = headers.index()
        for location in self._headers:
            name = location.name
            value = index.get(name) if location.is_field else headers.get(name)
            if value is None:
                continue
            if len(index) == len(headers.fields) or not location.is_field:
                _add(value, location, found)
            else:
                for each in headers.get_all(name):
                    _add(each, location, found)
        path = headers.path
        if self._params and path is not None and b"?" in path:
            params = _parameters(path)
            for location in self._params:
                values = params.get(location.name)
                if values is not None:
                    found.append((values[0], location))
        if self._cookies:
            cookies = cookie_values(headers)
            for location in self._cookies:
                value = cookies.get(location.name)
                if value is not None:
                    found.append((value, location))
        return found


def _add(value: bytes, location: Location, found: list[tuple[bytes, Location]]) -> None:
    prefix = location.prefix
    if prefix:
        at = value.find(prefix)
        if at < 0:
            return
        start = at + len(prefix)
        if value[start : start + 1] in TOKEN_BYTES:  # what comes at once, mostly
            value = value[start:]
        else:
            match = _TOKEN.search(value, start)
            if match is not None:
                value = value[match.start() :]
    found.append((value, location))


def _parameters(path: bytes) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    query = path.partition(b"?")[2]
    for pair in query.split(b"&") if query else ():
        name, _, value = pair.partition(b"=")
        found.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return found


def _without(path: bytes, name: bytes) -> bytes:
    """As Envoy writes a query anew: decoded, sorted by name, each with a ``=``."""
    plain, _, _ = path.partition(b"?")
    found = _parameters(path)
    found.pop(name, None)
    pairs = [key + b"=" + value for key in sorted(found) for value in found[key]]
    return plain + b"?" + b"&".join(pairs) if pairs else plain
