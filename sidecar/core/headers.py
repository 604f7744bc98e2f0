"""Header maps: what a message carries besides its body.

A map is a list of ``(lower-case name, value)`` in wire order, with an index that is built when
somebody first looks a name up (RFC 9110 §5; names compare without case, so they are kept lower).
Pseudo headers (RFC 9113 §8.3) live in attributes and answer to their names as well:
``headers.get(b":path")`` and ``headers.path`` are one thing.  Iteration yields them first, as
Envoy's filters see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Field", "HeaderMap", "RequestHeaders", "ResponseHeaders"]

Field = tuple[bytes, bytes]


class HeaderMap:
    """Fields in wire order.  Names given to every method are lower-case bytes."""

    __slots__ = ("_index", "fields")

    def __init__(self, fields: list[Field] | None = None) -> None:
        self.fields: list[Field] = [] if fields is None else fields
        self._index: dict[bytes, bytes] | None = None

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
        return sum(len(key) + len(value) for key, value in self)

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

    def remove(self, name: bytes) -> int:
        """Drop every value of ``name``; the number dropped."""
        if name[:1] == b":":
            return self._remove_pseudo(name)
        index = self.index()
        if name not in index:
            return 0
        del index[name]
        before = len(self.fields)
        self.fields[:] = [field for field in self.fields if field[0] != name]
        return before - len(self.fields)

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
        return 0

    def _clear_pseudo(self) -> None:
        return


class RequestHeaders(HeaderMap):
    """The head of a request (RFC 9113 §8.3.1).  None stands for an absent pseudo header."""

    __slots__ = ("authority", "method", "path", "protocol", "scheme")

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

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``, or None; ``host`` is ``:authority``, as in Envoy."""
        if name == b"host":
            return self.authority
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
        if attribute is None or getattr(self, attribute) is None:
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

    def __init__(self, status: int, fields: list[Field] | None = None) -> None:
        self.fields = [] if fields is None else fields
        self._index = None
        self.status = status

    def pseudo_fields(self) -> Iterator[Field]:
        yield b":status", b"%d" % self.status

    def _pseudo(self, name: bytes) -> bytes | None:
        return b"%d" % self.status if name == b":status" else None

    def _set_pseudo(self, name: bytes, value: bytes) -> None:
        if name == b":status":
            if value.isdigit() and len(value) == 3:
                self.status = int(value)
        else:
            super()._set_pseudo(name, value)
