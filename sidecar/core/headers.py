"""Header maps: what a message carries besides its body.

A map is a list of ``(lower-case name, value)`` in wire order, with an index that is built when
somebody first looks a name up (RFC 9110 §5; names compare without case, so they are kept lower).
Pseudo headers (RFC 9113 §8.3) live in attributes and answer to their names as well:
``headers.get(b":path")`` and ``headers.path`` are one thing.  Iteration yields them first, as
Envoy's filters see them.

Envoy's maps hold one entry of some names (its O(1) headers): what arrives or is added twice becomes one
value, joined by a comma.  Which names these are differs between requests and responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, ClassVar

__all__ = [
    "Field",
    "HeaderMap",
    "RequestHeaders",
    "ResponseHeaders",
]

Field = tuple[bytes, bytes]

#: Names of which a request's head holds one entry, seen on Envoy.
_REQUEST_SINGLE = frozenset(
    b"accept accept-encoding access-control-request-headers access-control-request-method "
    b"access-control-request-private-network authorization cache-control cdn-loop connection "
    b"content-encoding content-length content-type expect grpc-accept-encoding grpc-timeout "
    b"if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive origin pragma "
    b"proxy-connection proxy-status referer te transfer-encoding upgrade user-agent via "
    b"x-client-trace-id x-envoy-attempt-count x-envoy-decorator-operation "
    b"x-envoy-downstream-service-cluster x-envoy-downstream-service-node "
    b"x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace "
    b"x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags x-envoy-is-timeout-retry "
    b"x-envoy-max-retries x-envoy-original-host x-envoy-original-path x-envoy-original-url "
    b"x-envoy-retriable-header-names x-envoy-retriable-status-codes x-envoy-retry-grpc-on "
    b"x-envoy-retry-on x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms "
    b"x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms "
    b"x-envoy-upstream-stream-duration-ms x-forwarded-client-cert x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-proto x-request-id".split()
)
#: The same of a response's head.
_RESPONSE_SINGLE = frozenset(
    b"access-control-allow-credentials access-control-allow-headers access-control-allow-methods "
    b"access-control-allow-origin access-control-allow-private-network access-control-expose-headers "
    b"access-control-max-age age cache-control connection content-encoding content-length content-type "
    b"date etag expires grpc-message grpc-status keep-alive last-modified location proxy-connection "
    b"proxy-status server transfer-encoding upgrade vary via x-envoy-attempt-count "
    b"x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail "
    b"x-envoy-ratelimited x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster "
    b"x-envoy-upstream-service-time x-request-id".split()
)


class HeaderMap:
    """Fields in wire order.  Names given to every method are lower-case bytes."""

    __slots__ = ("_index", "fields", "key_case")

    #: Names of which the map holds one entry once :meth:`join_repeated` and :meth:`append` keep it so.
    single: ClassVar[frozenset[bytes]] = frozenset()

    def __init__(self, fields: list[Field] | None = None) -> None:
        self.fields: list[Field] = [] if fields is None else fields
        self._index: dict[bytes, bytes] | None = None
        #: How HTTP/1 wrote the names (``preserve_case``): a ``sidecar.codec.h1_case.KeyCase``, mostly None.
        self.key_case: Any = None

    # -- looking up -------------------------------------------------------------------------
    def index(self) -> dict[bytes, bytes]:
        """Names present among the regular fields (values are any one of the name's values)."""
        index = self._index
        if index is None:
            index = self._index = dict(self.fields)
        return index

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``, or None."""
        index = self._index
        if index is None:
            index = self._index = dict(self.fields)
        value = index.get(name)
        if value is None:
            return self._pseudo(name) if name[:1] == b":" else None
        if len(index) == len(self.fields):
            return value  # every name stands once
        for key, value in self.fields:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of ``name`` in order; empty when there is none."""
        if name[:1] == b":":
            value = self._pseudo(name)
            return [] if value is None else [value]
        return [value for key, value in self.fields if key == name]

    def get_joined(self, name: bytes, separator: bytes = b",") -> bytes | None:
        """All values of ``name`` in one, joined as Envoy joins them, or None."""
        values = self.get_all(name)
        return separator.join(values) if values else None

    def __contains__(self, name: bytes) -> bool:
        if name[:1] == b":":
            return self._pseudo(name) is not None
        return name in self.index()

    def __iter__(self) -> Iterator[Field]:
        yield from self.pseudo_fields()
        yield from self.fields

    def __len__(self) -> int:
        return len(self.fields) + sum(1 for _ in self.pseudo_fields())

    def byte_size(self) -> int:
        """The sum of name and value lengths, as Envoy's HeaderMap::byteSize."""
        return len(b"".join(chain.from_iterable(self.fields)))  # one with pseudo headers adds them

    # -- changing ---------------------------------------------------------------------------
    def add(self, name: bytes, value: bytes) -> None:
        """Append one more field; a pseudo header is set."""
        if name[:1] == b":":
            self._set_pseudo(name, value)
            return
        self.fields.append((name, value))
        if self._index is not None:
            self._index[name] = value

    def set(self, name: bytes, value: bytes) -> None:
        """Make ``value`` the only value of ``name``: in place of the first, or at the end."""
        if name[:1] == b":":
            self._set_pseudo(name, value)
            return
        index = self.index()
        if name not in index:
            self.fields.append((name, value))
            index[name] = value
            return
        if len(index) == len(self.fields):  # every name stands once: replace it where it stands
            self.fields[self.fields.index((name, index[name]))] = (name, value)
            index[name] = value
            return
        index[name] = value
        fresh: list[Field] = []
        placed = False
        for field in self.fields:
            if field[0] != name:
                fresh.append(field)
            elif not placed:
                fresh.append((name, value))
                placed = True
        self.fields[:] = fresh

    def append(self, name: bytes, value: bytes) -> None:
        """Add a field as Envoy's ``addCopy`` does: one more, or joined to the entry of a ``single`` name."""
        index = self._index
        if index is not None and name not in index and name[:1] != b":":  # the commonest
            self.fields.append((name, value))
            index[name] = value
            return
        if name[:1] == b":" or (name in self.single and name in self.index()):
            found = self.get_joined(name)
            self.set(name, value if found is None else _joined(found, value))
        else:
            self.add(name, value)

    def replace(self, name: bytes, value: bytes) -> None:
        """Make ``value`` the only value of ``name``, at the end, as Envoy's ``setCopy`` does."""
        index = self._index
        if index is None:
            index = self._index = dict(self.fields)
        if name not in index and name[:1] != b":":  # the commonest
            self.fields.append((name, value))
            index[name] = value
            return
        if name[:1] != b":":
            self.remove(name)
        self.set(name, value)

    def join_repeated(self) -> None:
        """Join what arrived twice of the ``single`` names, in place of the first."""
        single = self.single
        places: dict[bytes, int] = {}
        fresh: list[Field] = []
        for name, value in self.fields:
            if name in single:
                place = places.setdefault(name, len(fresh))
                if place < len(fresh):
                    fresh[place] = (name, _joined(fresh[place][1], value))
                    continue
            fresh.append((name, value))
        self.fields[:] = fresh
        self._index = None

    def remove(self, name: bytes) -> int:
        """Drop every value of ``name``; the number dropped."""
        if name[:1] == b":":
            return self._remove_pseudo(name)
        index = self.index()
        if name not in index:
            return 0
        fields = self.fields
        before = len(fields)
        value = index.pop(name)
        if len(index) + 1 == before:  # every name stands once
            fields.remove((name, value))
            return 1
        fields[:] = [field for field in fields if field[0] != name]
        return before - len(fields)

    def replace_all(self, fields: Iterable[Field]) -> None:
        """Take ``fields`` (pseudo headers among them) for the whole content."""
        self._clear_pseudo()
        self.fields[:] = []
        self._index = None
        for name, value in fields:
            self.add(name, value)

    # -- pseudo headers: none here ------------------------------------------------------------
    def pseudo_fields(self) -> Iterator[Field]:
        """The pseudo headers that are set, in Envoy's order."""
        return iter(())

    def _pseudo(self, name: bytes) -> bytes | None:
        return None

    def _set_pseudo(self, name: bytes, value: bytes) -> None:
        # A pseudo header where it does not belong is kept as a plain field, as Envoy's map does; the
        # codec refuses to send it.
        self.fields.append((name, value))
        self._index = None

    def _remove_pseudo(self, name: bytes) -> int:
        before = len(self.fields)
        self.fields[:] = [field for field in self.fields if field[0] != name]
        self._index = None
        return before - len(self.fields)

    def _clear_pseudo(self) -> None:
        return


def _joined(before: bytes, value: bytes) -> bytes:
    return before + b"," + value if before and value else before or value


class RequestHeaders(HeaderMap):
    """The head of a request (RFC 9113 §8.3.1).  None stands for an absent pseudo header."""

    __slots__ = ("authority", "method", "path", "protocol", "scheme")

    single = _REQUEST_SINGLE

    def __init__(
        self,
        method: bytes | None = None,
        path: bytes | None = None,
        authority: bytes | None = None,
        scheme: bytes | None = None,
        fields: list[Field] | None = None,
    ) -> None:
        self.fields = [] if fields is None else fields
        self._index = None
        self.key_case = None
        self.method = method
        self.path = path
        self.authority = authority
        self.scheme = scheme
        #: The ``:protocol`` of an extended CONNECT (RFC 8441).
        self.protocol: bytes | None = None

    def pseudo_fields(self) -> Iterator[Field]:
        if self.authority is not None:
            yield b":authority", self.authority
        if self.path is not None:
            yield b":path", self.path
        if self.method is not None:
            yield b":method", self.method
        if self.scheme is not None:
            yield b":scheme", self.scheme
        if self.protocol is not None:
            yield b":protocol", self.protocol

    def byte_size(self) -> int:
        size = len(b"".join(chain.from_iterable(self.fields)))
        if self.authority is not None:
            size += 10 + len(self.authority)
        if self.path is not None:
            size += 5 + len(self.path)
        if self.method is not None:
            size += 7 + len(self.method)
        if self.scheme is not None:
            size += 7 + len(self.scheme)
        if self.protocol is not None:
            size += 9 + len(self.protocol)
        return size

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``, or None; ``host`` is ``:authority``, as in Envoy."""
        if name == b"host":
            return self.authority
        index = self._index  # what HeaderMap.get does, without the call
        if index is None:
            index = self._index = dict(self.fields)
        value = index.get(name)
        if value is None:
            return self._pseudo(name) if name[:1] == b":" else None
        if len(index) == len(self.fields):
            return value
        return super().get(name)

    def _pseudo(self, name: bytes) -> bytes | None:
        attribute = _REQUEST_PSEUDO.get(name)
        return None if attribute is None else getattr(self, attribute)

    def _set_pseudo(self, name: bytes, value: bytes) -> None:
        attribute = _REQUEST_PSEUDO.get(name)
        if attribute is None:
            super()._set_pseudo(name, value)
        else:
            setattr(self, attribute, value)

    def _remove_pseudo(self, name: bytes) -> int:
        attribute = _REQUEST_PSEUDO.get(name)
        if attribute is None:
            return super()._remove_pseudo(name)
        if getattr(self, attribute) is None:
            return 0
        setattr(self, attribute, None)
        return 1

    def _clear_pseudo(self) -> None:
        self.method = self.path = self.authority = self.scheme = self.protocol = None


_REQUEST_PSEUDO = {
    b":method": "method",
    b":path": "path",
    b":authority": "authority",
    b":scheme": "scheme",
    b":protocol": "protocol",
}


class ResponseHeaders(HeaderMap):
    """The head of a response: ``status`` is an int (RFC 9113 §8.3.2)."""

    __slots__ = ("status",)

    single = _RESPONSE_SINGLE

    def __init__(self, status: int, fields: list[Field] | None = None) -> None:
        self.fields = [] if fields is None else fields
        self._index = None
        self.key_case = None
        self.status = status

    def pseudo_fields(self) -> Iterator[Field]:
        yield b":status", b"%d" % self.status

    def byte_size(self) -> int:
        # The status has three digits.
        return 10 + len(b"".join(chain.from_iterable(self.fields)))

    def _pseudo(self, name: bytes) -> bytes | None:
        return b"%d" % self.status if name == b":status" else None

    def _set_pseudo(self, name: bytes, value: bytes) -> None:
        if name == b":status":
            if value.isdigit() and len(value) == 3:
                self.status = int(value)
        else:
            super()._set_pseudo(name, value)
