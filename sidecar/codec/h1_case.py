"""The case of HTTP/1 header names, for peers that take it for part of the name, against RFC 9112 §5.1.

``header_key_format: {proper_case_words: {}}`` writes every name as Train-Case.
``stateful_formatter`` with ``envoy.http.stateful_header_formatters.preserve_case`` remembers how names
were written in a message and writes them so again; that belongs to the message, not to the connection it
leaves by.  Both work on a head that is complete, so that a message without either pays nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sidecar.core.dataclass import dataclass
from sidecar.core.late_pattern import late_pattern

__all__ = ["KeyCase", "PreserveCase", "proper_case"]

_NAMES = late_pattern(rb"^[^:\r\n]+(?=:)", re.MULTILINE)
_FIRST_LETTERS = late_pattern(rb"(?<![0-9A-Za-z])[a-z]")


def proper_case(head: bytes) -> bytes:
    """``head`` with a capital at the start of each name, and behind all but letters and digits."""
    return _with_names(head, _cased)


def _with_names(head: bytes, replace: Callable[[re.Match[bytes]], bytes]) -> bytes:
    first, end, rest = head.partition(b"\r\n")
    return first + end + _NAMES.sub(replace, rest)


def _cased(match: re.Match[bytes]) -> bytes:
    return _proper(match[0])


def _proper(name: bytes) -> bytes:
    return _FIRST_LETTERS.sub(_upper, name)


def _upper(match: re.Match[bytes]) -> bytes:
    return match[0].upper()


@dataclass(frozen=True, slots=True)
class PreserveCase:
    """``envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig``."""

    forward_reason_phrase: bool = False
    #: Whether names that the message did not bring become Train-Case (``formatter_type_on_envoy_headers``).
    proper_case: bool = False

    def read(self, head: bytes) -> KeyCase:
        """How the names of ``head``, as it was received, are written; of several the first counts."""
        names: dict[bytes, bytes] = {}
        for name in _NAMES.findall(head, head.find(b"\n") + 1):
            names.setdefault(name.lower(), name)
        return KeyCase(names, is_proper=self.proper_case)

    def reason(self, head: bytes) -> bytes | None:
        """The reason phrase of a response's ``head``, where it is to be handed on and there is one."""
        if not self.forward_reason_phrase:
            return None
        words = head.partition(b"\n")[0].strip().split(b" ", 2)
        return words[2] if len(words) == 3 and words[2] else None


class KeyCase:
    """How one message writes its names."""

    __slots__ = ("_is_proper", "_names")

    def __init__(self, names: dict[bytes, bytes], *, is_proper: bool) -> None:
        self._names = names
        self._is_proper = is_proper

    def write(self, head: bytes) -> bytes:
        """``head``, about to be sent, with the names as they came."""
        return _with_names(head, self._replace)

    def _replace(self, match: re.Match[bytes]) -> bytes:
        name = match[0]
        found = self._names.get(name)
        if found is not None:
            return found
        return _proper(name) if self._is_proper else name
