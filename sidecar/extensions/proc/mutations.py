"""Header mutations of a processor, as far as they are allowed.

``source/extensions/filters/http/ext_proc/mutation_utils.cc``: the order in which things are refused, and the
texts, are Envoy's.
"""

from __future__ import annotations

import re
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.core.headers import HeaderMap, RequestHeaders
from sidecar.core.mutation_rules import APPEND, FAIL, OK, REMOVE, SET, MutationRules
from sidecar.extensions.proc.proc_messages import Changes

__all__ = ["Limits", "Refused", "apply_changes"]

#: What may stand in a name; a pseudo header begins with a colon.
_is_name = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
_BREAKS = re.compile(rb"[\x00\r\n]")
_METHOD = b":method"


class Refused(SidecarError):
    """The answer of a processor cannot be followed; its text are the details.

    ``is_spurious``: it answers what was not asked.
    """

    def __init__(self, details: str, *, is_spurious: bool = False) -> None:
        super().__init__(details)
        self.details = details
        self.is_spurious = is_spurious


class Limits:
    """How many headers a message may have, and how long they may be."""

    __slots__ = ("bytes", "count")

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.bytes = size


def apply_changes(
    changes: Changes,
    headers: HeaderMap,
    rules: MutationRules,
    rejected: Any,
    limits: Limits | None,
    *,
    replaces: bool = False,
    keeps_length: bool = True,
) -> None:
    """Do what ``changes`` ask for; what is not done counts in ``rejected``.

    ``replaces``: with CONTINUE_AND_REPLACE the method may be changed.  ``keeps_length``: whether a length may
    be set.  Raises: Refused, with what was done before done.
    """
    if limits is not None and max(len(changes.to_remove), changes.set_count) > limits.count:
        rejected.value += 1
        raise Refused("header_mutation_operation_count_exceeds_limit")
    for given in changes.to_remove:
        if not _is_name(given):
            rejected.value += 1
            raise Refused("header_mutation_remove_contains_invalid_character")
        name = given.lower()
        found = rules.check(REMOVE, name)
        if found != OK:
            rejected.value += 1
            if found == FAIL:
                raise Refused("header_mutation_remove_headers_failed")
            continue
        headers.remove(name)
    for each in changes.to_set:
        if not _is_name(each.name) or _BREAKS.search(each.value):
            rejected.value += 1
            raise Refused("header_mutation_set_contains_invalid_character")
        name = each.name.lower()
        if name == b"content-length" and not keeps_length:
            continue
        exists = _known(headers, name) in headers
        found = rules.check(APPEND if each.appends and exists else SET, name)
        if replaces and name == _METHOD:
            found = OK
        if found != OK:
            rejected.value += 1
            if found == FAIL:
                raise Refused("header_mutation_set_headers_failed")
            continue
        _put(headers, _known(headers, name), each.value, appends=each.appends)
    if limits is not None and (len(headers) > limits.count or headers.byte_size() > limits.bytes):
        rejected.value += 1
        raise Refused("header_mutation_result_exceeds_limit")


def _known(headers: HeaderMap, name: bytes) -> bytes:
    """``host`` of a request is ``:authority``, as in Envoy."""
    return b":authority" if name == b"host" and isinstance(headers, RequestHeaders) else name


def _put(headers: HeaderMap, name: bytes, value: bytes, *, appends: bool) -> None:
    if name[:1] == b":" and name not in headers:
        return  # a pseudo header that this message has not: nobody sends it
    if appends:
        headers.append(name, value)
    else:
        headers.replace(name, value)
